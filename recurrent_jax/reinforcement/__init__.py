# SPDX-License-Identifier: Apache-2.0
"""What an agent with memory needs: resets, burn-in, and a check of its replay.

An agent acts with `cell.step` and learns with `unroll` over what it has stored. Both
compute the same if the resets are those of the rollout: `resets_from_dones` makes them,
and `check_replay` compares the two. `burn_in` warms up a carry that was stored long
ago.
"""

from recurrent_jax.reinforcement._burn_in import Rest, burn_in
from recurrent_jax.reinforcement._replay import check_replay
from recurrent_jax.reinforcement._resets import resets_from_dones

__all__ = ["Rest", "burn_in", "check_replay", "resets_from_dones"]

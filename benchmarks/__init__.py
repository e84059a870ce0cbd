# SPDX-License-Identifier: Apache-2.0
"""Speed and memory of recurrent_jax, side by side with its peers.

`python -m benchmarks` times, `python -m benchmarks.memory` weighs; see README.md.
"""

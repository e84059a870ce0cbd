# SPDX-License-Identifier: Apache-2.0
"""The loop over time: `unroll`, and the `Loop` that it passes to a strategy."""

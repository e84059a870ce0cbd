# SPDX-License-Identifier: Apache-2.0
"""The loop over time: `unroll`, and the `Loop` that it passes to a strategy.

`run_steps` is the plain loop. Most defaults have loops of their own: that of `Deferred`
is in `backward/_engine/rule.py`, those of `Fused` are in `kernels/`, and those of
`Chunked` in `scans/`.
"""

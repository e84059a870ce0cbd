# SPDX-License-Identifier: Apache-2.0
"""Parity with other libraries: the same numbers and the same gradients.

Each file has, at its top, the functions that map a peer's weights and state to ours.
They are differentiable, so gradients are taken on both sides with respect to the
peer's own weights.
"""

# SPDX-License-Identifier: Apache-2.0
"""The loop over time: `unroll`, and what it hands to a strategy."""

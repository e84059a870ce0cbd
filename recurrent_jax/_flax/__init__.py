# SPDX-License-Identifier: Apache-2.0
"""What the modules of `linen` and of `nnx` share."""

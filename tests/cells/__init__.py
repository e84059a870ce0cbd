# SPDX-License-Identifier: Apache-2.0
"""Single cells against independent oracles: values, gradients, parameter counts."""

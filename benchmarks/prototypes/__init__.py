# SPDX-License-Identifier: Apache-2.0
"""Faster ways that are measured here before the library has them."""

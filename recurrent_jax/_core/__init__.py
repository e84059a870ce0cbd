# SPDX-License-Identifier: Apache-2.0
"""The protocols of cells and networks, and helpers that every package uses."""

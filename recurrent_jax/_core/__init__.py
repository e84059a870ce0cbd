# SPDX-License-Identifier: Apache-2.0
"""The two protocols, of cells and of networks, and what every room needs."""

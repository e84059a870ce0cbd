# SPDX-License-Identifier: Apache-2.0
"""Converters: round trips bit for bit, live peers, and what is refused."""

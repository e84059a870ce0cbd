# SPDX-License-Identifier: Apache-2.0
"""A sequence as one equation: its solution, and the derivative of the solution."""

# SPDX-License-Identifier: Apache-2.0
"""Wrong calls of every public function, drawn at random, and what became of them."""

# SPDX-License-Identifier: Apache-2.0
"""Training: recipes, a step, streams, batches, losses and checkpoints."""

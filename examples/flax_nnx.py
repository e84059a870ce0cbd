# SPDX-License-Identifier: Apache-2.0
"""A model in Flax NNX: embedding, convolution, two recurrent layers, head.

It reads the letters of a first name and predicts whether it is more often a woman's.

    python examples/flax_nnx.py --help

Exit status: 0; 1 if there is no result; 2 for a bad flag; 130 after Ctrl-C, which stops
training and reports on the parameters so far.
"""

import functools
import sys

import cli
import jax
import names_data as data
import names_task as task
import numpy as np
import optax
from flax import nnx

import recurrent_jax as rj


class Classifier(nnx.Module):
    """Names, `(batch, longest)`, to logits, `(batch,)`."""

    def __init__(self, config: task.Config, rngs: nnx.Rngs) -> None:
        H = config.hidden_size
        self.embed = nnx.Embed(27, config.embedding, rngs=rngs)
        self.conv = nnx.Conv(config.embedding, H, kernel_size=(3,), rngs=rngs)
        layers = rj.Bidirectional(rj.GRU(H)), rj.LSTM(H)
        self.recurrent = rj.nnx.Deep(layers, H, dropout=config.dropout, rngs=rngs)
        self.head = nnx.Linear(H, 1, rngs=rngs)

    def __call__(self, codes: jax.Array, lengths: jax.Array) -> jax.Array:
        """Return logits; above zero means a woman's name."""
        xs = nnx.relu(self.conv(self.embed(codes)))
        (_, last), _ = self.recurrent(xs, lengths=lengths)
        return self.head(last.h)[:, 0]


def start(config: task.Config, names: data.Names) -> task.Model:
    """Return a training step, and a function from names to logits."""
    model = Classifier(config, nnx.Rngs(config.seed))
    optimizer = nnx.Optimizer(
        model, task.optimizer(config, len(names.women)), wrt=nnx.Param
    )

    def loss(model: Classifier, batch: data.Names) -> jax.Array:
        logits = model(batch.codes, batch.lengths)
        return optax.sigmoid_binary_cross_entropy(logits, batch.women).mean()

    @nnx.jit
    def update(
        model: Classifier, optimizer: nnx.Optimizer, batch: data.Names
    ) -> jax.Array:
        value, gradient = nnx.value_and_grad(loss)(model, batch)
        optimizer.update(model, gradient)
        return value

    apply = nnx.jit(lambda model, names: model(names.codes, names.lengths))

    def logits(names: data.Names) -> np.ndarray:
        model.eval()
        return np.asarray(apply(model, names))

    return lambda batch: update(model, optimizer, batch), logits


def main() -> int:
    """Read the flags and run."""
    run = functools.partial(task.run, what="the NNX model", start=start)
    return cli.main(task.Config, run, "the result is of the parameters so far.")


if __name__ == "__main__":
    sys.exit(main())

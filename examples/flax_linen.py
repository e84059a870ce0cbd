# SPDX-License-Identifier: Apache-2.0
"""A model in Flax Linen: embedding, convolution, two recurrent layers, head.

It reads the letters of a first name and predicts whether it is more often a woman's.

    python examples/flax_linen.py --help

Exit status: 0; 1 if there is no result; 2 for a bad flag; 130 after Ctrl-C, which stops
training and reports on the parameters so far.
"""

import functools
import sys
from typing import Any

import cli
import flax.linen as nn
import jax
import names_data as data
import names_task as task
import numpy as np
import optax

import recurrent_jax as rj


class Classifier(nn.Module):
    """Names, `(batch, longest)`, to logits, `(batch,)`."""

    config: task.Config

    @nn.compact
    def __call__(
        self, codes: jax.Array, lengths: jax.Array, *, train: bool = False
    ) -> jax.Array:
        """Return logits; above zero means a woman's name."""
        H = self.config.hidden_size
        xs = nn.Embed(27, self.config.embedding)(codes)
        xs = nn.relu(nn.Conv(H, kernel_size=(3,))(xs))
        layers = rj.Bidirectional(rj.GRU(H)), rj.LSTM(H)
        recurrent = rj.linen.Deep(layers, dropout=self.config.dropout)
        (_, last), _ = recurrent(xs, lengths=lengths, deterministic=not train)
        logits: jax.Array = nn.Dense(1)(last.h)
        return logits[:, 0]


def start(config: task.Config, names: data.Names) -> task.Model:
    """Return a training step, and a function from names to logits."""
    model, key = Classifier(config), jax.random.key(config.seed)
    params = jax.jit(model.init)(key, names.codes[:1], names.lengths[:1])
    optimizer = task.optimizer(config, len(names.women))

    def loss(params: Any, batch: data.Names, key: jax.Array) -> jax.Array:
        rngs = {"dropout": key}
        logits = model.apply(params, batch.codes, batch.lengths, train=True, rngs=rngs)
        return optax.sigmoid_binary_cross_entropy(logits, batch.women).mean()

    @jax.jit
    def update(state: Any, batch: data.Names, key: jax.Array) -> Any:
        params, opt_state = state
        value, gradient = jax.value_and_grad(loss)(params, batch, key)
        updates, opt_state = optimizer.update(gradient, opt_state, params)
        return (optax.apply_updates(params, updates), opt_state), value

    state, count = (params, optimizer.init(params)), 0

    def step(batch: data.Names) -> jax.Array:
        nonlocal state, count
        count += 1
        state, value = update(state, batch, jax.random.fold_in(key, count))
        return value

    apply = jax.jit(model.apply)

    def logits(names: data.Names) -> np.ndarray:
        return np.asarray(apply(state[0], names.codes, names.lengths))

    return step, logits


def main() -> int:
    """Read the flags and run."""
    run = functools.partial(task.run, what="the Linen model", start=start)
    return cli.main(task.Config, run, "the result is of the parameters so far.")


if __name__ == "__main__":
    sys.exit(main())

# SPDX-License-Identifier: Apache-2.0
"""MNIST-1D: series of forty numbers that show a digit, shifted, sheared and noisy."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

CLASSES = 10
# Test accuracy from the paper: Greydanus and Kobak, 2024. Scaling down deep
# learning with MNIST-1D. https://arxiv.org/abs/2011.14439
PUBLISHED = {"CNN": 0.94, "GRU": 0.91, "MLP": 0.68, "logistic regression": 0.32}


class Digits(NamedTuple):
    """Series and their labels, for training and for the test."""

    x: jax.Array  # (N, 40)
    y: jax.Array  # (N,)
    x_test: jax.Array
    y_test: jax.Array


def digits(size: int = 5000) -> Digits:
    """Return the data set. Its package generates it; nothing is downloaded."""
    import mnist1d.data

    args = mnist1d.data.get_dataset_args()
    args.num_samples = size
    state = np.random.get_state()  # the package seeds NumPy's global generator
    made = mnist1d.data.make_dataset(args)
    np.random.set_state(state)
    return Digits(
        x=jnp.asarray(made["x"], float),
        y=jnp.asarray(made["y"], int),
        x_test=jnp.asarray(made["x_test"], float),
        y_test=jnp.asarray(made["y_test"], int),
    )


def logistic_regression(data: Digits, steps: int = 1000, decay: float = 1e-3) -> float:
    """Return the test accuracy of a linear classifier, trained to its optimum."""
    import optax

    def loss(weights: tuple[jax.Array, jax.Array]) -> jax.Array:
        guesses = data.x @ weights[0] + weights[1][None]
        each = optax.softmax_cross_entropy_with_integer_labels(guesses, data.y)
        return each.mean() + decay * jnp.square(weights[0]).sum()

    optimizer = optax.adam(0.02)
    start = (jnp.zeros((data.x.shape[1], CLASSES)), jnp.zeros(CLASSES))

    def step(state, _):
        weights, opt_state = state
        updates, opt_state = optimizer.update(jax.grad(loss)(weights), opt_state)
        return (optax.apply_updates(weights, updates), opt_state), None

    run = jax.jit(lambda state: jax.lax.scan(step, state, length=steps)[0][0])
    kernel, bias = run((start, optimizer.init(start)))
    guesses = (data.x_test @ kernel + bias[None]).argmax(-1)
    return float((guesses == data.y_test).mean())

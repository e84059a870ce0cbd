# SPDX-License-Identifier: Apache-2.0
"""What the tests of single cells share: the comparison with NumPy, and counting."""

import jax
import jax.numpy as jnp
import numpy as np

import recurrent_jax as rj
from recurrent_jax.testing import Trial

STEP = 1e-5  # near the cube root of rounding, where central differences are best


def sigmoid(a):
    return 1 / (1 + np.exp(-a))


def compare(
    cell, numpy_step, *, inputs=None, in_features=3, tol=1e-10, grad_tol=1e-7, seed=0
):
    """Compare `unroll` with a NumPy transcription, and gradients with differences.

    In float64, over a few steps of two sequences, from a carry that is not zero and
    with parameters none of which is zero. `numpy_step(params, carry, x) -> (carry, y)`
    is written from the paper's equations. It is run on one sequence at a time, so it
    sees no batch axes: `x` is `(features,)`, a carry leaf `(hidden,)`. `params` and
    `carry` are the cell's own NamedTuples with NumPy arrays for leaves, and the carry
    it returns may be any tuple with as many leaves in the same order.

    Gradients are those of a drawn linear function of the outputs and the final carry,
    in every single number of params, carry and inputs, by central differences of the
    transcription. So it should not be evaluated within 1e-5 of a kink; another `seed`
    moves it. `inputs(key, lead, dtype)` makes inputs that are not one array. Numbers
    may differ by `tol` and `grad_tol`, times the largest of their array if that is
    more than 1.
    """
    with jax.enable_x64(True):
        trial = Trial(
            cell,
            in_features=in_features,
            time=4,
            batch_shape=(2,),
            inputs=inputs,
            seed=seed,
        )
        args = (trial.params, trial.carry, trial.xs)

        def ours(params, carry, xs):
            return rj.unroll(cell, params, xs, carry=carry)

        rng = np.random.default_rng(seed)
        weights = [
            rng.standard_normal(leaf.shape)
            for leaf in jax.tree.leaves(jax.eval_shape(ours, *args))
        ]

        def score(*args):
            leaves = jax.tree.leaves(ours(*args))
            pairs = zip(leaves, weights, strict=True)
            return sum(jnp.sum(a.astype(float) * w) for a, w in pairs)

        values = jax.jit(ours)(*args)
        grads = jax.jit(jax.grad(score, (0, 1, 2), allow_int=True))(*args)
    args = jax.tree.map(np.array, args)
    _same("values", jax.tree.leaves(values), _run(numpy_step, *args), tol)
    for name, grad, want in zip(
        ("params", "carry", "xs"),
        grads,
        _differences(numpy_step, args, weights),
        strict=True,
    ):
        floats = [g for g in jax.tree.leaves(grad) if np.issubdtype(g.dtype, float)]
        _same(f"gradient of {name}", floats, want, grad_tol)


def count(cell, in_features=3):
    """Return how many numbers `cell.init` makes."""
    shapes = jax.eval_shape(lambda: cell.init(jax.random.key(0), in_features))
    return sum(leaf.size for leaf in jax.tree.leaves(shapes))


def _run(numpy_step, params, carry, xs):
    """Return the leaves of final carry and outputs, sequence after sequence."""
    time, batch = jax.tree.leaves(xs)[0].shape[:2]
    finals, outputs = [], []
    for b in range(batch):
        state, ys = jax.tree.map(lambda a: a[b], carry), []
        for t in range(time):
            after, y = numpy_step(params, state, jax.tree.map(lambda a: a[t, b], xs))
            state = jax.tree.unflatten(
                jax.tree.structure(carry), jax.tree.leaves(after)
            )
            ys.append(y)
        finals.append(state)
        outputs.append(jax.tree.map(lambda *y: np.stack(y), *ys))
    final = jax.tree.map(lambda *a: np.stack(a), *finals)
    return jax.tree.leaves((final, jax.tree.map(lambda *y: np.stack(y, 1), *outputs)))


def _differences(numpy_step, args, weights):
    """Return the leaves of the gradient in each argument; of floats alone."""

    def score():
        leaves = _run(numpy_step, *args)
        return sum(np.sum(a * w) for a, w in zip(leaves, weights, strict=True))

    def gradient(leaf):
        grad = np.zeros(leaf.shape)
        for at in np.ndindex(leaf.shape):
            kept = leaf[at]
            leaf[at] = kept + STEP
            more = score()
            leaf[at] = kept - STEP
            grad[at] = (more - score()) / (2 * STEP)
            leaf[at] = kept
        return grad

    return [
        [gradient(a) for a in jax.tree.leaves(arg) if np.issubdtype(a.dtype, float)]
        for arg in args
    ]


def _same(what, got, want, tolerance):
    for n, (a, b) in enumerate(zip(got, want, strict=True)):
        a, b = np.asarray(a), np.asarray(b)
        assert a.shape == b.shape, f"{what}, leaf {n}: {a.shape} is not {b.shape}"
        worst = np.max(np.abs(a - b), initial=0.0)
        scale = max(1.0, np.max(np.abs(b), initial=0.0))
        assert worst <= tolerance * scale, f"{what}, leaf {n} differs by {worst:.2g}"

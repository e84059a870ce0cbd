# SPDX-License-Identifier: Apache-2.0
"""The batch-normalised LSTM: evaluation against NumPy, training against PyTorch."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from parity.common import TOLERANCE, Draw, assert_same, values_and_grads

import recurrent_jax as rj
from cells.common import compare, count, sigmoid
from recurrent_jax.testing import Trial

T, B, D, H = 4, 5, 2, 3


def made(max_steps=1, dtype="float64", **options):
    """Return a cell, parameters none of which is zero, and inputs."""
    cell = rj.BatchNormLSTM(H, max_steps=max_steps)
    trial = Trial(cell, D, T, (B,), dtype=dtype, **options)
    return cell, trial.params, trial.xs


@pytest.mark.mostly_slow
@pytest.mark.parametrize("max_steps", [1, 5])
def test_evaluation(max_steps):
    def batch_norm_lstm(params, carry, x):
        """Cooijmans et al., 2017, with stored moments."""

        def norm(a, moments):
            mean, variance = (m[carry.step] for m in moments)
            return (a - mean) / np.sqrt(variance + 1e-5)

        W, U, b, g_x, g_h, g_c, b_c, known = params
        a = g_x * norm(x @ W, known.input) + b
        a = a + g_h * norm(carry.h @ U, known.recurrent)
        i, f, g, o = np.split(a, 4)
        c = sigmoid(f) * carry.c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(g_c * norm(c, known.cell) + b_c)
        return (h, c, np.minimum(carry.step + 1, max_steps - 1)), h

    compare(rj.BatchNormLSTM(3, max_steps=max_steps), batch_norm_lstm, in_features=2)


@pytest.mark.mostly_slow
@pytest.mark.parametrize("lengths", [None, (4, 2, 3, 4, 0)], ids=["full", "lengths"])
def test_training(lengths, dtype):
    """PyTorch's `batch_norm` at each step, of the rows that have not ended."""
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    cell, params, xs = made(dtype=dtype)
    weights = list(params[:7])
    args = jax.tree.map(np.asarray, (weights, xs))
    ends = np.array([T] * B if lengths is None else lengths)

    def ours(weights, xs):
        params_ = rj.BatchNormLSTM.Params(*weights, params.statistics)
        return rj.unroll(cell, params_, cell.training(xs), lengths=ends)[1]

    def theirs(weights, xs):
        W, U, b, g_x, g_h, g_c, b_c = weights

        def norm(a, scale):
            return torch.nn.functional.batch_norm(
                a, None, None, scale, training=True, eps=1e-5
            )

        ys = []
        h = c = torch.zeros((B, H), dtype=xs.dtype)
        for t, x in enumerate(xs):
            rows = torch.tensor(np.flatnonzero(ends > t))
            a = norm(x[rows] @ W, g_x) + norm(h[rows] @ U, g_h) + b
            i, f, g, o = torch.split(a, H, dim=1)
            c_t = torch.sigmoid(f) * c[rows] + torch.sigmoid(i) * torch.tanh(g)
            h_t = torch.sigmoid(o) * torch.tanh(norm(c_t, g_c) + b_c)
            c, h = c.index_copy(0, rows, c_t), h.index_copy(0, rows, h_t)
            ys.append(torch.zeros_like(h).index_copy(0, rows, h_t))
        return torch.stack(ys)

    cotangents = Draw(dtype)(T, B, H)
    tensors = jax.tree.map(lambda a: torch.tensor(a, requires_grad=True), args)
    values = theirs(*tensors)
    values.backward(torch.tensor(cotangents))
    want = values.detach().numpy(), jax.tree.map(lambda a: a.grad.numpy(), tensors)
    got = values_and_grads(ours, args, cotangents)
    # The variance of a few rows is small, so its root is steep.
    tolerance = {"float32": 2e-4, "float64": 1e-9}[dtype]
    assert tolerance >= TOLERANCE[dtype]
    assert_same(got, want, tolerance, dtype)


@pytest.mark.slow
@pytest.mark.parametrize(
    "backward", [rj.Deferred(), rj.Checkpointed(every=2), rj.Truncated(k1=2, k2=T)]
)
def test_training_under_any_strategy(backward, x64):
    """A strategy that takes steps as rows of one batch must not do so here."""
    cell, params, xs = made()
    lengths = jnp.array([4, 2, 3, 4, 1])

    plain = rj.Autodiff()

    def run(params, xs, backward=plain):
        inputs = cell.training(xs)
        return rj.unroll(cell, params, inputs, lengths=lengths, backward=backward)[1]

    np.testing.assert_allclose(run(params, xs, backward), run(params, xs), rtol=1e-12)
    if isinstance(backward, rj.Truncated):
        return  # its gradient is another one, on purpose

    def gradient(backward):
        def total(params, xs):
            return jnp.sum(run(params, xs, backward) ** 2)

        return jax.jit(jax.grad(total, (0, 1)))(params, xs)

    same = functools.partial(np.testing.assert_allclose, rtol=1e-9, atol=1e-12)
    jax.tree.map(same, gradient(backward), gradient(plain))


@pytest.mark.slow
@pytest.mark.nans
def test_skipped_rows_do_not_count(x64):
    cell, params, xs = made()
    lengths = jnp.array([4, 0, 4, 2, 4])
    inside = jnp.arange(T)[:, None] < lengths

    def total(params, xs):
        ys = rj.unroll(cell, params, cell.training(xs), lengths=lengths)[1]
        return jnp.sum(ys**2), ys

    junk = jnp.where(inside[..., None], xs, jnp.nan)
    want = jax.grad(total, (0, 1), has_aux=True)(params, xs)
    got = jax.grad(total, (0, 1), has_aux=True)(params, junk)
    jax.tree.map(np.testing.assert_array_equal, got, want)
    assert not any(jnp.any(s) for s in jax.tree.leaves(want[0][0].statistics))
    kept = jnp.array([0, 2, 3, 4])
    _, few = rj.unroll(cell, params, cell.training(xs[:, kept]), lengths=lengths[kept])
    np.testing.assert_allclose(few, want[1][:, kept], rtol=1e-12)


def test_training_permutes_with_the_batch(x64):
    cell, params, xs = made()
    order = jnp.array([3, 1, 4, 0, 2])
    _, want = rj.unroll(cell, params, cell.training(xs))
    _, got = rj.unroll(cell, params, cell.training(xs[:, order]))
    np.testing.assert_allclose(got, want[:, order], rtol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("lengths", [None, (4, 2, 3, 4, 3)], ids=["full", "lengths"])
@pytest.mark.parametrize("time_axis", [0, 1])
def test_measured_on_a_batch_evaluation_is_training(lengths, time_axis, x64):
    cell, params, xs = made(max_steps=T + 2)
    options = {"lengths": lengths and jnp.array(lengths), "time_axis": time_axis}
    xs = jnp.moveaxis(xs, 0, time_axis)
    params = params._replace(statistics=cell.measure(params, xs, **options))
    _, want = rj.unroll(cell, params, cell.training(xs), **options)
    _, got = rj.unroll(cell, params, xs, **options)
    np.testing.assert_allclose(got, want, rtol=1e-9)


def test_measure_shares_the_last_statistics(x64):
    """With fewer slots than steps the last has the moments of all later rows."""
    cell, params, xs = made(max_steps=2)
    lengths = np.array([4, 2, 3, 4, 3])
    got = cell.measure(params, xs, lengths=lengths).input
    z = np.asarray(xs @ params.kernel)
    later = np.concatenate([z[t, lengths > t] for t in range(1, T)])
    want = np.stack([z[0].mean(0), later.mean(0)])
    np.testing.assert_allclose(got.mean, want, rtol=1e-10)
    want = np.stack([z[0].var(0), later.var(0)])
    np.testing.assert_allclose(got.variance, want, rtol=1e-10)


def test_no_batch():
    cell, params, xs = made(dtype="float32")
    with pytest.raises(ValueError, match="the input has no batch axis"):
        rj.unroll(cell, params, cell.training(xs[:, 0]))


def test_parameters():
    D, H, S = 3, 5, 7
    cell = rj.BatchNormLSTM(H, max_steps=S)
    trained = 4 * H * (D + H + 1) + 8 * H + 2 * H
    assert count(cell, D) == trained + 2 * S * (4 * H + 4 * H + H)
    params = cell.init(jax.random.key(0), D)
    assert float(params.input_scale[0]) == pytest.approx(0.1)

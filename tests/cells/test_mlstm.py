# SPDX-License-Identifier: Apache-2.0
"""mLSTM against NumPy, its stabiliser, and its three forms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import recurrent_jax as rj
from cells.common import compare, count, sigmoid
from cells.linear import CHUNKED, agree
from recurrent_jax.testing import Trial

SMALL = {"heads": 2, "key_size": 3}


def parts(params, x, heads):
    """The queries, keys and values by head, and the gates, of one step."""
    q, k, v, o = (
        x @ kernel + (0 if bias is None else bias)
        for kernel, bias in zip(params[:4], params[6:], strict=True)
    )
    i, f = np.split(x @ params.gate_kernel + params.gate_bias, 2)
    q, k, v = (a.reshape(heads, -1) for a in (q, k, v))
    return q, k, v, i, f, sigmoid(o)


def mlstm(params, carry, x, epsilon=1e-6):
    """Beck et al., 2024, equations 19 to 27, head by head, with C as (K, V)."""
    q, k, v, i, f, o = parts(params, x, len(carry.m))
    after, read = [], []
    for n in range(len(carry.m)):
        log_f = np.log(sigmoid(f[n]))
        m = max(log_f + carry.m[n], i[n])
        forget, write = np.exp(log_f + carry.m[n] - m), np.exp(i[n] - m)
        C = forget * carry.C[n] + write * np.outer(k[n], v[n])
        norm = forget * carry.n[n] + write * k[n]
        query = q[n] / np.sqrt(len(q[n]))
        read.append(C.T @ query / (max(abs(norm @ query), np.exp(-m)) + epsilon))
        after.append((C, norm, m))
    return tuple(map(np.stack, zip(*after, strict=True))), o * np.concatenate(read)


@pytest.mark.mostly_slow
@pytest.mark.parametrize("options", [SMALL, {"heads": 1}])
def test_equations(options):
    compare(rj.MLSTM(4, **options), mlstm)


@pytest.mark.slow
def test_options():
    cell = rj.MLSTM(4, heads=2, epsilon=0.0, use_bias=False)
    compare(cell, lambda *step: mlstm(*step, epsilon=0))


@pytest.mark.slow
def test_methods():
    agree(rj.MLSTM(4, **SMALL), CHUNKED)


def test_no_tree_of_steps():
    cell = rj.MLSTM(8)
    params = cell.init(jax.random.key(0), 3)
    with pytest.raises(TypeError, match=r"Stabilised do not combine.* rj\.Chunked\(\)"):
        rj.unroll(cell, params, jnp.ones((5, 3)), method=rj.Associative())


def test_the_stabiliser_cancels(x64):
    """From the start of a sequence: the paper's equations without any stabiliser."""
    trial = Trial(rj.MLSTM(4, epsilon=0.0, **SMALL), batch_shape=(), time=6)
    params = jax.tree.map(np.asarray, trial.params)
    C, norm = np.zeros((2, 3, 2)), np.zeros((2, 3))
    want = []
    for x in np.asarray(trial.xs):
        q, k, v, i, f, o = parts(params, x, 2)
        forget, write = sigmoid(f)[:, None], np.exp(i)[:, None]
        C = forget[..., None] * C + write[..., None] * k[..., None] * v[:, None]
        norm = forget * norm + write * k
        q = q / np.sqrt(3)
        weight = np.maximum(np.abs(np.sum(norm * q, -1)), 1)
        want.append(o * (np.einsum("nk,nkv->nv", q, C) / weight[:, None]).reshape(-1))
    for method in (rj.Sequential(), rj.Chunked(4), rj.Chunked()):
        _, got = rj.unroll(trial.cell, trial.params, trial.xs, method=method)
        np.testing.assert_allclose(got, want, rtol=1e-11)


def extreme(kind, time):
    """A cell with gates of up to 1,000: open, shut, or up and down."""
    cell = rj.MLSTM(4, heads=1)
    params = cell.init(jax.random.key(0), 3)
    gates = jax.random.normal(jax.random.key(1), (3, 2))
    params = params._replace(
        gate_kernel=300 * gates if kind == "mixed" else params.gate_kernel,
        gate_bias=jnp.full(2, {"open": 1e3, "shut": -1e3, "mixed": 0.0}[kind]),
    )
    return cell, params, jax.random.normal(jax.random.key(2), (time, 3))


KINDS = pytest.mark.parametrize("kind", ["open", "shut", "mixed"])


@pytest.mark.slow
@KINDS
def test_finite_after_many_steps(kind):
    time = 5000
    cell, params, xs = extreme(kind, time)

    def run(params, xs, method):
        out = rj.unroll(cell, params, xs, method=method)
        return jnp.sum(jnp.sin(out[1])), out

    for method in (rj.Sequential(), rj.Chunked(), rj.Chunked(time)):
        if method == rj.Chunked(time):  # its gradient takes much memory
            got = run(params, xs, method)
        else:
            got = jax.grad(run, (0, 1), has_aux=True)(params, xs, method)
        assert all(bool(jnp.all(jnp.isfinite(a))) for a in jax.tree.leaves(got))


@KINDS
def test_three_forms(kind, x64):
    """The recurrent, the chunked and the parallel form.

    The weight of a value may be near zero, which magnifies rounding.
    """
    time = 1000
    cell, params, xs = extreme(kind, time)
    want = rj.unroll(cell, params, xs, method=rj.Sequential())
    for method in (rj.Chunked(), rj.Chunked(time)):
        got = rj.unroll(cell, params, xs, method=method)
        for a, b in zip(*map(jax.tree.leaves, (got, want)), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-7, atol=1e-12)


def test_nothing_to_find():
    """Keys of zero leave the normaliser at zero, and a large gate exp(-m) as well."""
    cell = rj.MLSTM(8, use_bias=False)
    params = cell.init(jax.random.key(0), 3)
    params = params._replace(gate_bias=jnp.full(8, 500.0))

    def total(params, xs):
        return jnp.sum(rj.unroll(cell, params, xs)[1])

    grads = jax.jit(jax.grad(total, (0, 1)))(params, jnp.zeros((5, 2, 3)))
    assert all(bool(jnp.all(jnp.isfinite(g))) for g in jax.tree.leaves(grads))


def test_gates_as_they_start():
    params = rj.MLSTM(4000, heads=2000).init(jax.random.key(0), 3)
    i, f = jnp.split(params.gate_bias, 2)
    assert float(f[0]) == 3 and float(f[-1]) == 6
    assert bool(jnp.all(jnp.diff(f) > 0))
    assert abs(float(i.std()) - 0.1) < 0.01 and abs(float(i.mean())) < 0.01
    assert bool(jnp.all(params.gate_kernel == 0))


def test_parameters():
    D, H, N, K = 3, 8, 2, 5
    assert count(rj.MLSTM(H), D) == (D + 1) * (4 * H + 8)
    assert count(rj.MLSTM(H, N, K), D) == (D + 1) * (2 * N * K + 2 * H + 2 * N)
    assert count(rj.MLSTM(H, use_bias=False), D) == D * (4 * H + 8) + 8


def test_heads_divide_units():
    with pytest.raises(ValueError, match="heads must divide hidden_size=6, got 4"):
        rj.MLSTM(6)

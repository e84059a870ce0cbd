# SPDX-License-Identifier: Apache-2.0
"""Strategies, methods and networks that are written by public names alone."""

import pathlib
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import recurrent_jax as rj

PAGE = pathlib.Path(__file__).parent.parent / "docs" / "extending.md"
BLOCKS = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.M | re.S)
ROWS = [line.split("|")[1:-1] for line in PAGE.read_text().splitlines() if "|" in line]
STRATEGIES = {
    "Autodiff": rj.Autodiff(),
    "Deferred": rj.Deferred(),
    "Checkpointed": rj.Checkpointed(every=5),
    "Truncated": rj.Truncated(5),
    "ClippedBackward": rj.ClippedBackward(max_norm=1e-3),
    "ParallelBackward": rj.ParallelBackward(block=5),
}


@pytest.fixture(scope="module")
def page():
    """Return what the page defines."""
    names = {"__name__": "extending"}
    for block in BLOCKS:
        exec(block, names)
    return names


def test_an_example_is_short_and_needs_no_private_name():
    for block in BLOCKS:
        assert len([line for line in block.splitlines() if line.strip()]) <= 26
        assert not re.search(r"\brj\.\w*\.?_\w|recurrent_jax\._", block)


def test_a_strategy(page):
    np.testing.assert_allclose(page["slope"], [0.0625, 0.125, 0.25, 0.5])


def test_a_method(page):
    cell, xs = page["Leaky"](3), page["xs"]
    carry = jnp.arange(3.0)
    want = rj.unroll(cell, (), xs, carry=carry)
    got = rj.unroll(cell, (), xs, carry=carry, method=page["Parallel"]())
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, 1e-4), got, want)


def test_a_method_refuses_what_it_cannot_run(page):
    cell, xs = rj.GRU(3), page["xs"]
    params, parallel = cell.init(jax.random.key(0), 3), page["Parallel"]()
    with pytest.raises(TypeError, match=r"Parallel.*cannot run GRU.*rj\.Sequential"):
        rj.unroll(cell, params, xs, method=parallel)
    for options in ({"reverse": True}, {"backward": rj.Truncated(7)}):
        with pytest.raises(TypeError, match=r"reverse need rj\.Sequential\(\)"):
            rj.unroll(page["Leaky"](3), (), xs, method=parallel, **options)
    with pytest.raises(TypeError, match=r"method must be one such as rj\.Sequential"):
        rj.unroll(cell, params, xs, method="parallel")
    with pytest.raises(TypeError, match="method is the class Sequential; build one"):
        rj.unroll(cell, params, xs, method=rj.Sequential)


def gradients(page, method, backward, start=0.0):
    def score(xs, carry):
        cell = page["Leaky"](3)
        options = {"method": method, "backward": backward}
        final, ys = rj.unroll(cell, (), xs, carry=carry, **options)
        return jnp.sum(jnp.sin(ys)) + jnp.sum(final)

    return jax.grad(score, (0, 1))(page["xs"], jnp.full(3, start))


@pytest.mark.slow
@pytest.mark.parametrize("backward", [None, *STRATEGIES])
def test_the_table_of_methods_and_strategies(page, backward):
    strategy = STRATEGIES.get(backward)
    names, _, sequential, *linear, other = (row for row in ROWS if len(row) == 7)
    assert len(linear) == 6
    column = [name.strip(" `") for name in names].index(backward) if backward else 1
    assert sequential[column].strip().startswith("yes")
    # `test_methods.py`, `test_cudnn.py` and `kernels/test_modes.py` test these.
    assert [row[column].split(",")[0].strip() for row in linear] == [
        other[column].strip()
    ] * len(linear)
    want = gradients(page, rj.Sequential(), strategy)
    if backward and other[column].strip() == "error":
        with pytest.raises(TypeError, match=rf"{backward}.*method=rj\.Sequential\(\)"):
            gradients(page, page["Parallel"](), strategy)
        return
    got = gradients(page, page["Parallel"](), strategy)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, 1e-4, 1e-6), got, want)


def test_the_default_strategy_is_that_of_the_method(page):
    assert rj.Sequential().backward == rj.Deferred()
    run = jax.make_jaxpr(lambda xs: rj.unroll(page["Leaky"](3), (), xs)[1])
    named = jax.make_jaxpr(
        lambda xs: rj.unroll(page["Leaky"](3), (), xs, backward=rj.Deferred())[1]
    )
    assert str(run(page["xs"])) == str(named(page["xs"]))


def test_a_network_hands_on_the_method(page):
    network = page["Halves"](page["Leaky"](2))
    xs = jax.random.normal(jax.random.key(0), (6, 4))
    params = network.init(jax.random.key(0), 4)
    deep = rj.Deep((page["Leaky"](4), page["Leaky"](4)))
    for part, p in ((network, params), (deep, ((), ()))):
        got = rj.unroll(part, p, xs, method=page["Parallel"]())
        want = rj.unroll(part, p, xs)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, 1e-4), got, want)
        with pytest.raises(TypeError, match="cannot run"):
            rj.unroll(part, p, xs, method=page["Parallel"](), reverse=True)


def test_protocols_are_public():
    assert {"Backward", "Loop", "Flags"} <= set(rj.backward.__all__)
    assert {"Method", "Loop", "Flags", "Sequential"} <= set(rj.methods.__all__)
    assert {"Network", "Options", "Deep"} <= set(rj.networks.__all__)
    assert {"backward", "methods", "networks"} <= set(rj.__all__) & set(dir(rj))


@pytest.mark.slow
@pytest.mark.parametrize(
    "own", [rj.Checkpointed(every=2), rj.Checkpointed(budget=4000), rj.Truncated(9)]
)
@pytest.mark.parametrize("asked", [None, rj.Checkpointed(levels=2), rj.Truncated(9)])
def test_a_method_whose_own_strategy_cuts_time(own, asked):
    class Mine:
        backward = own
        steps = True
        refuses = rj.Sequential().refuses
        run = rj.Sequential().run
        befores = rj.Sequential().befores

    cell = rj.GRU(3)
    params, xs = cell.init(jax.random.key(0), 2), jnp.ones((9, 4, 2))

    def slope(**options):
        return jax.grad(lambda p: rj.unroll(cell, p, xs, **options)[1].sum())(params)

    want, got = slope(), slope(method=Mine(), backward=asked)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, 1e-5), got, want)

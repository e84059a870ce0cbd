# SPDX-License-Identifier: Apache-2.0
"""Functions in fields: what is equal, what prints as code, what pickles."""

import functools
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import recurrent_jax as rj
from recurrent_jax import activations, initializers
from recurrent_jax._core.names import spell
from recurrent_jax._core.value import by_value

NAN, INF = float("nan"), float("inf")
WILD = (None, "x", NAN, INF, -INF, True, 1j, (), [], {}, int, object(), np.ones(2))
KEY = jax.random.key(0)


def leak(slope=0.3):
    return functools.partial(jax.nn.leaky_relu, negative_slope=slope)


def scaled(x, y, factor):
    return x * y * factor


# Each a function that builds the same thing anew at every call.
EQUAL = {
    "partial": leak,
    "partial_of_args": lambda: functools.partial(scaled, 2.0, factor=3.0),
    "partial_of_partial": lambda: functools.partial(functools.partial(scaled, 2), 3),
    "partial_in_partial": lambda: functools.partial(scaled, leak()),
    "in_value": lambda: activations.Clipped(leak(), 3.0),
    "in_tuple": lambda: initializers.Fused(jax.nn.initializers.he_normal()),
    "he_normal": jax.nn.initializers.he_normal,
    "normal": lambda: jax.nn.initializers.normal(0.3),
    "variance": lambda: jax.nn.initializers.variance_scaling(
        2.0, "fan_in", "uniform", in_axis=(0, 1), dtype=jnp.bfloat16
    ),
    "orthogonal": lambda: jax.nn.initializers.orthogonal(scale=0.5),
    "constant": lambda: jax.nn.initializers.constant(0.5),
    "value": lambda: initializers.Scaled(jax.nn.initializers.normal(0.3), 0.5),
}


@pytest.mark.parametrize("build", EQUAL.values(), ids=EQUAL.keys())
def test_what_is_built_alike_is_equal(build):
    one, two = by_value(build()), by_value(build())
    assert one is not two
    assert one == two
    assert hash(one) == hash(two)
    again = pickle.loads(pickle.dumps(one))
    assert again == one
    names = {"functools": functools, "jax": jax, "recurrent_jax": rj}
    names |= {"tests": type("tests", (), {"test_values": None})}
    if "scaled" not in spell(one):
        assert by_value(eval(spell(one), names)) == one


def test_the_arguments_tell_apart():
    normal, variance = jax.nn.initializers.normal, jax.nn.initializers.variance_scaling
    different = [
        leak(),
        leak(0.2),
        functools.partial(scaled, 1),
        functools.partial(scaled, 1, 2),
        normal(0.1),
        normal(0.2),
        normal(0.1, jnp.bfloat16),
        variance(1.0, "fan_in", "normal"),
        variance(1.0, "fan_in", "normal", in_axis=-1, out_axis=-2),
    ]
    assert len(set(map(by_value, different))) == len(different)


def test_a_function_by_value_computes_the_same():
    x = jnp.array([-1.0, 2.0])
    assert jnp.array_equal(by_value(leak())(x), leak()(x))
    assert by_value(functools.partial(scaled, 2, factor=3))(5) == 30
    for name in ("he_normal", "normal", "variance", "orthogonal", "constant"):
        build = EQUAL[name]
        for made in (build(), by_value(build())):
            draw = made(KEY, (3, 3), jnp.float32)
            assert jnp.array_equal(draw, build()(KEY, (3, 3), jnp.float32))


def factory(slope):
    def leaky(x):
        return jax.nn.leaky_relu(x, slope)

    return leaky


@pytest.mark.parametrize(
    "function",
    [
        jnp.tanh,
        jax.nn.relu,
        factory(0.1),
        lambda x: x,
        functools.partial(scaled, np.ones(2)),
        jax.nn.initializers.constant(np.ones(2)),
        jax.nn.initializers.zeros,
    ],
)
def test_other_functions_stay_as_they_are(function):
    assert by_value(function) is function


def test_an_empty_tuple_is_spelled_as_code():
    assert spell(()) == "()"
    assert spell((jnp.tanh,)) == "(jax.numpy.tanh,)"
    assert eval(spell(((), 1))) == ((), 1)


NUMBERS = {
    "TruncatedNormal": (initializers.TruncatedNormal, (0, 0.1), (-1, *WILD)),
    "Normal": (initializers.Normal, (0, 0.1), (-1, *WILD)),
    "low": (lambda low: initializers.Uniform(low, 1.0), (-1, 1), (2, *WILD)),
    "high": (lambda high: initializers.Uniform(0.0, high), (0, 1), (-2, *WILD)),
    "Fused": (initializers.Fused, (initializers.zeros,), (3, *WILD)),
    "Scaled": (lambda g: initializers.Scaled(initializers.zeros, g), (-1, 0), WILD),
    "radius": (initializers.SpectralRadius, (0.1, 0.9), (0, -1, *WILD)),
    "BlockDiagonal": (initializers.BlockDiagonal, (1, 3), (0, 1.0, *WILD)),
    "Chrono": (initializers.Chrono, (2.5, 100), (2, *WILD)),
    "PowerLaw": (initializers.PowerLaw, (0.1, 2), (0, *WILD)),
    "Opposed": (initializers.Opposed, (initializers.zeros,), (3, *WILD)),
    "variance": (
        lambda variance: initializers.critical_gain(jnp.tanh, variance),
        (0, 1.5),
        (-1, *WILD),
    ),
    "in_features": (
        lambda n: initializers.preset("torch", rj.LSTM(4), n),
        (None, 3),
        (0, -1, 2.0, *WILD[1:]),
    ),
    "preset": (lambda n: initializers.preset(n, rj.LSTM(4)), ("keras",), WILD),
    "Affine": (lambda a: activations.Affine(a, 1.0), (-1, 0), WILD),
    "ScaledTanh": (lambda a: activations.ScaledTanh(1.0, a), (-1, 0), WILD),
    "HardSigmoid": (activations.HardSigmoid, (-1, 0), WILD),
    "LeakyRelu": (activations.LeakyRelu, (-1, 0), WILD),
    "ThresholdedRelu": (activations.ThresholdedRelu, (-1, 0), WILD),
    "Elu": (activations.Elu, (-1, 0), WILD),
    "Clipped": (lambda b: activations.Clipped(jnp.tanh, b), (1, 0.5), (0, -1, *WILD)),
}


@pytest.mark.parametrize(("build", "fine", "wrong"), NUMBERS.values(), ids=NUMBERS)
def test_numbers_are_checked(build, fine, wrong):
    for value in fine:
        build(value)
    for value in wrong:
        with pytest.raises((TypeError, ValueError), match=r"^\w+: \w+ (must|is|holds)"):
            build(value)

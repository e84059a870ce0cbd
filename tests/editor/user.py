# SPDX-License-Identifier: Apache-2.0
"""A user's script, for type checkers alone: what an editor knows of each value.

`.ci/run types` checks it with pyrefly and pyright. A line that must be an error has a
`type: ignore`, which is itself an error where there is nothing to ignore.
"""

import dataclasses
from typing import NamedTuple, assert_type

import jax
import jax.numpy as jnp

import recurrent_jax as rj
from recurrent_jax.cells import (
    ComplexCarry,
    HiddenCarry,
    HiddenCellCarry,
    LRUParams,
    LSTMParams,
)
from recurrent_jax.networks import BidirectionalCarry

key, xs = jax.random.key(0), jnp.ones((7, 5, 2))

lstm = rj.LSTM(3)
lstm_params = lstm.init(key, in_features=2)
assert_type(lstm_params, LSTMParams)
assert_type(lstm.initial_carry((5,)), HiddenCellCarry)
carry, ys = rj.unroll(lstm, lstm_params, xs)
assert_type(carry, HiddenCellCarry)
assert_type(ys, jax.Array)
assert_type(rj.unroll(lstm, lstm_params, xs)[0].h, jax.Array)
stepped, y = lstm.step(lstm_params, carry, xs[0])
assert_type(stepped, HiddenCellCarry)
assert_type(y, jax.Array)
assert_type(rj.weight_drop(lstm_params, key, 0.1), LSTMParams)
assert_type(rj.diagnostics.summary(lstm, in_features=2).size, int)

gru = rj.GRU(3, reset_after=False)
assert_type(rj.unroll(gru, gru.init(key, 2), xs)[0], HiddenCarry)
rj.unroll(gru, lstm_params, xs)  # type: ignore
rj.LSTM(3, forget_bais=1.0)  # type: ignore
print(carry.n)  # type: ignore

rj.LSTM(3)(xs, carry)  # type: ignore
rj.LSTM(3).parameters()  # type: ignore

linear = rj.LRU(3)
linear_params = linear.init(key, 2)
assert_type(linear_params, LRUParams)
in_parallel = rj.unroll(linear, linear_params, xs, method=rj.Associative())
assert_type(in_parallel, tuple[ComplexCarry, jax.Array])


def loss(params: LSTMParams) -> jax.Array:
    last, outputs = rj.unroll(lstm, params, xs)
    assert_type(last.h, jax.Array)
    return jnp.mean(last.h) + rj.training.squared_error(outputs, outputs)


value, gradient = jax.value_and_grad(loss)(lstm_params)

# A wrapper has the parameters, the carry and the output of its cell.
dropped = rj.RecurrentDropout(rj.Zoneout(lstm, 0.1), 0.1)
assert_type(dropped.init(key, 2), LSTMParams)
assert_type(
    rj.unroll(dropped, lstm_params, xs, key=key), tuple[HiddenCellCarry, jax.Array]
)

both = rj.Bidirectional(rj.LSTM(3))
ends, both_ys = rj.unroll(both, both.init(key, 2), xs)
assert_type(ends, BidirectionalCarry)
assert_type(both_ys, jax.Array)
deep = rj.Deep((rj.LSTM(3), rj.GRU(4)), dropout=0.1)
_, deep_ys = rj.unroll(deep, deep.init(key, 2), xs, key=key, backward=rj.Checkpointed())
assert_type(deep_ys, jax.Array)
mixed = rj.Deep((both, rj.GRU(4)))
assert_type(rj.unroll(mixed, mixed.init(key, 2), xs)[1], jax.Array)
rj.unroll(deep, deep.init(key, 2), xs, backward="checkpointed")  # type: ignore

rj.training.clipping(max_norm=1.0)
rj.training.clipping(max_nrom=1.0)  # type: ignore
rj.testing.check_cell(rj.Elman(3))


class LeakyParams(NamedTuple):
    kernel: jax.Array


@dataclasses.dataclass(frozen=True)
class Leaky(rj.Cell[LeakyParams, HiddenCarry]):
    hidden_size: int

    Params = LeakyParams
    Carry = HiddenCarry
    output = "h"

    def init(self, key: jax.Array, in_features: int, dtype=float) -> LeakyParams:
        return LeakyParams(jnp.ones((in_features, self.hidden_size), dtype))

    def project(self, params: LeakyParams, x: jax.Array) -> jax.Array:
        return x @ params.kernel

    def recur(
        self, params: LeakyParams, carry: HiddenCarry, z: jax.Array
    ) -> tuple[HiddenCarry, jax.Array]:
        h = 0.9 * carry.h + z
        return HiddenCarry(h), h


leaky = Leaky(3)
assert_type(rj.unroll(leaky, leaky.init(key, 2), xs), tuple[HiddenCarry, jax.Array])


@dataclasses.dataclass(frozen=True)
class Both(rj.Cell[LeakyParams, HiddenCarry, tuple[jax.Array, jax.Array]]):
    """A cell with two outputs, which its third type says."""

    hidden_size: int

    Params = LeakyParams
    Carry = HiddenCarry
    output = None

    def init(self, key: jax.Array, in_features: int, dtype=float) -> LeakyParams:
        return leaky.init(key, in_features, dtype)

    def recur(
        self, params: LeakyParams, carry: HiddenCarry, z: jax.Array
    ) -> tuple[HiddenCarry, tuple[jax.Array, jax.Array]]:
        h = carry.h + z @ params.kernel
        return HiddenCarry(h), (h, -h)


pair = Both(3)
_, (plus, minus) = rj.unroll(pair, pair.init(key, 2), xs)
assert_type(minus, jax.Array)
rj.Zoneout(pair, 0.1)
state = rj.training.init_state(lstm_params, rj.training.adamw(0.1), key=key)
restored = rj.training.restore("checkpoints", state) or state
assert_type(restored, rj.training.State)

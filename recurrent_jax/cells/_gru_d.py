# SPDX-License-Identifier: Apache-2.0
"""The GRU for series with missing values, which decay with time."""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from recurrent_jax._core.arrays import affine, affine_columns, expand_like
from recurrent_jax._core.cell import Cell, HiddenCarry
from recurrent_jax._core.types import Activation, Initializer, PerGate, Size
from recurrent_jax.cells._forward_fill import Filled, check_filled
from recurrent_jax.initializers import glorot_uniform, orthogonal, per_gate, zeros


class GRUDParams(NamedTuple):
    """Parameters of `GRUD`, with gates in the order r, z, n."""

    kernel: jax.Array  # (in, 3H)
    recurrent_kernel: jax.Array  # (H, 3H)
    mask_kernel: jax.Array  # (in, 3H)
    bias: jax.Array | None  # (3H,)
    input_decay: jax.Array  # (in,)
    input_decay_bias: jax.Array  # (in,)
    decay: jax.Array  # (in, H)
    decay_bias: jax.Array  # (H,)


def positive(key: jax.Array, shape: tuple[int, ...], dtype: DTypeLike) -> jax.Array:
    """Return `U(0, a)` with `a = 1 / sqrt(n)`, where n is the last size."""
    return jax.random.uniform(key, shape, dtype, 0, float(shape[-1]) ** -0.5)


@dataclasses.dataclass(frozen=True)
class GRUD(Cell[GRUDParams, HiddenCarry]):
    r"""GRU-D: missing inputs decay to the mean, and the state decays too.

    For each variable, $m_t$ is the mask, which is 1 where the variable is observed,
    $x'_t$ is its last observed value, and $\delta_t$ is the time since then:

    $$
    \begin{aligned}
    \gamma_t &= \exp(-\max(0, \delta_t \odot w + b_w))
        && \text{decay of each input} \\
    \hat x_t &= m_t \odot x_t + (1 - m_t) \odot \gamma_t \odot x'_t \\
    \hat h_t &= \exp(-\max(0, \delta_t D + b_D)) \odot h_{t-1}
        && \text{decay of the state} \\
    r_t &= \sigma(\hat x_t W_r + \hat h_t U_r + m_t V_r + b_r) \\
    z_t &= \sigma(\hat x_t W_z + \hat h_t U_z + m_t V_z + b_z) \\
    n_t &= \phi(\hat x_t W_n + (r_t \odot \hat h_t) U_n + m_t V_n + b_n) \\
    h_t &= (1 - z_t) \odot n_t + z_t \odot \hat h_t, \qquad y_t = h_t
    \end{aligned}
    $$

    The input is `Filled(x, mask, elapsed)`, which `ForwardFill` builds from a raw
    series. **Subtract the mean of each variable first**: a missing input decays to 0,
    which is then the mean, as in the paper. Here $z = 1$ keeps the old state, as in
    `GRU`. The paper exchanges $z$ and $1 - z$, which is the same cell with other signs.
    Decay weights start positive. At zero, where the authors' code starts them, and
    below, the ReLU passes no gradient. That code also differs from the paper in two
    ways: its last line keeps $h_{t-1}$ and not $\hat h_t$, and it feeds $1 - m$.

    Args:
        hidden_size: H, the number of units.
        activation: $\phi$, for the candidate.
        gate_activation: $\sigma$, for both gates.
        use_bias: whether to add the bias b.
        kernel_init: initialiser of each W and V.
        recurrent_kernel_init: initialiser of each U.
        bias_init: initialiser of each b.
        decay_init: initialiser of w and D.

    Raises:
        TypeError, ValueError: if a field has the wrong type or is out of range, or if
            an input is not `Filled`.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> import recurrent_jax as rj
        >>> xs = jnp.ones((7, 5, 2)).at[3:5].set(jnp.nan)
        >>> raw = rj.cells.Observed(xs, mask=~jnp.isnan(xs), elapsed=jnp.ones((7, 5)))
        >>> _, filled = rj.unroll(rj.ForwardFill(in_features=2), (), raw)
        >>> cell = rj.GRUD(hidden_size=3)
        >>> params = cell.init(jax.random.key(0), in_features=2)
        >>> carry, ys = rj.unroll(cell, params, filled)
        >>> ys.shape
        (7, 5, 3)

    References:
        Che, Purushotham, Cho, Sontag and Liu, 2018. Recurrent neural networks for
        multivariate time series with missing values. https://arxiv.org/abs/1606.01865
    """

    hidden_size: Size
    activation: Activation = jnp.tanh
    gate_activation: Activation = jax.nn.sigmoid
    use_bias: bool = True
    kernel_init: PerGate = glorot_uniform
    recurrent_kernel_init: PerGate = orthogonal
    bias_init: PerGate = zeros
    decay_init: Initializer = positive

    Params = GRUDParams
    Carry = HiddenCarry
    output = "h"
    rowwise = True

    def init(
        self, key: jax.Array, in_features: int, dtype: DTypeLike = float
    ) -> GRUDParams:
        """Return fresh parameters for inputs of `in_features` variables."""
        D, H = in_features, self.hidden_size
        key_x, key_h, key_m, key_b, key_w, key_d = jax.random.split(key, 6)
        bias = None
        if self.use_bias:
            bias = per_gate(self.bias_init, key_b, (H,), 3, dtype)
        return GRUDParams(
            kernel=per_gate(self.kernel_init, key_x, (D, H), 3, dtype),
            recurrent_kernel=per_gate(
                self.recurrent_kernel_init, key_h, (H, H), 3, dtype
            ),
            mask_kernel=per_gate(self.kernel_init, key_m, (D, H), 3, dtype),
            bias=bias,
            input_decay=self.decay_init(key_w, (D,), dtype),
            input_decay_bias=jnp.zeros(D, dtype),
            decay=self.decay_init(key_d, (D, H), dtype),
            decay_bias=jnp.zeros(H, dtype),
        )

    def out_features(self, in_features: int) -> int:
        """Return the number of units, H."""
        return self.hidden_size

    def project(self, params: GRUDParams, x: Filled) -> tuple[jax.Array, jax.Array]:
        r"""Return $\hat x W + m V + b$ for r, z and n, and the decay of the state."""
        check_filled(self, x, params.kernel)
        delta, m = x.elapsed, x.mask.astype(params.kernel.dtype)
        rate = delta * expand_like(params.input_decay, delta)
        rate = rate + expand_like(params.input_decay_bias, delta)
        fading = jnp.exp(-jax.nn.relu(rate)) * x.x
        filled = jnp.where(x.mask, x.x, fading)
        z = affine(filled, params.kernel, params.bias) + affine(m, params.mask_kernel)
        return z, jnp.exp(-jax.nn.relu(affine(delta, params.decay, params.decay_bias)))

    def recur(
        self, params: GRUDParams, carry: HiddenCarry, z: tuple[jax.Array, jax.Array]
    ) -> tuple[HiddenCarry, jax.Array]:
        """Return the new hidden state, which is also the output."""
        H = self.hidden_size
        z_gates, decay = z
        h = decay * carry.h
        r, z_t, n = jnp.split(z_gates, 3, axis=-1)
        u = affine_columns(h, params.recurrent_kernel, 0, 2 * H)
        r = self.gate_activation(r + u[..., :H])
        z_t = self.gate_activation(z_t + u[..., H:])
        u_n = affine_columns(r * h, params.recurrent_kernel, 2 * H, 3 * H)
        n = self.activation(n + u_n)
        h = (1 - z_t) * n + z_t * h
        return HiddenCarry(h), h

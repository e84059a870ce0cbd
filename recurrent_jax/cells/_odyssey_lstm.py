# SPDX-License-Identifier: Apache-2.0
"""The LSTM of the search space odyssey, and its variants without some gates."""

import dataclasses
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from recurrent_jax._core.arrays import affine, expand_like
from recurrent_jax._core.cell import Cell, HiddenCellCarry
from recurrent_jax._core.types import Activation, Initializer, PerGate, Real, Size
from recurrent_jax.initializers import glorot_uniform, orthogonal, per_gate, zeros


class OdysseyLSTMParams(NamedTuple):
    """Parameters of `OdysseyLSTM`, in the order i, f, g, o without missing gates."""

    kernel: jax.Array  # (in, (1 + gates) H)
    recurrent_kernel: jax.Array  # (H, (1 + gates) H)
    bias: jax.Array | None  # ((1 + gates) H,)
    peephole: jax.Array  # (gates, H)


@dataclasses.dataclass(frozen=True)
class OdysseyLSTM(Cell[OdysseyLSTMParams, HiddenCellCarry]):
    r"""A peephole LSTM that may lack some gates. A missing gate is 1.

    $$
    \begin{aligned}
    g_t &= \phi(x_t W_g + h_{t-1} U_g + b_g) \\
    i_t &= \sigma(x_t W_i + h_{t-1} U_i + p_i \odot c_{t-1} + b_i)
        && \text{or } 1 \\
    f_t &= \sigma(x_t W_f + h_{t-1} U_f + p_f \odot c_{t-1} + b_f)
        && \text{or } 1 \\
    c_t &= f_t \odot c_{t-1} + i_t \odot g_t \\
    o_t &= \sigma(x_t W_o + h_{t-1} U_o + p_o \odot c_t + b_o)
        && \text{or } 1 \\
    h_t &= o_t \odot \psi(c_t), \qquad y_t = h_t
    \end{aligned}
    $$

    The paper has this LSTM and eight variants, each with one difference:

    | variant                   | cell                                                |
    |---------------------------|-----------------------------------------------------|
    | V, vanilla                | `PeepholeLSTM(H)`, or `OdysseyLSTM(H)`              |
    | NIG, no input gate        | `OdysseyLSTM(H, gates="fo")`                        |
    | NFG, no forget gate       | `OdysseyLSTM(H, gates="io")`                        |
    | NOG, no output gate       | `OdysseyLSTM(H, gates="if")`                        |
    | NIAF, no input activation | `PeepholeLSTM(H, activation=jax.nn.identity)`       |
    | NOAF, no output activation| `PeepholeLSTM(H, output_activation=jax.nn.identity)`|
    | CIFG, coupled gates       | `CIFG(H, peepholes=True)`                           |
    | NP, no peepholes          | `LSTM(H)`                                           |
    | FGR, full gate recurrence | `FullGateRecurrenceLSTM(H)`                         |

    Args:
        hidden_size: H, the number of units.
        gates: the gates that exist, as letters of i, f, o in this order.
        activation: $\phi$, for the candidate.
        output_activation: $\psi$, for the cell state.
        gate_activation: $\sigma$, for the gates.
        forget_bias: a constant that `init` adds to the bias of the forget gate.
        use_bias: whether to add a bias. Without one, `forget_bias` has no effect.
        kernel_init: initialiser of each W.
        recurrent_kernel_init: initialiser of each U.
        bias_init: initialiser of each b.
        peephole_init: initialiser of p.

    Raises:
        TypeError, ValueError: if a field has the wrong type or is out of range.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> import recurrent_jax as rj
        >>> cell = rj.OdysseyLSTM(hidden_size=3, gates="io")
        >>> params = cell.init(jax.random.key(0), in_features=2)
        >>> carry, ys = rj.unroll(cell, params, jnp.ones((7, 5, 2)))
        >>> ys.shape, params.recurrent_kernel.shape
        ((7, 5, 3), (3, 9))

    References:
        Greff et al., 2017. LSTM: a search space odyssey.
        https://doi.org/10.1109/TNNLS.2016.2582924
    """

    hidden_size: Size
    gates: Literal["ifo", "fo", "io", "if", "i", "f", "o", ""] = "ifo"
    activation: Activation = jnp.tanh
    output_activation: Activation = jnp.tanh
    gate_activation: Activation = jax.nn.sigmoid
    forget_bias: Real = 1.0
    use_bias: bool = True
    kernel_init: PerGate = glorot_uniform
    recurrent_kernel_init: PerGate = orthogonal
    bias_init: PerGate = zeros
    peephole_init: Initializer = zeros

    Params = OdysseyLSTMParams
    Carry = HiddenCellCarry
    output = "h"

    @property
    def _order(self) -> str:
        return "".join(k for k in "ifgo" if k == "g" or k in self.gates)

    def init(
        self, key: jax.Array, in_features: int, dtype: DTypeLike = float
    ) -> OdysseyLSTMParams:
        """Return fresh parameters for inputs of `in_features` features."""
        H, G = self.hidden_size, 1 + len(self.gates)
        key_x, key_h, key_b, key_p = jax.random.split(key, 4)
        bias = None
        if self.use_bias:
            bias = per_gate(self.bias_init, key_b, (H,), G, dtype)
            if "f" in self.gates:
                at = H * self._order.index("f")
                bias = bias.at[at : at + H].add(self.forget_bias)
        return OdysseyLSTMParams(
            kernel=per_gate(self.kernel_init, key_x, (in_features, H), G, dtype),
            recurrent_kernel=per_gate(
                self.recurrent_kernel_init, key_h, (H, H), G, dtype
            ),
            bias=bias,
            peephole=self.peephole_init(key_p, (G - 1, H), dtype),
        )

    def project(self, params: OdysseyLSTMParams, x: jax.Array) -> jax.Array:
        """Return $x W + b$ for the candidate and the gates."""
        return affine(x, params.kernel, params.bias)

    def feedback(self, params: OdysseyLSTMParams, carry: HiddenCellCarry) -> jax.Array:
        """Return $h U$ for the candidate and the gates."""
        return affine(carry.h, params.recurrent_kernel)

    def update(
        self,
        params: OdysseyLSTMParams,
        carry: HiddenCellCarry,
        z: jax.Array,
        u: jax.Array,
    ) -> tuple[HiddenCellCarry, jax.Array]:
        """Return the new state, and its hidden part as the output."""
        a = dict(zip(self._order, jnp.split(z + u, len(self._order), -1), strict=True))
        p = dict(zip(self.gates, params.peephole, strict=True))

        def gate(k: str, c: jax.Array) -> jax.Array | int:
            if k not in p:
                return 1
            return self.gate_activation(a[k] + expand_like(p[k], c) * c)

        g = self.activation(a["g"])
        c = gate("f", carry.c) * carry.c + gate("i", carry.c) * g
        h = gate("o", c) * self.output_activation(c)
        return HiddenCellCarry(h, c), h

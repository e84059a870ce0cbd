# SPDX-License-Identifier: Apache-2.0
"""Initialisers of gate biases, which set how long a fresh cell remembers."""

import dataclasses
from typing import Annotated, Any

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from recurrent_jax._checks import checked, instance, protocol
from recurrent_jax._checks.kinds import Number
from recurrent_jax._core.cell import Cell
from recurrent_jax._core.types import DType, Initializer, Key, Positive, UnitsShape
from recurrent_jax._core.value import Value
from recurrent_jax.initializers._basic import Fused, zeros


@dataclasses.dataclass(frozen=True, repr=False)
class Chrono(Value):
    r"""The chrono initialiser: memory spans are uniform from 2 to `max_steps` steps.

    $$ b \sim \log \mathcal{U}(1, T_{\max} - 1) $$

    A gate that keeps the fraction $\sigma(b)$ of a state at each step forgets it over
    about $1 / (1 - \sigma(b)) = 1 + e^b$ steps.

    Args:
        max_steps: $T_{\max}$, the longest span in steps, above 2.

    Example:
        >>> import recurrent_jax as rj
        >>> from recurrent_jax.initializers import Chrono, timescales
        >>> cell = timescales(Chrono(max_steps=500), rj.LSTM(64))

    References:
        Tallec and Ollivier, 2018. Can recurrent neural networks warp time?
        https://arxiv.org/abs/1804.11188
    """

    max_steps: Annotated[float, Number(above=2)]

    @protocol
    def __call__(
        self, key: jax.Array, shape: tuple[int, ...], dtype: DTypeLike
    ) -> jax.Array:
        """Return the draw."""
        longest = float(self.max_steps) - 1
        return jnp.log(jax.random.uniform(key, shape, dtype, 1.0, longest))


@checked
def uniform_gate(key: Key, shape: UnitsShape, dtype: DType) -> jax.Array:
    r"""Return biases for which a gate with zero input is uniformly distributed.

    Memory spans of all scales then occur.

    $$ b = \sigma^{-1}(u), \qquad u \sim \mathcal{U}(1 / H, 1 - 1 / H) $$

    Args:
        key: a PRNG key.
        shape: `(..., H)`, of the bias of one gate of H units.
        dtype: a floating-point dtype.

    Returns:
        An array of this shape and dtype.

    Raises:
        ValueError: if `shape` has no axis.

    Example:
        >>> import recurrent_jax as rj
        >>> from recurrent_jax.initializers import timescales, uniform_gate
        >>> cell = timescales(uniform_gate, rj.GRU(64))

    References:
        Gu et al., 2020. Improving the gating mechanism of recurrent neural networks.
        https://arxiv.org/abs/1910.09890
    """
    edge = 1 / max(2, shape[-1])
    # Computed in at least float32, since half precision is coarse near 0 and 1.
    wide = jnp.float32 if jnp.finfo(dtype).bits < 32 else dtype
    u = jax.random.uniform(key, shape, wide, edge, 1 - edge)
    return jax.scipy.special.logit(u).astype(dtype)


@dataclasses.dataclass(frozen=True, repr=False)
class PowerLaw(Value):
    r"""Biases with which memory decays by a power law, like dependencies in language.

    $$
    b = -\log(e^{1 / T} - 1), \qquad T \sim \mathrm{InverseGamma}(\alpha, 1)
    $$

    A unit whose gate is $\sigma(b) = e^{-1 / T}$ decays with a time constant of T
    steps. The mean over all units decays as $t^{-\alpha}$.

    Args:
        alpha: the exponent. In the paper, 0.56 fits English.

    Example:
        >>> import recurrent_jax as rj
        >>> from recurrent_jax.initializers import PowerLaw, timescales
        >>> cell = timescales(PowerLaw(), rj.LSTM(64))

    References:
        Mahto et al., 2021. Multi-timescale representation learning in LSTM language
        models. https://arxiv.org/abs/2009.12727
    """

    alpha: Positive = 0.56

    @protocol
    def __call__(
        self, key: jax.Array, shape: tuple[int, ...], dtype: DTypeLike
    ) -> jax.Array:
        """Return the draw."""
        # Half precision would round small rates to zero and make the bias infinite.
        wide = jnp.float32 if jnp.finfo(dtype).bits < 32 else dtype
        rate = jax.random.gamma(key, self.alpha, shape, wide)  # 1 / T
        rate = jnp.maximum(rate, jnp.finfo(wide).tiny)
        # log(e^r - 1), in a form that is accurate for large and for small r.
        return -(rate + jnp.log(-jnp.expm1(-rate))).astype(dtype)


@dataclasses.dataclass(frozen=True, repr=False)
class Opposed(Value):
    """The biases of the gates i, f, g, o: a draw for f, its negative for i, and zero.

    The input gate then lets in as much as the forget gate lets go. Wrap it in `Fused`,
    so that a cell draws all gates at once. `timescales` does both.

    Example:
        >>> import recurrent_jax as rj
        >>> from recurrent_jax.initializers import Chrono, Fused, Opposed
        >>> bias_init = Fused(Opposed(Chrono(max_steps=100)))
        >>> cell = rj.LSTM(64, bias_init=bias_init, forget_bias=0.0)
    """

    initializer: Initializer

    @checked
    def __call__(self, key: Key, shape: UnitsShape, dtype: DType) -> jax.Array:
        """Return the biases, zero for g and o."""
        f = self.initializer(key, (*shape[:-1], shape[-1] // 4), dtype)
        return jnp.concatenate([-f, f, jnp.zeros_like(f), jnp.zeros_like(f)], axis=-1)


@checked
def timescales(initializer: Initializer, cell: Cell) -> Any:
    """Return `cell` with gate biases that are drawn for a range of memory spans.

    For an LSTM, the draw is the whole bias of the forget gate, and its negative is that
    of the input gate, so that the cell lets in as much as it lets go. For a GRU, the
    draw is the bias of the update gate, which keeps the state here. All other biases
    are zero. For other cells, set the initialiser yourself: `bias_init` may be a tuple
    with one for each gate.

    Args:
        initializer: `Chrono(max_steps)`, `uniform_gate`, `PowerLaw()`, or your own.
        cell: a cell with the gates of an LSTM (i, f, g, o) or of a GRU (r, z, n).

    Returns:
        A new cell of the same type.

    Raises:
        ValueError: if the cell has other gates or no bias.

    Example:
        >>> import jax
        >>> import recurrent_jax as rj
        >>> from recurrent_jax.initializers import Chrono, timescales
        >>> cell = timescales(Chrono(max_steps=100), rj.LSTM(4))
        >>> i, f, g, o = cell.init(jax.random.key(0), in_features=2).bias.reshape(4, 4)
        >>> bool((i == -f).all()), bool((f > 0).all()), bool((g == 0).all())
        (True, True, True)
    """
    instance("timescales", cell, order="(initializer, cell)")
    fields = {f.name for f in dataclasses.fields(cell)}
    params: Any = jax.eval_shape(lambda: cell.init(jax.random.key(0), 1))
    bias = getattr(params, "bias", None)
    size = getattr(cell, "hidden_size", 0)
    gates = 0 if bias is None or not size else bias.shape[-1] / size
    changes: dict[str, Any]
    if {"bias_init", "forget_bias"} <= fields and gates == 4:
        changes = {"bias_init": Fused(Opposed(initializer)), "forget_bias": 0.0}
        return dataclasses.replace(cell, **changes)
    if {"bias_init", "recurrent_bias_init"} <= fields and gates == 3:
        changes = {"bias_init": (zeros, initializer, zeros)}
        return dataclasses.replace(cell, **changes)
    raise ValueError(
        f"timescales: {cell!r} has neither the biases of an LSTM (i, f, g, o) nor "
        "those of a GRU (r, z, n); give bias_init a tuple with one for each gate"
    )

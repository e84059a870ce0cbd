# SPDX-License-Identifier: Apache-2.0
"""Encoder and decoder."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from recurrent_jax import _checks
from recurrent_jax._core.arrays import is_float
from recurrent_jax._core.input_types import Arrays, Lengths, Mask, Model
from recurrent_jax._core.types import DType, Key, Size
from recurrent_jax._core.vectors import to_vector
from recurrent_jax._loop.unroll import unroll
from recurrent_jax.tasks import _check
from recurrent_jax.tasks._bridge import BridgeParams, bridge, init_bridge
from recurrent_jax.tasks._pool import last_output
from recurrent_jax.wrappers import Attention, AttentionCarry


class EncoderDecoderParams(NamedTuple):
    """Parameters of an encoder, a decoder, and an optional bridge between them."""

    encoder: Any
    decoder: Any
    bridge: BridgeParams | None = None


@_checks.checked
def init_encoder_decoder(
    key: Key,
    encoder: Model,
    decoder: Model,
    *,
    in_features: Size,
    decoder_features: Size,
    dtype: DType = float,
) -> EncoderDecoderParams:
    """Return fresh parameters of both, with a bridge if their carries differ.

    Args:
        key: a PRNG key.
        encoder: any cell or network.
        decoder: any cell or network; `Attention` reads the encoder's outputs. Where
            its carry differs from that of the encoder, it must consist of vectors.
        in_features: features of the encoder's input.
        decoder_features: features of the decoder's input.
        dtype: a floating-point dtype.

    Returns:
        `EncoderDecoderParams`.

    Raises:
        TypeError, ValueError: if a size does not fit.

    Example:
        >>> import jax
        >>> import recurrent_jax as rj
        >>> encoder = rj.Bidirectional(rj.LSTM(3))
        >>> params = rj.tasks.init_encoder_decoder(
        ...     jax.random.key(0), encoder, rj.GRU(4), in_features=2,
        ...     decoder_features=5)
        >>> params.bridge.kernels.h.shape  # from h and c of both directions
        (12, 4)
    """
    key_e, key_d, key_b = jax.random.split(key, 3)
    read = encoder.init(key_e, in_features, dtype)
    written = decoder.init(key_d, decoder_features, dtype)
    inside, params = decoder, written
    if isinstance(decoder, Attention):
        _check.reads_encoder(decoder, encoder.out_features(in_features))
        inside, params = decoder.cell, written.cell
    here, there = (
        jax.eval_shape(lambda p, c=c: c.initial_carry(params=p), p)
        for c, p in ((encoder, read), (inside, params))
    )
    over = None
    if not _alike(here, there):
        size = sum(leaf.size for leaf in jax.tree.leaves(here) if is_float(leaf))
        over = init_bridge(key_b, inside, size, dtype)
    return EncoderDecoderParams(
        encoder=read,
        decoder=written,
        bridge=over,
    )


@_checks.checked
def encode(
    encoder: Model,
    decoder: Model,
    params: EncoderDecoderParams,
    xs: Arrays,
    *,
    lengths: Lengths | None = None,
    mask: Mask | None = None,
    time_axis: int = 0,
    key: Key | None = None,
) -> tuple[Any, Any]:
    r"""Encode a sequence; return the parameters and the initial carry of the decoder.

    $$
    (s_T, m) = \mathrm{unroll}_e(\theta_e, x), \qquad
    (s'_T, y) = \mathrm{unroll}_d(\theta_d, x'; s'_0)
    $$

    where $s'_0$ is the encoder's final carry $s_T$, or its image under `bridge`. If
    the decoder is an `Attention`, its memory is all outputs $m$ of the encoder except
    the padding. The returned parameters contain this memory. Then decode with teacher
    forcing:

        params_d, carry = encode(encoder, decoder, params, xs, lengths=lengths)
        inputs = embed(delay(targets, first=start_token))
        _, ys = rj.unroll(decoder, params_d, inputs, carry=carry)

    or feed predictions back with `recurrent_jax.generation`.

    Args:
        encoder: any cell or network.
        decoder: any cell or network. Without a bridge, its carry must have the type
            and size of the encoder's. For `Attention` this is the inner cell's carry.
        params: of both, and of the bridge or None.
        xs: the encoder's input, as for `unroll`.
        lengths: of the input, as for `unroll`.
        mask: of the input, as for `unroll`.
        time_axis: of the input.
        key: for an encoder that draws random numbers.

    Returns:
        The decoder's parameters and its initial carry.

    Raises:
        TypeError, ValueError: if shapes or types do not fit.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> import recurrent_jax as rj
        >>> encoder = rj.GRU(4)
        >>> decoder = rj.Attention(rj.GRU(4), memory_features=4)
        >>> params = rj.tasks.init_encoder_decoder(
        ...     jax.random.key(0), encoder, decoder, in_features=2, decoder_features=3)
        >>> xs = jnp.ones((9, 5, 2))
        >>> params_d, carry = rj.tasks.encode(encoder, decoder, params, xs)
        >>> _, ys = rj.unroll(decoder, params_d, jnp.ones((7, 5, 3)), carry=carry)
        >>> ys.shape
        (7, 5, 8)

    References:
        Sutskever, Vinyals and Le, 2014. Sequence to sequence learning with neural
        networks. https://arxiv.org/abs/1409.3215
        Cho et al., 2014. Learning phrase representations using RNN encoder-decoder for
        statistical machine translation. https://arxiv.org/abs/1406.1078
    """
    read = {"lengths": lengths, "mask": mask, "time_axis": time_axis}
    carry, ys = unroll(encoder, params.encoder, xs, key=key, **read)
    if params.bridge is not None:
        carry = bridge(params.bridge, _vector(encoder, params.encoder, carry))
    params_d = params.decoder
    if isinstance(decoder, Attention):
        params_d = decoder.bind(params_d, ys, **read)
        carry = AttentionCarry(
            carry, jnp.zeros_like(last_output(ys, time_axis=time_axis))
        )
    return params_d, carry


def _vector(encoder: Any, params: Any, carry: Any) -> jax.Array:
    """Return all floats of a carry as one vector for each sequence."""
    alone = jax.eval_shape(lambda p: encoder.initial_carry(params=p), params)
    first, of_one = jax.tree.leaves(carry)[0], jax.tree.leaves(alone)[0]
    return to_vector(carry, first.shape[: first.ndim - of_one.ndim])


def _alike(here: Any, there: Any) -> bool:
    """Return whether two carries have the same type and size."""
    shapes = (jax.tree.map(lambda a: a.shape, carry) for carry in (here, there))
    one, other = shapes
    return jax.tree.structure(here) == jax.tree.structure(there) and one == other

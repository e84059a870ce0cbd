# SPDX-License-Identifier: Apache-2.0
"""The network: a convolutional encoder in Flax and a recurrent decoder with attention.

The encoder, called the eye, maps a picture to features on a grid. The decoder writes
one word at a time and attends to a part of the grid for each word.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import captions_data as data
import flax.linen as nn
import jax
import jax.numpy as jnp

import recurrent_jax as rj
from recurrent_jax import generation, tasks, training

ROWS, COLUMNS = data.HEIGHT // 4, data.WIDTH // 4  # of the grid
STEPS = data.MOST + 1  # the words and the end


class Eye(nn.Module):
    """Pictures, `(N, height, width)`, to features, `(N, places, features)`."""

    features: int
    dropout: float

    @nn.compact
    def __call__(self, pictures: jax.Array, *, train: bool) -> jax.Array:
        """Return features of every position, with a position embedding."""
        x = pictures[..., None]
        # Strides in place of pooling, whose gradient is slow on CPU.
        for size, width, stride in ((32, 4, 2), (64, 4, 2), (self.features, 3, 1)):
            x = nn.relu(nn.Conv(size, (width, width), strides=(stride, stride))(x))
        x = nn.Dropout(self.dropout, deterministic=not train)(x)
        x = nn.Dense(self.features)(x)
        where = self.param(
            "where",
            nn.initializers.normal(0.3),
            (ROWS, COLUMNS, self.features),
        )
        x = x + where[None]
        return x.reshape(len(x), ROWS * COLUMNS, self.features)


class Params(NamedTuple):
    """Parameters of the whole network."""

    eye: Any
    table: jax.Array  # (tokens, embedding)
    decoder: Any
    kernel: jax.Array  # (H + features, words and end)
    bias: jax.Array


@dataclasses.dataclass(frozen=True)
class Captioner:
    """The hyper-parameters of the network, without its parameters.

    Attributes:
        cell: of the decoder.
        features: of each position in the output of the eye.
        embedding: size of the embedding of a word.
        dropout: rate of dropout on the features of the eye.
    """

    cell: rj.Cell
    features: int = 64
    embedding: int = 16
    dropout: float = 0.3

    @property
    def eye(self) -> Eye:
        """The convolutional encoder."""
        return Eye(self.features, self.dropout)

    @property
    def decoder(self) -> rj.Attention:
        """The cell with attention."""
        return rj.Attention(self.cell, memory_features=self.features)

    def init(self, key: jax.Array) -> Params:
        """Return fresh parameters."""
        keys = jax.random.split(key, 4)
        picture = jnp.zeros((1, data.HEIGHT, data.WIDTH))
        decoder = self.decoder.init(keys[2], self.embedding)
        size = jax.eval_shape(self.cell.initial_carry).h.shape[-1] + self.features
        draw = rj.initializers.glorot_uniform
        return Params(
            eye=self.eye.init(keys[0], picture, train=False),
            table=0.3 * jax.random.normal(keys[1], (data.START + 1, self.embedding)),
            decoder=decoder,
            kernel=draw(keys[3], (size, data.END + 1), float),
            bias=jnp.zeros(data.END + 1),
        )

    def look(self, params: Params, pictures: jax.Array, key: Any = None) -> Any:
        """Return the decoder's parameters with the encoded pictures as memory."""
        rngs = None if key is None else {"dropout": key}
        seen = self.eye.apply(params.eye, pictures, train=key is not None, rngs=rngs)
        return self.decoder.bind(params.decoder, seen, time_axis=1)

    def loss(
        self, params: Params, carry: Any, batch: data.Captioned, key: jax.Array
    ) -> tuple[jax.Array, Any]:
        """Return the cross-entropy of each word, given all true words before it."""
        params_d = self.look(params, batch.pictures, key)
        inputs = params.table[tasks.delay(batch.tokens, data.START)]
        _, ys = rj.unroll(self.decoder, params_d, inputs)
        logits = rj.affine(ys, params.kernel, params.bias)
        mask = rj.ragged.mask(batch.lengths, STEPS)
        return training.cross_entropy(logits, batch.tokens, mask=mask), carry

    def writer(self, params: Params, pictures: jax.Array) -> Callable[..., Any]:
        """Return a step from a carry and a word to the logits of the next word."""
        params_d = self.look(params, pictures)

        def step(carry: Any, token: jax.Array) -> tuple[Any, jax.Array]:
            carry, y = self.decoder.step(params_d, carry, params.table[token])
            return carry, rj.affine(y, params.kernel, params.bias)

        return step

    def caption(self, params: Params, pictures: jax.Array, beams: int) -> jax.Array:
        """Return the best captions of a beam search, `(STEPS, N)`."""
        count = len(pictures)
        found = generation.beam_search(
            self.writer(params, pictures),
            self.decoder.initial_carry((count,)),
            jnp.full(count, data.START),
            steps=STEPS,
            beams=beams,
            end=data.END,
        )
        return found.tokens[0]

    def attention(
        self, params: Params, pictures: jax.Array, tokens: jax.Array
    ) -> jax.Array:
        """Return the attention weights of each word, `(STEPS, N, ROWS, COLUMNS)`."""
        params_d = self.look(params, pictures)
        inputs = params.table[tasks.delay(tokens, data.START)]
        _, ys = rj.unroll(self.decoder, params_d, inputs)
        weights = self.decoder.weights(params_d, ys)
        return weights.reshape(*weights.shape[:-1], ROWS, COLUMNS)

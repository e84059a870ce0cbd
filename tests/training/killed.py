# SPDX-License-Identifier: Apache-2.0
"""A small training that saves every step, run in a process that is to be killed.

    python killed.py DIRECTORY EVENT COUNT

It kills itself with SIGKILL right before the event of that name and count in the
directory: an open, a rename, a removal. COUNT 0 lets it live.
"""

import functools
import json
import os
import signal
import sys

import jax
import jax.numpy as jnp

import recurrent_jax as rj
from recurrent_jax.training import (
    _leaves,
    adamw,
    init_state,
    restore,
    save,
    train_chunk,
)

CELL = rj.GRU(4)
STEPS, LENGTH = 6, 5
FRESH = CELL.initial_carry((2,))


def loss(params, carry, chunk, key):
    noise = 0.1 * jax.random.normal(key, chunk.inputs.shape)
    carry, ys = rj.unroll(CELL, params, chunk.inputs + noise, carry=carry)
    return jnp.mean((ys[..., :1] - chunk.targets) ** 2), carry


def start():
    """Return the state at step 0 and the function that makes a step."""
    optimizer = adamw(0.01, weight_decay=0.1, skip=2)
    params = CELL.init(jax.random.key(0), 1)
    # Four chunks in an epoch, so that the training wraps round.
    data = rj.training.cut_streams(jnp.sin(jnp.arange(2 * 21.0))[:, None], 2)
    state = init_state(params, optimizer, key=jax.random.key(1), carry=FRESH)
    step = functools.partial(
        train_chunk, length=LENGTH, fresh=FRESH, loss=loss, optimizer=optimizer
    )
    return state, jax.jit(lambda state: step(state, data)[0])


def reached(state):
    """Return the digest of every part of a state."""
    return _leaves.describe(_leaves.flatten("save", "state", state))


def kill_at(directory, event, count):
    """Send SIGKILL at the given event in the directory, before it happens."""
    seen = 0

    def hook(name, arguments):
        nonlocal seen
        paths = [a for a in arguments if isinstance(a, str | os.PathLike)]
        if name == event and any(os.fspath(p).startswith(directory) for p in paths):
            seen += 1
            if seen == count:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)


def main(directory, event, count):
    state, step = start()
    state = restore(directory, state, about=repr(CELL)) or state
    print("from", int(state.step), flush=True)
    kill_at(directory, event, int(count))
    while state.step < STEPS:
        state = step(state)
        save(directory, state, about=repr(CELL))
        print("saved", int(state.step), flush=True)
    print(json.dumps(reached(state)))


if __name__ == "__main__":
    main(*sys.argv[1:])

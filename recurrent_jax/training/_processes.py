# SPDX-License-Identifier: Apache-2.0
"""Several processes that train together: who loads what, and one that acts for all."""

import pickle
from collections.abc import Callable
from typing import Annotated, Any, TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils

from recurrent_jax import _checks
from recurrent_jax._checks.input_kinds import Object
from recurrent_jax._core.types import Size

T = TypeVar("T")


def _is_mesh(value: Any) -> bool:
    return isinstance(value, jax.sharding.Mesh)


Mesh = Annotated[
    jax.sharding.Mesh,
    Object("a mesh of devices", _is_mesh, 'jax.make_mesh((devices,), ("data",))'),
]


@_checks.checked
def process_indices(count: Size, mesh: Mesh) -> np.ndarray:
    """Return which sequences of a batch this process loads.

    A batch of `count` sequences is cut into equal parts, one for each device of the
    mesh. The sequences of a process are those of its own devices. Together the
    processes load each sequence once. `jax.make_array_from_process_local_data` joins
    what they have loaded, in this order, into one array over all devices.

    Args:
        count: number of sequences in the batch of all processes.
        mesh: the devices that share the batch, over all of its axes.

    Returns:
        Their places in the batch in rising order, `(sequences,)`, of integers.

    Raises:
        ValueError: if the devices cannot have equal parts, or if this process has none
            of the devices.

    Example:
        >>> import jax
        >>> from recurrent_jax.training import process_indices
        >>> mesh = jax.make_mesh((1,), ("data",))
        >>> process_indices(4, mesh)  # there is one process, which loads all
        array([0, 1, 2, 3])
    """
    if count % mesh.size:
        raise ValueError(
            f"process_indices: a batch of {count} sequences cannot be cut into equal "
            f"parts for {mesh.size} devices; take a multiple of {mesh.size}"
        )
    here = jax.process_index()
    own = [n for n, d in enumerate(mesh.devices.flat) if d.process_index == here]
    if not own:
        raise ValueError(
            f"process_indices: mesh has no device of this process, {here}; make it of "
            "jax.devices(), which are those of all processes"
        )
    return np.arange(count).reshape(mesh.size, -1)[own].reshape(-1)


def gathered(array: jax.Array) -> Any:
    """Return an array that each process has in whole; all processes must call it."""
    if array.is_fully_addressable or array.is_fully_replicated:
        return array
    return multihost_utils.process_allgather(array, tiled=True)


def by_first(work: Callable[[], T]) -> T:
    """Return on all processes what `work` returns on process 0, or raise its error.

    The others do not call it, so it may use a disk that they do not see.
    """
    if jax.process_count() == 1:
        return work()
    done: tuple[Any, Exception | None] = (None, None)
    if jax.process_index() == 0:
        try:
            done = (work(), None)
        except Exception as error:  # the others are to end as well
            done = (None, error)
    told = _from_first(pickle.dumps(done))
    result, failure = done if jax.process_index() == 0 else pickle.loads(told)
    if failure is not None:
        raise failure
    return result  # type: ignore[no-any-return]


def _from_first(data: bytes) -> bytes:
    """Return the bytes of process 0."""
    parts = np.array(divmod(len(data), 2**30), np.int32)
    high, low = map(int, multihost_utils.broadcast_one_to_all(parts))
    size = high * 2**30 + low
    sent = np.frombuffer(data.ljust(size, b"\0"), np.uint8)
    return np.asarray(multihost_utils.broadcast_one_to_all(sent)).tobytes()

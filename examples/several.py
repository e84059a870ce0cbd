# SPDX-License-Identifier: Apache-2.0
"""One training in several processes: started here, or by a cluster.

Every process runs the same program. JAX connects them, and `jax.devices()` then shows
the devices of all. Process 0 prints, and writes files.
"""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, Literal

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

import recurrent_jax as rj

Processes = int | Literal["cluster"]

ADDRESS, COUNT, INDEX = "JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID"
# Seconds without a sign of life until JAX ends all processes, and seconds that a
# process which ends waits for the others. JAX itself has 100 and 300.
HEARTBEAT, SHUTDOWN = 30, 30


def run(processes: Processes, work: Callable[[], int]) -> int:
    """Run `work` here, in new processes, or as one of those of a cluster.

    Args:
        processes: a number to start on this machine, or `"cluster"` for a process that
            a cluster has started. JAX reads from SLURM, Open MPI, Kubernetes or a TPU
            pod how many there are and which this is. Elsewhere the three variables do.
        work: returns an exit status.

    Returns:
        The exit status, of the first process that failed if any did.
    """
    if processes == 1:
        return work()
    if processes != "cluster" and COUNT not in os.environ:
        return launch(processes)
    connect()
    status = work()
    # Process 0 may have more to do, and the end of a process is a sign of failure.
    multihost_utils.sync_global_devices("end")
    jax.distributed.shutdown()
    return status


def connect() -> None:
    """Connect this process with the others."""
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    known: dict[str, Any] = {}
    if COUNT in os.environ:
        index = int(os.environ[INDEX])
        known = {"num_processes": int(os.environ[COUNT]), "process_id": index}
        known["cluster_detection_method"] = "deactivate"
    try:
        jax.distributed.initialize(
            **known,
            heartbeat_timeout_seconds=HEARTBEAT,
            shutdown_timeout_seconds=SHUTDOWN,
        )
    except ValueError as error:
        raise ConnectionError(
            f"no cluster was found ({error}); set {ADDRESS}, {COUNT} and {INDEX}"
        ) from error


def launch(count: int) -> int:
    """Run this program in `count` processes; end all as soon as one of them fails."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    shared = {**os.environ, ADDRESS: f"localhost:{port}", COUNT: str(count)}
    command = [sys.executable, *sys.orig_argv[1:]]
    running: list[subprocess.Popen] = []
    try:
        with signals(running):
            for number in map(str, range(count)):
                # On a machine with several GPUs, each process takes one.
                own = {INDEX: number, "JAX_LOCAL_DEVICE_IDS": number}
                running.append(
                    subprocess.Popen(command, env=shared | own, start_new_session=True)
                )
            return watched(running)
    finally:
        for one in running:
            one.kill()
            one.wait()


def watched(running: list[subprocess.Popen]) -> int:
    """Return the status of the first process that fails, or 0 once all have ended."""
    while True:
        states = [one.poll() for one in running]
        if failed := [state for state in states if state]:
            return failed[0] if failed[0] > 0 else 128 - failed[0]
        if None not in states:
            return 0
        time.sleep(0.1)


@contextlib.contextmanager
def signals(running: list[subprocess.Popen]) -> Iterator[None]:
    """Let Ctrl-C stop process 0, and so all; the second one, or SIGTERM, ends them."""
    pressed = []

    def interrupt(*_: Any) -> None:
        if pressed or not running:
            raise KeyboardInterrupt
        pressed.append(True)
        running[0].send_signal(signal.SIGINT)

    def terminate(*_: Any) -> None:
        raise SystemExit(128 + signal.SIGTERM)

    before = signal.signal(signal.SIGINT, interrupt)
    before_term = signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        signal.signal(signal.SIGTERM, before_term)


def is_first() -> bool:
    """Return whether this process prints and writes files."""
    return jax.process_index() == 0


def agreed(stop: threading.Event) -> bool:
    """Return whether any process is to stop; then all are."""
    if jax.process_count() > 1:
        said = multihost_utils.process_allgather(np.array(stop.is_set()))
        if said.any():
            stop.set()
    return stop.is_set()


def mesh() -> Mesh:
    """Return all devices of all processes, as one axis."""
    axis = (AxisType.Auto,)
    return jax.make_mesh((jax.device_count(),), ("data",), axis_types=axis)


def cut(devices: Mesh, axis: int) -> NamedSharding:
    """Return the sharding of arrays that have the batch on this axis."""
    return NamedSharding(devices, PartitionSpec(*[None] * axis, "data"))


def copies(devices: Mesh) -> NamedSharding:
    """Return the sharding of arrays that each device has in whole."""
    return NamedSharding(devices, PartitionSpec())


def one_exchange(steps: int) -> rj.Deferred | None:
    """Return the strategy that adds up gradients over devices once, after all steps.

    The default adds them up after each block of steps, and makes more blocks of a
    larger batch. One device has nothing to exchange, and keeps the default.
    """
    return rj.Deferred(block=steps) if jax.device_count() > 1 else None


def own_copy(tree: Any) -> Any:
    """Return the copies of this process, which it can compute with alone."""
    return jax.tree.map(lambda a: a.addressable_data(0), tree)

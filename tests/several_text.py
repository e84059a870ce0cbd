# SPDX-License-Identifier: Apache-2.0
"""A short training of `examples/text.py` in several processes, one of them killed.

    python several_text.py PROCESSES DIRECTORY EVENT COUNT INDEX

The process INDEX kills itself right before the event of that name and count: a chunk
of steps, or an audit event in the directory such as a rename. COUNT 0 lets it live.
Process 0 prints the digest of all that was trained.
"""

import json
import os
import pathlib
import signal
import sys
import threading

ROOT = pathlib.Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "examples"), str(ROOT / "tests" / "training")]

import jax  # noqa: E402
import numpy as np  # noqa: E402
import several  # noqa: E402
import text  # noqa: E402
import text_data as data  # noqa: E402
from jax.experimental import multihost_utils  # noqa: E402
from rich.console import Console  # noqa: E402

from recurrent_jax import training  # noqa: E402

PARTS = ("the cat sat on the mat. " * 20, "a cat, a mat. " * 6, "the mat sat. " * 6)
SMALL = data.Corpus(PARTS, "".join(sorted({*PARTS[0]})))


def config(directory):
    return text.Config(
        hidden_size=4,
        embedding=3,
        streams=4,
        length=11,
        epochs=2,
        samples=0,
        output=pathlib.Path(directory),
    )


def train(directory):
    """Return the whole run, as each process has it."""
    with jax.numpy_dtype_promotion("standard"):
        stop, console = threading.Event(), Console(file=sys.stderr)
        return text.train(config(directory), SMALL, stop, console)


def kill_at(directory, event, count):
    """Send SIGKILL to this process right before an event."""
    if event != "steps":
        import killed  # it computes, which JAX forbids before all are connected

        killed.kill_at(directory, event, count)
        return
    looks, agreed = 0, several.agreed

    def look(stop):  # text.py looks after each chunk of steps
        nonlocal looks
        looks += 1
        if looks == count:
            os.kill(os.getpid(), signal.SIGKILL)
        return agreed(stop)

    several.agreed = look


def everywhere(array):
    """Return the arrays of all processes, as each has them."""
    return multihost_utils.process_allgather(array).tolist()


def is_refused(directory):
    """Return whether this process hears that process 0 cannot save."""
    place = pathlib.Path(directory, "file")
    if several.is_first():
        place.write_text("not a directory")
    else:  # it looks at a place of its own, where nothing is wrong
        place = pathlib.Path(directory, "elsewhere")
    try:
        training.save(place, {"w": np.zeros(3)})
    except NotADirectoryError:
        return True
    return False


def main(processes, directory, event, count, index):
    def work():
        if jax.process_index() == int(index) and int(count):
            kill_at(directory, event, int(count))
        run = train(directory)
        import killed

        found = {
            "losses": run.curve.tolist(),
            "reached": killed.reached(run),  # all gather what is shared out
            "loaded": everywhere(training.process_indices(8, several.mesh())),
            "refused": everywhere(np.array(is_refused(directory))),
        }
        if several.is_first():
            print(json.dumps(found))
        return 0

    several.SHUTDOWN = 3
    return several.run(processes if processes == "cluster" else int(processes), work)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))

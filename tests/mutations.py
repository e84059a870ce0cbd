# SPDX-License-Identifier: Apache-2.0
"""Faults put into the package, one at a time, each of which some test must find.

    python tests/mutations.py            all of them, by the tests that are not slow
    python tests/mutations.py WORD...    those whose file or text holds a word

A fault is a line of a file replaced in a copy of the package. The tests named beside it
are then run on the copy. `docs/testing.md` lists what is here.
"""

import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time
from typing import NamedTuple

ROOT = pathlib.Path(__file__).parents[1]


class Mutation(NamedTuple):
    """A fault: what is replaced in a file of the package, and which tests find it."""

    path: str
    old: str
    new: str
    tests: str

    def apply(self, package):
        """Put the fault into a copy of the package."""
        file = package / self.path
        text = file.read_text()
        if text.count(self.old) != 1:
            raise ValueError(f"{self.path} holds {text.count(self.old)} x {self.old!r}")
        file.write_text(text.replace(self.old, self.new))


LAWS = "tests/test_laws.py -k "
MUTATIONS = [
    Mutation(
        "_loop/loop.py",
        "select(flags.reset, self.fresh, carry)",
        "select(flags.reset, carry, self.fresh)",
        f"{LAWS}lstm-nans",
    ),
    Mutation(
        "_loop/loop.py",
        "select(flags.valid, y, zeros(y))",
        "y",
        f"{LAWS}lstm-nans",
    ),
    Mutation(
        "_loop/loop.py",
        "within if mask is None else within & mask",
        "within",
        f"{LAWS}lstm-nans",
    ),
    Mutation(
        "_loop/unroll.py",
        "xs = select(loop.flags.valid, xs, zeros(xs))",
        "pass",
        f"{LAWS}lstm-nans",
    ),
    Mutation(
        "_loop/unroll.py",
        "reset if reset is None or valid is None else reset & valid",
        "reset",
        "tests/test_unroll.py -k does_nothing",
    ),
    Mutation(
        "_loop/unroll.py",
        "lambda a: jnp.moveaxis(a, axis, 0), (arrays.xs, arrays.flags)",
        "lambda a: jnp.moveaxis(a, axis * (a.ndim > 2), 0), (arrays.xs, arrays.flags)",
        "tests/test_combinations.py -k lstm",
    ),
    Mutation(
        "_loop/blocks.py",
        "lax.scan(run, carry, blocks.full, reverse=reverse)",
        "lax.scan(run, carry, blocks.full)",
        "tests/test_laws.py -k lstm-loop",
    ),
    Mutation(
        "_loop/blocks.py",
        "if reverse and blocks.rest is not None:",
        "if not reverse and blocks.rest is not None:",
        "tests/test_backward.py -k any_cell_is_deferred",
    ),
    Mutation(
        "backward/_engine/tangent.py",
        "d_before = select(flags.reset, d_fresh, d_carry)",
        "d_before = d_carry",
        "tests/test_backward.py -k any_cell_is_deferred",
    ),
    Mutation(
        "backward/_engine/tangent.py",
        "d_after, d_y = add((d_after, d_y), direct)",
        "pass",
        f"{LAWS}'cell and (elman or lstm or gru)'",
    ),
    Mutation(
        "backward/_engine/gates.py",
        "total = total + expand_like(bias, both)",
        "pass",
        f"{LAWS}narrow",
    ),
    Mutation(
        "backward/_engine/facts.py",
        "of_kernel = found.kernel in fixed.get(id(bias), ())",
        "of_kernel = False",
        "tests/test_facts.py tests/test_backward.py",
    ),
    Mutation(
        "backward/_engine/at_once.py",
        "left.append(jnp.ones_like(left[0][..., :1]))",
        "left.append(jnp.zeros_like(left[0][..., :1]))",
        f"{LAWS}lstm-cell",
    ),
    Mutation(
        "backward/_truncated.py",
        "later = lax.stop_gradient(befores[steps[0][~at_start]])",
        "later = befores[steps[0][~at_start]]",
        "tests/test_backward.py -k truncated_is_the_explicit",
    ),
    Mutation(
        "backward/_truncated.py",
        "y = jnp.swapaxes(y[k2 - k1 :], 0, 1)",
        "y = jnp.swapaxes(y[:k1], 0, 1)",
        "tests/test_backward.py -k truncated_is_the_explicit",
    ),
    Mutation(
        "cells/_gru.py",
        "n = self.activation(n + r * u[..., 2 * H :])",
        "n = self.activation(n + z * u[..., 2 * H :])",
        "tests/kernels/test_values.py -k wide",
    ),
    Mutation(
        "cells/_slstm.py",
        "m = jnp.maximum(kept, i)",
        "m = kept",
        "tests/cells/test_slstm.py",
    ),
    Mutation(
        "cells/_lem.py",
        "c = (1 - r) * carry.c + r * self.activation(c)",
        "c = (1 - s) * carry.c + r * self.activation(c)",
        "tests/cells/test_lem.py",
    ),
    Mutation(
        "cells/_gru_d.py",
        "h = decay * carry.h",
        "h = carry.h",
        "tests/cells/test_gru_d.py",
    ),
    Mutation(
        "cells/_ltc.py",
        "x.elapsed[..., None] / self.unfolds",
        "x.elapsed[..., None]",
        "tests/cells/test_ltc.py",
    ),
    Mutation(
        "networks/_bidirectional.py",
        "following[1:], jnp.full_like(following[:1], time)",
        "following[:-1], jnp.full_like(following[:1], time)",
        "tests/test_sequence.py -k reset",
    ),
    Mutation(
        "networks/_deep.py",
        "x = _dropped(x, key_drop, self.dropout, options) if n else x",
        "x = _dropped(x, key_drop, self.dropout, options)",
        "tests/test_sequence.py -k drop",
    ),
    Mutation(
        "networks/_deep.py",
        "y = y + (before if n else _shown(before, options))",
        "y = y + before",
        "tests/test_sequence.py -k residual",
    ),
    Mutation(
        "wrappers/_zoneout.py",
        "rate * a + (1 - rate) * b if rate else b",
        "rate * b + (1 - rate) * a if rate else b",
        "tests/wrappers/test_dropout.py -k zoneout",
    ),
    Mutation(
        "wrappers/_attention.py",
        "return jnp.where(valid, a, jnp.zeros_like(a))",
        "return a",
        "tests/test_tasks.py -k without_memory",
    ),
    Mutation(
        "tasks/_pool.py",
        "order = -step if reverse else step",
        "order = step",
        "tests/test_option_pairs.py -k last",
    ),
    Mutation(
        "tasks/_pool.py",
        "count = jnp.maximum(valid.sum(0), 1).astype(wide)",
        "count = jnp.maximum(valid.size, 1) * jnp.ones((), wide)",
        "tests/test_option_pairs.py -k mean",
    ),
    Mutation(
        "generation/_beam.py",
        "((5.0 + length.astype(log_prob.dtype)) / 6.0)",
        "((6.0 + length.astype(log_prob.dtype)) / 6.0)",
        "tests/test_generation.py -k beam",
    ),
    Mutation(
        "training/_losses.py",
        "total = jnp.where(trail(mask, values), values, jnp.zeros_like(values))",
        "total = values * trail(mask, values)",
        "tests/training/test_losses.py",
    ),
    Mutation(
        "training/_step.py",
        "key = jax.random.fold_in(state.key, state.step)",
        "key = state.key",
        "tests/training/test_step.py",
    ),
    Mutation(
        "training/_streams.py",
        "return Chunk(cut[:-1], cut[1:], place == 0)",
        "return Chunk(cut[:-1], cut[1:], place != 0)",
        "tests/training/test_data.py tests/training/test_step.py",
    ),
    Mutation(
        "ragged/_buckets.py",
        "cost = np.concatenate([[np.inf], each.min(0)])",
        "cost = np.concatenate([[np.inf], each.max(0)])",
        "tests/test_ragged.py",
    ),
    Mutation(
        "initializers/_timescales.py",
        "jnp.log(jax.random.uniform(key, shape, dtype, 1.0, longest))",
        "jax.random.uniform(key, shape, dtype, 1.0, longest)",
        "tests/test_initializers.py",
    ),
    Mutation(
        "activations.py",
        "return jnp.clip(self.alpha * x + self.beta, 0, 1)",
        "return jnp.clip(self.alpha * x + self.beta, -1, 1)",
        "tests/test_activations.py",
    ),
    Mutation(
        "scans/_diagonal.py",
        "before = select(flags.reset, fresh, before)",
        "pass",
        "tests/test_laws.py -k lru-nans",
    ),
    Mutation(
        "scans/_diagonal.py",
        "select(reset, lead(fresh), carry)",
        "carry",
        "tests/cells/test_lru.py -k methods",
    ),
    Mutation(
        "scans/_chunks.py",
        "element = select(bad[..., None, :], zeros(element), element)",
        "pass",
        "tests/test_scans.py -k nothing",
    ),
    Mutation(
        "scans/_sums.py",
        "start = jnp.where(trail(first, start), 0, start)",
        "pass",
        "tests/test_scans.py -k agree",
    ),
    Mutation(
        "scans/_chunks.py",
        "(bad_start[..., None] & (jnp.cumsum(reset, axis=-1) == 0))",
        "bad_start[..., None]",
        "tests/test_scans.py -k nothing",
    ),
    Mutation(
        "methods/_chunked.py",
        "all(a.dtype.itemsize >= 4 for a in jax.tree.leaves(carry))",
        "True",
        "tests/test_methods.py -k values_of_a_matrix",
    ),
    Mutation(
        "scans/_wide.py",
        "return a.astype(jnp.float32) if narrow else a",
        "return a",
        "tests/test_scans.py -k 16_bits",
    ),
    Mutation(
        "wrappers/_wrapper.py",
        "return alike and self.cell.linear",
        "return self.cell.linear",
        "tests/test_methods.py -k not_linear",
    ),
]


def killer(output):
    """Return the first test that failed, or nothing."""
    failed = [a for a in output.splitlines() if a.startswith("FAILED ")]
    return failed[0].split(" - ")[0].removeprefix("FAILED ") if failed else ""


def attempt(mutation):
    """Return the test that finds a mutation, and the seconds that it took."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as where:
        package = pathlib.Path(where) / "recurrent_jax"
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / "recurrent_jax", package, ignore=ignored)
        mutation.apply(package)
        run = f"{sys.executable} -P -m pytest -q -x -n 0 -p no:cacheprovider"
        run += " -m 'not slow'"  # what the line of README.md runs
        done = subprocess.run(
            f"{run} {mutation.tests}",
            shell=True,
            cwd=ROOT,
            env=os.environ | {"PYTHONPATH": where},
            capture_output=True,
            text=True,
        )
    return killer(done.stdout), time.monotonic() - began


def main(words):
    """Try mutations, print what finds each, and exit with how many nothing found."""
    chosen = [m for m in MUTATIONS if not words or any(w in str(m) for w in words)]
    missed = 0
    for mutation in chosen:
        found, seconds = attempt(mutation)
        missed += not found
        print(f"{found or 'NOTHING'}  {mutation.path}: {mutation.new}  {seconds:.0f}s")
        sys.stdout.flush()
    print(f"{len(chosen) - missed} of {len(chosen)} found")
    return missed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

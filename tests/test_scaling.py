# SPDX-License-Identifier: Apache-2.0
"""The estimate of `benchmarks/scaling.py`: what it counts, its times, and its table."""

import ast
import importlib.util
import os
import pathlib
import re
import subprocess
import sys

import jax
import pytest

for needed in ("matplotlib", "rich", "tyro"):
    if not importlib.util.find_spec(needed):
        pytest.skip(f"the estimate needs {needed}", allow_module_level=True)

ROOT = pathlib.Path(__file__).parents[1]
if not (ROOT / "benchmarks").exists():
    pytest.skip("the benchmarks are not here", allow_module_level=True)
if str(ROOT) not in sys.path:
    sys.path.append(str(ROOT))

from benchmarks import results, scaling  # noqa: E402

PAGE = (ROOT / "docs" / "more-than-one-machine.md").read_text()
ROWS = results.load(ROOT / "docs" / "results" / "scaling.csv")["rows"]
CODE = """
import jax
jax.config.update("jax_num_cpu_devices", 4)
from benchmarks import scaling
print(tuple(scaling.compiled(scaling.Model("lstm", 1, 8, 2, 512), 4)))
"""


def parameters(model):
    """Return the number of parameters, of which all gradients are exchanged."""
    begin = lambda: scaling.text.init(  # noqa: E731
        model.config(1), scaling.ALPHABET, jax.random.key(0)
    )
    return sum(leaf.size for leaf in jax.tree.leaves(jax.eval_shape(begin)))


def products(model):
    """Return the operations of all products: forward, and twice that backward."""
    gates = {"gru": 3, "lstm": 4}[model.cell]
    sizes = [scaling.text.Config.embedding, *[model.hidden_size] * model.layers]
    kernels = sum((d + h) * gates * h for d, h in zip(sizes, sizes[1:], strict=False))
    kernels += model.hidden_size * scaling.ALPHABET
    return 3 * 2 * model.length * model.streams * kernels


@pytest.mark.slow
def test_a_step_on_four_devices_has_one_exchange_of_all_gradients():
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", CODE],
        env={**os.environ, "PYTHONPATH": path, "JAX_PLATFORMS": "cpu"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    found = scaling.Compiled(*ast.literal_eval(done.stdout))
    model = scaling.Model("lstm", 1, 8, 2, 512)
    assert found.exchanges == 1
    assert found.exchanged == 4 * (parameters(model) + 1)  # float32, and the loss
    # The products are of the part of one device.
    assert products(model) <= found.flops <= 1.05 * products(model)


@pytest.mark.slow
@pytest.mark.parametrize("model", scaling.MODELS, ids=lambda model: model.name)
def test_what_was_compiled_is_what_the_model_has(model):
    rows = [row for row in ROWS if row["model"] == model.name]
    assert len(rows) == len(scaling.CHIPS) * len(scaling.DEVICES)
    for row in rows:
        assert row["streams"] == model.streams * row["chips"]
        assert row["exchanges"] == 1
        assert 4 * parameters(model) < row["exchanged"] < 4.01 * parameters(model)
        # The default strategy makes some products of a GRU twice.
        assert products(model) <= row["flops"] <= 1.3 * products(model)


def test_times_by_hand():
    found = scaling.Compiled(2 * 10**12, 10**9, 10**8, 1, 9)
    v5e, h100 = scaling.DEVICES["v5e"], scaling.DEVICES["H100"]
    assert scaling.step_seconds(v5e, found) == pytest.approx(2e12 / 197e12)
    assert scaling.step_seconds(v5e, found._replace(flops=1)) == 1e9 / 819e9
    # 4 x 8 chips: 31/32 of 100 MB out and in at 100 GB/s, and 2 (3 + 7) hops.
    seconds = scaling.exchange_seconds(v5e, found, 32)
    assert seconds == pytest.approx(2 * 31 / 32 * 1e-3 + 20e-6)
    # A whole pod: rings that are closed, so at 200 GB/s, and 2 (15 + 15) hops.
    seconds = scaling.exchange_seconds(v5e, found, 256)
    assert seconds == pytest.approx(2 * 255 / 256 * 0.5e-3 + 60e-6)
    # 4 machines: 7/8 at 450 GB/s in 14 hops; of an eighth 3/4 at 50 GB/s, 4 hops of 5.
    near, far = 2 * 7 / 8 * 1e8 / 450e9 + 14e-6, 2 * 3 / 4 * 1e8 / 8 / 50e9 + 20e-6
    assert scaling.exchange_seconds(h100, found, 32) == pytest.approx(near + far)
    alone = scaling.exchange_seconds(h100, found, 8)
    assert alone == pytest.approx(near)


def test_the_rows_follow_from_what_was_compiled():
    models = {model.name: model for model in scaling.MODELS}
    for row in ROWS:
        found = scaling.Compiled(*(int(row[k]) for k in scaling.Compiled._fields))
        wanted = scaling.estimate(
            models[row["model"]], int(row["chips"]), row["device"], found
        )
        for name in ("step_us", "exchange_us", "efficiency", "characters_per_s"):
            assert row[name] == pytest.approx(wanted[name], rel=1e-4)


def test_the_table_on_the_page_is_that_of_the_rows():
    head, *lines = scaling.table(ROWS)
    begin = PAGE.index("| " + " | ".join(head))
    block = PAGE[begin:].partition("\n\n")[0].splitlines()
    shown = [re.split(r" *\| *", line.strip("| ")) for line in block]
    assert [shown[0], *shown[2:]] == [head, *lines]


def test_the_exchanges_of_the_default_are_those_of_the_rows():
    found = re.search(
        r"default\s+blocks it has (\d+) on 8 devices and (\d+) on 256", PAGE
    )
    small = [row for row in ROWS if row["model"] == scaling.MODELS[0].name]
    counts = {row["chips"]: row["default_exchanges"] for row in small}
    assert [int(found[1]), int(found[2])] == [counts[8], counts[256]]

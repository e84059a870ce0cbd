# SPDX-License-Identifier: Apache-2.0
"""What an import loads and needs, and that every public name is there and explained."""

import inspect
import pathlib
import pkgutil
import subprocess
import sys
import types

import pytest

import recurrent_jax
import recurrent_jax.convert
import recurrent_jax.diagnostics
import recurrent_jax.linen
import recurrent_jax.nnx
import recurrent_jax.testing
import recurrent_jax.training

OPTIONAL = (
    "optax",
    "flax",
    "torch",
    "matplotlib",
    "hypothesis",
    "pytest",
    "haiku",
    "equinox",
    "keras",
    "orbax",
    "tyro",
    "rich",
    "onnx",
    "safetensors",
)
MODULES = {
    "recurrent_jax": recurrent_jax,
    "recurrent_jax.backward": recurrent_jax.backward,
    "recurrent_jax.cells": recurrent_jax.cells,
    "recurrent_jax.networks": recurrent_jax.networks,
    "recurrent_jax.operators": recurrent_jax.operators,
    "recurrent_jax.wrappers": recurrent_jax.wrappers,
    "recurrent_jax.convert": recurrent_jax.convert,
    "recurrent_jax.diagnostics": recurrent_jax.diagnostics,
    "recurrent_jax.generation": recurrent_jax.generation,
    "recurrent_jax.initializers": recurrent_jax.initializers,
    "recurrent_jax.linen": recurrent_jax.linen,
    "recurrent_jax.nnx": recurrent_jax.nnx,
    "recurrent_jax.online": recurrent_jax.online,
    "recurrent_jax.ragged": recurrent_jax.ragged,
    "recurrent_jax.reinforcement": recurrent_jax.reinforcement,
    "recurrent_jax.streaming": recurrent_jax.streaming,
    "recurrent_jax.tasks": recurrent_jax.tasks,
    "recurrent_jax.testing": recurrent_jax.testing,
    "recurrent_jax.training": recurrent_jax.training,
}

BLOCK = """
import importlib.metadata, re, sys

def needs(name):
    try:
        lines = importlib.metadata.requires(name) or ()
    except importlib.metadata.PackageNotFoundError:  # of another platform
        return set()
    lines = {line for line in lines if "extra ==" not in line}
    return {re.match("[A-Za-z0-9_.-]+", line)[0] for line in lines}

def closure(*names):
    found, new = set(), set(names)
    while new:
        found |= new
        new = set().union(*map(needs, new)) - found
    return {re.sub("[-_.]+", "-", name).lower() for name in found}

wanted = closure(*%r)
owners = importlib.metadata.packages_distributions()
blocked = {
    module for module, names in owners.items()
    if not wanted & {re.sub("[-_.]+", "-", name).lower() for name in names}
} - {"recurrent_jax"} - set(sys.modules)

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in blocked:
            raise ModuleNotFoundError(name + " is blocked", name=name)

sys.meta_path.insert(0, Blocked())
"""


def python(code):
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def public(module):
    """Return the public names: those in `__all__`, or those defined right here."""
    return getattr(module, "__all__", None) or [
        name
        for name, thing in vars(module).items()
        if getattr(thing, "__module__", None) == module.__name__ and name[0] != "_"
    ]


NAMES = [(module, name) for module in MODULES for name in public(MODULES[module])]


def test_importing_the_package_loads_nothing_optional():
    loaded = python(
        "import sys, recurrent_jax; print(*sys.modules, sep='\\n')"
    ).splitlines()
    assert "recurrent_jax" in loaded
    lazy = ("convert", "diagnostics", "linen", "nnx", "training", "testing")
    lazy = {f"recurrent_jax.{name}" for name in lazy}
    assert not lazy & set(loaded)
    assert not {name.partition(".")[0] for name in loaded} & set(OPTIONAL)


def test_the_core_needs_jax_alone():
    code = BLOCK % (("jax",),)
    python(
        code + "import recurrent_jax as rj\n"
        "assert {'optax', 'flax', 'pytest'} <= blocked, blocked\n"
        "[getattr(rj, name) for name in rj.__all__ if name != 'training']\n"
        "from recurrent_jax.testing import *\n"
        "try:\n    rj.training\n"
        "except ModuleNotFoundError as error:\n    assert error.name == 'optax'\n"
        "else:\n    raise SystemExit('training came without Optax')"
    )


@pytest.mark.slow
def test_the_modules_for_flax_need_flax_alone():
    code = BLOCK % (("jax", "flax"),)
    python(
        code + "import recurrent_jax as rj\n"
        "assert rj.linen.RNN and rj.nnx.RNN\n"
        "assert {'onnx', 'safetensors', 'pytest'} <= blocked\n"
        "assert not blocked & set(sys.modules)"
    )
    code = BLOCK % (("jax",),)
    for name in ("linen", "nnx"):
        python(
            code + "import recurrent_jax as rj\n"
            f"try:\n    rj.{name}\n"
            "except ModuleNotFoundError as error:\n    assert error.name == 'flax'\n"
            "    assert \"pip install 'recurrent-jax[flax]'\" in str(error), error\n"
            "else:\n    raise SystemExit('it came without Flax')"
        )


@pytest.mark.slow
def test_everything_public_needs_jax_and_optax_alone():
    code = BLOCK % (("jax", "optax"),)
    python(
        code + "from recurrent_jax import *\n"
        "from recurrent_jax.training import *\n"
        "from recurrent_jax.testing import *\n"
        "import recurrent_jax.initializers\n"
        "assert callable(training.clipping) and callable(testing.check_cell)\n"
        "assert 'flax' in blocked and not blocked & set(sys.modules)"
    )


@pytest.mark.parametrize(
    "module", [m for m in MODULES.values() if hasattr(m, "__all__")], ids=str
)
def test_all_lists_every_public_name_that_a_room_has(module):
    assert len(set(module.__all__)) == len(module.__all__)
    names = {name for name in dir(module) if not name.startswith("_")}
    ours = {
        name
        for name in names
        if not isinstance(getattr(module, name), types.ModuleType)
        and getattr(getattr(module, name), "__module__", "").startswith("recurrent_jax")
    }
    for_annotations = {"Loop"}
    assert ours - for_annotations <= set(module.__all__) <= names
    for name in module.__all__:
        assert getattr(module, name) is not None


def test_dir_shows_every_room():
    rooms = {
        name
        for _, name, _ in pkgutil.iter_modules(recurrent_jax.__path__)
        if not name.startswith("_")
    }
    assert rooms <= set(dir(recurrent_jax))
    # `import *` must not ask for Flax.
    assert rooms - {"linen", "nnx"} <= set(recurrent_jax.__all__)


def test_the_top_level_holds_verbs_and_values():
    assert set(dir(recurrent_jax)) - {"linen", "nnx", "__version__"} == set(
        recurrent_jax.__all__
    )
    parts = [n for n in dir(recurrent_jax) if n.endswith(("Params", "Carry"))]
    assert parts == ["LearnedCarry", "WithCarry"]  # wrappers
    # Every cell and wrapper is there; their parts are in their rooms alone.
    for room in (recurrent_jax.cells, recurrent_jax.wrappers):
        values = {
            name
            for name in room.__all__
            if not is_parts(getattr(room, name)) and name != "Sampled"
        }
        assert values <= set(recurrent_jax.__all__)


def test_parameters_and_carries_are_attributes_of_their_cell():
    cells = vars(recurrent_jax.cells)
    for name in recurrent_jax.cells.__all__:
        kind = cells[name]
        if not is_parts(kind) and name != "IRNN":
            assert kind.Carry in cells.values(), name
            assert kind.Params in (tuple, cells.get(f"{name}Params")), name
    assert recurrent_jax.LSTM.Params is recurrent_jax.cells.LSTMParams


def is_parts(thing):
    """Whether this is the NamedTuple of some cell's parameters or carry."""
    return isinstance(thing, type) and issubclass(thing, tuple)


@pytest.mark.parametrize("module, name", NAMES, ids=[".".join(pair) for pair in NAMES])
def test_every_public_name_is_explained(module, name):
    thing = getattr(MODULES[module], name)
    if isinstance(thing, dict):  # it can have no docstring of its own
        assert f"`{name}`" in MODULES[module].__doc__
        return
    text = inspect.getdoc(thing)
    assert text, f"{name} has no docstring"
    assert text != inspect.getdoc(dict) and not text.startswith(f"{name}("), (
        f"{name} has the docstring that Python made up"
    )
    wants_example = callable(thing) and not is_parts(thing)
    if wants_example and (module, name) not in WITHOUT_EXAMPLE:
        assert ">>>" in text, f"{name} has no example"


# An exception, a table's row, and draws that say all in a line; their module, `preset`
# and `check_cell` show how they are used.
WITHOUT_EXAMPLE = {
    ("recurrent_jax.backward", "Backward"),
    ("recurrent_jax.initializers", "zeros"),
    ("recurrent_jax.initializers", "glorot_uniform"),
    ("recurrent_jax.initializers", "lecun_normal"),
    ("recurrent_jax.initializers", "torch_uniform"),
    ("recurrent_jax.initializers", "torch_bias"),
    ("recurrent_jax.initializers", "haiku_linear"),
    ("recurrent_jax.initializers", "TruncatedNormal"),
    ("recurrent_jax.initializers", "Fused"),
    ("recurrent_jax.convert", "LossyConversionWarning"),
    ("recurrent_jax.testing", "LawViolation"),
    ("recurrent_jax.testing", "Trial"),
    *(("recurrent_jax.testing", name) for name in recurrent_jax.testing.LAWS),
}


def test_an_unknown_name_is_an_attribute_error():
    assert not hasattr(recurrent_jax, "no_such_name")
    for name, hint in (
        ("Lstm", "did you mean LSTM?"),
        ("LSTMCell", "did you mean LSTM?"),
        ("RNN", "the plain RNN is Elman"),
        ("unrol", "did you mean unroll?"),
    ):
        with pytest.raises(AttributeError, match=hint):
            getattr(recurrent_jax, name)
    with pytest.raises(AttributeError, match="attribute 'xyzzy'$"):
        getattr(recurrent_jax, "xyzzy")  # noqa: B009


def test_the_package_is_typed():
    assert (pathlib.Path(recurrent_jax.__file__).parent / "py.typed").is_file()

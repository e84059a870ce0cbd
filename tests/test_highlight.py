# SPDX-License-Identifier: Apache-2.0
"""The example `examples/highlight.py`: its data, its networks, and what a user sees."""

import io
import pathlib
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

for needed in ("matplotlib", "optax", "rich", "tyro"):
    if not __import__("importlib.util").util.find_spec(needed):
        pytest.skip(f"the example needs {needed}", allow_module_level=True)

ROOT = pathlib.Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "examples"))

import cli  # noqa: E402
import highlight  # noqa: E402
import highlight_data as data  # noqa: E402
import highlight_report as report  # noqa: E402
from highlight_models import Recurrent, Window  # noqa: E402

import recurrent_jax as rj  # noqa: E402

TINY = ("--seeds", "1", "--epochs", "1", "--widths", "2", "--hidden-size", "3")
TINY += ("--characters", "2000", "--tested", "600", "--streams", "4", "--length", "20")
PROGRAM = '''x = 1  # one
"""Doc
# no comment
"""
y = f"a {x + 1} 'b'" + '#'
'''


def start(capsys, monkeypatch, *flags):
    monkeypatch.setattr(sys, "argv", ["highlight.py", *map(str, flags)])
    monkeypatch.setenv("COLUMNS", "100")
    try:
        status = highlight.main()
    except SystemExit as stop:
        status = stop.code
    return status, *capsys.readouterr()


def test_kinds_by_hand():
    shown = "".join("x#'D"[kind] for kind in data.kinds(PROGRAM))
    assert shown[:13] == "xxxxxxx#####x"
    assert shown[13:36] == "D" * 23
    assert shown[36:] == "xxxxx" + "'" * 16 + "xxx" + "'''" + "x"


def test_a_string_within_an_f_string_is_no_end_of_it():
    kinds = data.kinds("""f'{x["k"]}' # c""")
    assert kinds.tolist() == [data.STRING] * 11 + [data.CODE] + [data.COMMENT] * 3


def test_distance_from_the_last_change():
    source = data.Source(np.zeros(7, int), np.array([0, 0, 2, 2, 2, 0, 1]))
    assert source.since_change().tolist() == [0, 1, 0, 1, 2, 0, 0]


def test_files_are_trained_on_or_tested_on_but_not_both(tmp_path):
    for n in range(8):
        (tmp_path / f"{n}.py").write_text(f"x = {n}\n" * 20)
    (tmp_path / "bad.py").write_text("x = '\n")
    (tmp_path / "wide.py").write_text("# \u00e9\n")
    train, test = data.load(300, 150, tmp_path)
    assert len(train.codes) == 360 and len(test.codes) == 150
    numbers = [{line[4:] for line in part.text.splitlines()} for part in (train, test)]
    assert len(numbers[0]) == 3 and not numbers[0] & numbers[1]
    again = data.load(300, 150, tmp_path)[0]
    assert again.text == train.text
    with pytest.raises(cli.Failure, match="characters of Python in ASCII are too few"):
        data.load(3000, 150, tmp_path)


def test_the_library_of_python_is_large_enough():
    config = highlight.Config()
    train, test = data.load(config.characters, config.tested)
    assert set(np.unique(test.kinds)) == {0, 1, 2, 3}
    assert train.codes.max() < data.CODES
    first, last = report.excerpt(test)
    lines = test.text[first:last].splitlines()
    assert len(lines) == report.LINES


NETWORKS = {
    "recurrent": Recurrent(rj.GRU(3), 2),
    "window": Window(4, 3, 2),
    "bag": Window(4, 3, 2, ordered=False),
    "one": Window(1, 3, 2),
}


@pytest.mark.mostly_slow
@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_reads_on_from_its_carry(name):
    network = NETWORKS[name]
    params = network.init(jax.random.key(0))
    codes = jax.random.randint(jax.random.key(1), (9, 2), 0, data.CODES)
    carry, whole = network(params, network.start(2), codes)
    middle, first = network(params, network.start(2), codes[:4])
    last, second = network(params, middle, codes[4:])
    np.testing.assert_allclose(jnp.concatenate([first, second]), whole, atol=1e-6)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), carry, last)


def test_a_window_sees_its_width_and_nothing_before():
    codes = jax.random.randint(jax.random.key(1), (9, 1), 0, data.CODES)
    for network in (NETWORKS["window"], NETWORKS["bag"]):
        params = network.init(jax.random.key(0))
        logits = [
            network(params, network.start(1), codes.at[place].set(0))[1][-1]
            for place in (4, 5)
        ]
        whole = network(params, network.start(1), codes)[1][-1]
        np.testing.assert_array_equal(logits[0], whole)
        assert np.abs(logits[1] - whole).max() > 1e-4
    swapped = codes.at[7].set(codes[8]).at[8].set(codes[7])
    both = [network(params, network.start(1), c)[1][-1] for c in (codes, swapped)]
    np.testing.assert_allclose(*both, atol=1e-6)  # a bag has no order


def test_streams_of_chunks_are_the_text():
    config = highlight.Config(characters=70, streams=3, length=5)
    source = data.Source(np.arange(80), np.arange(80) % 4)
    codes, kinds = highlight.cut(config, source)
    assert codes.shape == kinds.shape == (4, 5, 3)
    assert codes[:, :, 1].reshape(-1).tolist() == list(range(20, 40))


def test_guesses_are_in_the_order_of_the_text():
    codes = np.arange(161) % 4
    source = data.Source(codes, codes)
    np.testing.assert_array_equal(highlight.guess(Fixed(), None, source), codes)


class Fixed:
    """It says that a character of code c is of kind c."""

    def start(self, streams):
        return ()

    def __call__(self, params, carry, codes):
        return carry, jax.nn.one_hot(codes, 4)


@pytest.mark.slow
def test_a_run_prints_the_table_and_saves_the_picture(capsys, monkeypatch, tmp_path):
    flags = (*TINY, "--output", tmp_path / "new")
    status, out, err = start(capsys, monkeypatch, *flags)
    assert (status, err) == (0, "")
    for text in ("GRU with memory", "last 2 characters", "last 2, no order", "always"):
        assert text in out
    assert "times as many" in out and " s in all" in out and "\x1b" not in out
    assert (tmp_path / "new" / "highlight.png").read_bytes().startswith(b"\x89PNG")


def test_the_verdict_counts_errors():
    truth = np.zeros(1000, int)
    one = np.where(np.arange(1000) < 10, 1, truth)
    many = np.where(np.arange(1000) < 50, 1, truth)
    test = data.Source(np.full(1000, 97), truth)
    guesses = {"A": np.stack([one, truth]), "B": np.stack([many, many])}
    results = report.Results("A", test, guesses, {"A": 1, "B": 1})
    assert results.wrong("A").tolist() == [0.01, 0.0]
    text = report.verdict(results)
    assert "10.0 times as many (every seed is ahead)" in text
    overlap = {"A": np.stack([many, truth]), "B": np.stack([one, many])}
    results = report.Results("A", test, overlap, {"A": 1, "B": 1})
    assert "seeds overlap" in report.verdict(results)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--seed", "0", "--seeds", "0"], "seeds must be at least 1"),
        (["--widths", "0"], "widths must be numbers of at least 1"),
        (["--characters", "10"], "characters must be more than streams times length"),
        (["--tested", "9"], "tested must be at least"),
        (["--learning-rate", "nan"], "learning_rate must be positive"),
        (["--hidden", "3"], "did you mean --hidden-size?"),
        (["--cells", "gru"], "--cells, gru; did you mean --cell?"),
        (["--cell", "grus"], "invalid choice 'grus'"),
    ],
)
def test_bad_flag(capsys, monkeypatch, flags, message):
    status, _, err = start(capsys, monkeypatch, *flags)
    assert status == 2 and message in err and "Config" not in err
    assert err.startswith("highlight.py: ") and err.count("\n") == 1
    assert err.endswith("; --help lists all flags\n")


def test_too_little_source(capsys, monkeypatch, tmp_path):
    (tmp_path / "a.py").write_text("x = 1\n")
    flags = (*TINY, "--source", tmp_path, "--output", tmp_path)
    status, _, err = start(capsys, monkeypatch, *flags)
    assert status == 1 and "6 characters of Python in ASCII are too few" in err


class Terminal:
    """A console that is no terminal, and keeps its lines."""

    is_terminal = quiet = False

    def __init__(self):
        self.lines = []

    def print(self, text, **options):
        self.lines.append(text)


def test_progress_without_a_terminal_is_a_line_now_and_then(monkeypatch):
    now = iter(range(0, 600, 6))
    monkeypatch.setattr(cli.time, "perf_counter", lambda: float(next(now)))
    console = Terminal()
    bar = cli.Bar.__new__(cli.Bar)
    monkeypatch.setattr(
        cli.progress, "Progress", lambda *a, **k: type("P", (), QUIET)()
    )
    bar.__init__(console, 4, "epoch")
    with bar:
        assert bar.text == "epoch 0 of 4, compiling"
        for number in range(4):
            bar.advance(1, f"loss {number}")
    assert console.lines == [
        "training: epoch 0 of 4, compiling",
        "training: 50%, epoch 2 of 4, loss 1, 12 s so far, about 12 s left",
        "training: 100%, epoch 4 of 4, loss 3, 24 s so far",
    ]


QUIET = {
    "add_task": lambda *a, **k: 0,
    **dict.fromkeys(("update", "start", "stop"), lambda *a, **k: None),
}


def test_a_status_says_compiling_until_something_was_done():
    bar = cli.Bar(cli.Console(file=io.StringIO()), 3, "epoch")
    assert bar.text.endswith("compiling")
    bar.advance(0.1)
    assert bar.text == "epoch 0.1 of 3"
    bar.advance(0, "loss 0.5")
    bar.advance(0.1)
    assert bar.text == "epoch 0.2 of 3, loss 0.5"

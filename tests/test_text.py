# SPDX-License-Identifier: Apache-2.0
"""The example `examples/text.py`: its baselines, its measure, and what a user sees."""

import bz2
import collections
import dataclasses
import os
import pathlib
import signal
import subprocess
import sys
import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest

for needed in ("matplotlib", "optax", "orbax", "rich", "tyro"):
    if not __import__("importlib.util").util.find_spec(needed):
        pytest.skip(f"the example needs {needed}", allow_module_level=True)

ROOT = pathlib.Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "examples"))

import text  # noqa: E402
import text_baselines as baselines  # noqa: E402
import text_data as data  # noqa: E402
import text_report as report  # noqa: E402
from rich.console import Console  # noqa: E402

pytestmark = pytest.mark.slow

TINY = ("--hidden-size", 3, "--streams", 300, "--length", 100, "--embedding", 2)
PARTS = ("the cat sat on the mat. " * 20, "a cat, a mat. " * 6, "the mat sat. " * 6)
SMALL = data.Corpus(PARTS, "".join(sorted({*PARTS[0]})))
CONFIG = text.Config(
    hidden_size=4, embedding=3, streams=4, length=11, epochs=3, samples=0, layers=2
)


def test_the_text_is_in_three_parts_without_repetition():
    corpus = data.corpus()
    whole = "".join(corpus.parts)
    train, validation, test = map(len, corpus.parts)
    assert len(whole) > 300_000 and test > 15_000
    assert train / len(whole) == pytest.approx(0.9, abs=1e-4)
    assert validation == pytest.approx(test, abs=1)
    paragraphs = collections.Counter(p.strip() for p in whole.split("\n\n"))
    # Where two topics join there may be one more.
    repeated = sum(len(p) * (n - 1) for p, n in paragraphs.items())
    assert repeated < 100
    assert set(corpus.alphabet) == set(corpus.parts[0])


def test_codes_and_back():
    codes = SMALL.encode("a mat!")
    assert codes[-1] == SMALL.size - 1 and codes.max() < SMALL.size
    assert SMALL.decode(codes) == "a mat\N{REPLACEMENT CHARACTER}"


def kneser_ney(history, context, size):
    """Return the probabilities after a context, from the paper, with dicts."""

    def grams(n):
        return collections.Counter(
            tuple(history[i : i + n]) for i in range(len(history) - n + 1)
        )

    result = np.full(size, 1 / size)
    for n in range(len(context) + 1):
        counts = grams(n + 1)
        if n < len(context):
            # After how many characters a gram is found.
            places = range(1, len(history) - n)
            before = {(history[i - 1], tuple(history[i : i + n + 1])) for i in places}
            counts = collections.Counter(gram for _, gram in before)
        here = tuple(context[len(context) - n :])
        numbers = np.array(list(counts.values()))
        taken = dict(zip(counts, baselines.discounts(numbers), strict=True))
        total = sum(c for gram, c in counts.items() if gram[:-1] == here)
        mass = sum(t for gram, t in taken.items() if gram[:-1] == here)
        if total:
            left = [counts[(*here, x)] - taken.get((*here, x), 0) for x in range(size)]
            result = (np.array(left) + mass * result) / total
    return result


def test_markov_models_by_the_paper():
    rng = np.random.default_rng(0)
    history = np.cumsum(rng.integers(1, 3, 400)) % 5
    test = np.array([0, 1, 2, 4, 0, 1, 3, 4, 5, 0, 1, 3])  # 5 is unknown
    bits = baselines.markov(history, test, base=6)
    whole = np.concatenate([history, test])
    for order in (1, 2, 4):
        wanted = [
            -np.log2(kneser_ney(history, whole[i - order : i], 6)[whole[i]])
            for i in range(len(history), len(whole))
        ]
        np.testing.assert_allclose(bits[order], wanted, rtol=1e-9)


def test_markov_models_are_probabilities():
    history = np.cumsum(np.random.default_rng(0).integers(1, 3, 400)) % 5
    for context in ([0, 1, 2, 3], [5, 5, 5, 5], [4, 4, 4, 4]):
        each = [
            {
                n: 2.0 ** -b[-1]
                for n, b in baselines.markov(
                    history, np.array([*context, x]), base=6
                ).items()
            }
            for x in range(6)
        ]
        for order in baselines.ORDERS:
            assert sum(one[order] for one in each) == pytest.approx(1, abs=1e-12)


def test_an_unknown_character_costs_what_it_takes_to_name_it():
    odd = SMALL._replace(parts=(*PARTS[:2], PARTS[2] + "é"))
    bits, more = baselines.markov_bits(SMALL), baselines.markov_bits(odd)
    count = len(PARTS[2])
    for order in (1, 3):
        added = more[order] * (count + 1) - bits[order] * count
        assert added > data.ESCAPE > 20


def test_compressors_by_hand():
    after, alone = baselines.compressed_bits(SMALL)["bz2"]
    size = len(bz2.compress((PARTS[0] + PARTS[2]).encode()))
    assert after == 8 * (size - len(bz2.compress(PARTS[0].encode()))) / len(PARTS[2])
    assert alone == 8 * len(bz2.compress(PARTS[2].encode())) / len(PARTS[2])


def params():
    return text.init(CONFIG, SMALL.size, jax.random.key(0))


def test_the_measure_is_that_of_a_loop_over_characters():
    each = text.measure(CONFIG, params(), SMALL)
    assert each.shape == (len(PARTS[2]),)
    codes = SMALL.encode(PARTS[1] + PARTS[2])
    network, theta = CONFIG.network(), params()
    carry = network.initial_carry(())
    for place, code in enumerate(codes[:-1]):
        y, after = theta.table[code], []
        for cell, own, state in zip(network.layers, theta.network, carry, strict=True):
            state, y = cell.step(own, state, y)
            after.append(state)
        carry = after
        guess = y @ theta.kernel + theta.bias
        wanted = jax.nn.logsumexp(guess) - guess[codes[place + 1]]
        if place in (len(PARTS[1]) - 1, len(codes) - 2):
            here = place + 1 - len(PARTS[1])
            assert each[here] == pytest.approx(float(wanted / jnp.log(2)), rel=1e-4)


def test_what_is_written_follows_the_prompt():
    prompt = jnp.asarray(SMALL.encode("the c"))
    codes = text.write(
        CONFIG, params(), prompt, jax.random.key(0), count=6, temperature=1e-6
    )
    # As cold as that, each is the likeliest after all before it.
    whole = jnp.concatenate([prompt, codes])
    start = CONFIG.network().initial_carry((1,))
    _, guesses = text.logits(CONFIG, params(), start, whole[:-1, None])
    np.testing.assert_array_equal(codes, guesses[len(prompt) - 1 :, 0].argmax(-1))


def test_dropout_is_of_training_alone():
    codes = jnp.asarray(SMALL.encode("the cat"))[:, None]
    carry = CONFIG.network().initial_carry((1,))
    plain, one, two, again = (
        text.logits(CONFIG, params(), carry, codes, key)[1]
        for key in (None, jax.random.key(0), jax.random.key(1), jax.random.key(0))
    )
    np.testing.assert_array_equal(one, again)
    assert (plain != one).any() and (one != two).any()


def train(config, stop=None):
    with jax.numpy_dtype_promotion("standard"):
        return text.train(
            config, SMALL, stop or threading.Event(), Console(file=sys.stderr)
        )


class After(threading.Event):
    """Is set when it has been looked at so often."""

    def __init__(self, times):
        super().__init__()
        self.times = times

    def is_set(self):
        self.times -= 1
        return self.times < 0


def test_a_training_that_was_stopped_ends_as_it_would_have(tmp_path, capsys):
    first = dataclasses.replace(CONFIG, output=tmp_path / "one")
    second = dataclasses.replace(CONFIG, output=tmp_path / "two")
    whole = train(first)
    stopped = train(second, After(14))  # in the second epoch, of ten looks each
    assert np.isfinite(stopped.curve).all(-1).tolist() == [True, False, False]
    resumed = train(second)
    assert "Going on after epoch 1" in capsys.readouterr().err
    for one, two in zip(*map(jax.tree.leaves, (whole, resumed)), strict=True):
        if jnp.issubdtype(one.dtype, jax.dtypes.prng_key):
            one, two = jax.random.key_data(one), jax.random.key_data(two)
        np.testing.assert_array_equal(one, two)
    # Other flags are another training.
    other = dataclasses.replace(second, learning_rate=1e-3)
    assert text.name_of(other, SMALL) != text.name_of(second, SMALL)
    with pytest.raises(KeyboardInterrupt):
        train(other, After(2))


def results(mine):
    return report.Results(
        name="1 x GRU of 4",
        each=np.full(len(PARTS[2]), mine),
        text=PARTS[2],
        curve=np.array([[2.0, 2.5], [1.8, 2.2], [1.5, 2.4]]),
        markov={1: 3.0, 2: 2.0, 3: 2.1},
        compressed={"gzip": (2.2, 2.6), "xz": (1.9, 2.5)},
    )


def test_verdict():
    middle = results(1.95)
    assert middle.best_epoch == 2 and middle.order == 2
    assert list(middle.rivals) == ["xz", "Markov, order 2", "gzip"]
    assert report.verdict(middle) == (
        "1 x GRU of 4 beats Markov, order 2 by 0.050, gzip by 0.250; loses to xz by "
        "0.050 (bits per character)."
    )
    assert "loses" not in report.verdict(results(1.0))
    assert report.verdict(results(9.0)).startswith("1 x GRU of 4 loses to xz by 7.1")


def start(*flags):
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    return subprocess.Popen(
        [sys.executable, "-W", "error", "examples/text.py", *map(str, flags)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": path, "COLUMNS": "100", "TERM": "dumb"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_run_prints_the_table_and_saves_the_picture(tmp_path):
    flags = (*TINY, "--epochs", 1, "--samples", 1, "--output", tmp_path / "new")
    process = start(*flags)
    out, err = process.communicate(timeout=300)
    assert (process.returncode, err) == (0, "")
    for shown in ("written after epoch 1", "The ", "1 x GRU of 3", "(the best)", "xz"):
        assert shown in out
    for shown in ("loses to", "parameters, best epoch 1", " s in all"):
        assert shown in out
    assert "\x1b" not in out and "\r" not in out
    assert (tmp_path / "new" / "text.png").read_bytes().startswith(b"\x89PNG")


def test_ctrl_c_before_the_first_epoch_leaves_no_result(tmp_path):
    process = start(*TINY, "--hidden-size", 64, "--output", tmp_path)
    first = process.stdout.readline()
    assert first.startswith("Training Deep"), first + process.stderr.read()
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=300)
    assert process.returncode == 130
    assert err == "text.py: interrupted, without a result\n"


@pytest.mark.parametrize(
    "flag, value, message",
    [
        ("layers", 0, "layers must be at least 1"),
        ("epochs", 0, "epochs must be at least 1"),
        ("dropout", 1.0, "dropout must be in"),
        ("learning_rate", float("nan"), "learning_rate must be positive"),
    ],
)
def test_bad_flag(flag, value, message):
    with pytest.raises(ValueError, match=message):
        text.Config(**{flag: value})


@pytest.mark.nans
def test_loss_that_is_not_finite(tmp_path):
    config = dataclasses.replace(CONFIG, output=tmp_path, learning_rate=1e38)
    with pytest.raises(text.cli.Failure, match="in epoch 1; try a --learning-rate"):
        train(config)

# SPDX-License-Identifier: Apache-2.0
"""Files from strangers, damaged at random: one clear line each, in little time.

    RECURRENT_JAX_FUZZ=50 python -m pytest tests/convert/test_strangers.py

runs 50 times as many, from another seed.
"""

import json
import os
import resource
import time

import jax
import numpy as np
import pytest

import recurrent_jax as rj
from convert.common import drawn
from recurrent_jax import convert
from recurrent_jax.activations import Clipped, Elu

TIMES = int(os.environ.get("RECURRENT_JAX_FUZZ", "1"))
SEED = 0 if TIMES == 1 else int(time.time())
NETWORKS = (
    rj.PeepholeLSTM(2),
    rj.Deep((rj.Bidirectional(rj.GRU(2), merge="sum"), rj.CIFG(3))),
    rj.Elman(2, activation=Clipped(Elu(0.5), 0.5)),
)
SECONDS, MEBIBYTES = 2, 256


def truncated(rng, data):
    return data[: rng.integers(len(data))]


def flipped(rng, data):
    """Return bytes with one to eight of them drawn anew, mostly where names stand."""
    data = bytearray(data)
    end = len(data) if rng.integers(2) else min(len(data), 200)
    for _ in range(rng.integers(1, 9)):
        data[rng.integers(end)] = rng.integers(256)
    return bytes(data)


def repeated(rng, data):
    start, stop = sorted(rng.integers(len(data), size=2))
    return data[:stop] + data[start:stop][:64] + data[stop:]


DAMAGES = (truncated, flipped, repeated)


def is_clear(error, function):
    text = str(error)
    known = isinstance(error, ValueError | TypeError)
    named = text.startswith(f"{function}: ") and len(text) < 800
    return known and named and not isinstance(error, UnicodeError) and "\n" not in text


def try_all(function, read, path, damaged):
    """Read each file, and return how many were refused."""
    refused = 0
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for n, data in enumerate(damaged):
        path.write_bytes(data)
        start = time.process_time()
        try:
            read(path)
        except Exception as error:
            assert is_clear(error, function), (n, SEED, repr(error), data)
            refused += 1
        assert time.process_time() - start < SECONDS, (n, SEED, data)
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert after - before < MEBIBYTES * 1024
    return refused


def test_onnx(tmp_path):
    pytest.importorskip("onnx", reason="ONNX is not installed")
    rng = np.random.default_rng(SEED)
    whole = [
        convert.to_onnx(
            network, drawn(network, 2), lengths=True, initial_states=True
        ).SerializeToString()
        for network in NETWORKS
    ]
    damaged = [
        damage(rng, data)
        for _ in range(150 * TIMES)
        for data in whole
        for damage in DAMAGES
    ]
    path = tmp_path / "model.onnx"
    refused = try_all("from_onnx", convert.from_onnx, path, damaged)
    # The rest is damaged where nothing is read, or in a weight.
    assert len(damaged) / 2 < refused < len(damaged)


def hostile_headers(rng, header):
    """Return headers with one entry drawn from what breaks readers."""
    sizes = (-1, 0, 2**31, 2**63 - 1, 2**64, 1.5, "4", None, [], True)
    values = {
        "dtype": ("F8_E4M3", "F4", "F31", "", 5, None, "C64", "I64"),
        "shape": (*([size] for size in sizes), 3, {}, [2] * 70, [2**32, 2**32]),
        "data_offsets": (*([0, size] for size in sizes), [], [1, 2, 3], [8, 0], 7),
    }
    name = rng.choice(list(header))
    field = rng.choice(list(values))
    value = values[field][rng.integers(len(values[field]))]
    return header | {str(name): header[name] | {str(field): value}}


def test_safetensors(tmp_path):
    pytest.importorskip("safetensors", reason="safetensors is not installed")
    rng = np.random.default_rng(SEED)
    path = tmp_path / "weights.safetensors"
    params = drawn(NETWORKS[1], 2)
    convert.save_safetensors(path, params)
    whole = path.read_bytes()
    size = int.from_bytes(whole[:8], "little")
    header, data = json.loads(whole[8 : 8 + size]), whole[8 + size :]
    damaged = [d(rng, whole) for _ in range(200 * TIMES) for d in DAMAGES]
    for _ in range(300 * TIMES):
        text = json.dumps(hostile_headers(rng, header)).encode()
        damaged.append(len(text).to_bytes(8, "little") + text + data)
    read = convert.read_safetensors
    assert try_all("read_safetensors", read, path, damaged) > len(damaged) / 2
    for data in damaged[:: 10 * TIMES]:
        path.write_bytes(data)
        try:
            again = convert.load_safetensors(path, params)
        except (ValueError, TypeError) as error:
            where = str(error).partition(":")[0]
            assert where in ("load_safetensors", "read_safetensors"), error
        else:
            assert jax.tree.structure(again) == jax.tree.structure(params)


STATE_DICT = convert.to_torch(rj.LSTM(2), drawn(rj.LSTM(2), 3))
ODD_ARRAYS = (
    None,
    5,
    "x",
    [],
    [[1.0], [1.0, 2.0]],
    object(),
    np.ones(0, "float32"),
    np.ones((2, 2, 2), "float32"),
    np.ones((8, 3), "complex64"),
    np.ones((8, 3), "float16"),
    np.array(["a"]),
    np.ones((8, 3), object),
    np.broadcast_to(np.float32(1), (2**20, 2**20)),
)
ODD_NAMES = ("", "weight_ih", "weight_ih_l9999", "weight_hr_l0", 5, "bias_ih_l0" * 9)


def test_a_state_dict():
    rng = np.random.default_rng(SEED)
    names = list(STATE_DICT)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(200 * TIMES):
        weights = dict(STATE_DICT)
        for _ in range(rng.integers(1, 3)):
            name = names[rng.integers(len(names))]
            odd = ODD_ARRAYS[rng.integers(len(ODD_ARRAYS))]
            if rng.integers(2):
                name, odd = (
                    ODD_NAMES[rng.integers(len(ODD_NAMES))],
                    weights.pop(name, odd),
                )
            weights[name] = odd
        try:
            cell, _ = convert.from_torch(weights)
        except Exception as error:
            assert is_clear(error, "from_torch"), (SEED, weights, error)
        else:  # a name without a layer is that of the first
            assert cell == rj.LSTM(2) and weights.keys() - names <= {"weight_ih"}
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert after - before < MEBIBYTES * 1024

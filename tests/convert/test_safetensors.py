# SPDX-License-Identifier: Apache-2.0
"""safetensors: there and back, and files from strangers."""

import json
import os
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import recurrent_jax as rj
from convert.common import drawn, same_bits
from recurrent_jax.convert import (
    from_torch,
    load_safetensors,
    read_safetensors,
    save_safetensors,
    to_torch,
)

pytest.importorskip("safetensors", reason="safetensors is not installed")

NETWORK = rj.Deep((rj.Bidirectional(rj.GRU(4)), rj.LSTM(3, use_bias=False)))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "weights.safetensors"


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "float64"])
def test_identity(path, dtype, x64):
    params = drawn(NETWORK, 2, dtype)
    save_safetensors(path, params)
    assert "0.backward.recurrent_kernel" in read_safetensors(path)
    same_bits(load_safetensors(path, params), params)
    like = jax.eval_shape(lambda: params)
    same_bits(load_safetensors(path, like), params)


def test_in_the_names_of_another_library(path):
    cell, params = rj.LSTM(4), drawn(rj.LSTM(4), 3)
    save_safetensors(path, to_torch(cell, params))
    same_bits(from_torch(read_safetensors(path))[1], params)


def test_arrays_that_are_not_contiguous(path):
    a = np.arange(12.0, dtype="float32").reshape(3, 4)
    save_safetensors(path, {"transposed": a.T, "strided": a[:, ::2], "number": a[0, 0]})
    again = read_safetensors(path)
    np.testing.assert_array_equal(again["transposed"], a.T)
    np.testing.assert_array_equal(again["strided"], a[:, ::2])
    assert again["number"].shape == ()


def write(path, header, data=b"\0" * 16):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)


def tensor(shape=(4,), dtype="F32", offsets=(0, 16)):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


HOSTILE = {
    "empty": lambda p: p.write_bytes(b""),
    "short": lambda p: p.write_bytes(b"\x10\0\0"),
    "huge_header": lambda p: p.write_bytes((2**62).to_bytes(8, "little") + b"{}"),
    "long_header": lambda p: p.write_bytes((200).to_bytes(8, "little") + b"{}"),
    "not_json": lambda p: write(p, b"not json"),
    "not_text": lambda p: write(p, b"\xff\xfe\x00"),
    "pickle": lambda p: p.write_bytes(b"\x80\x04\x95" + b"\0" * 64),
    "list": lambda p: write(p, []),
    "number": lambda p: write(p, {"kernel": 3}),
    "wrong_size": lambda p: write(p, {"kernel": tensor(shape=(5,))}),
    "huge_shape": lambda p: write(p, {"kernel": tensor(shape=(2**40, 2**40))}),
    "negative_shape": lambda p: write(p, {"kernel": tensor(shape=(-4,))}),
    "beyond_the_end": lambda p: write(p, {"kernel": tensor((400,), "F32", (0, 1600))}),
    "backwards": lambda p: write(p, {"kernel": tensor(offsets=(16, 0))}),
    "overlapping": lambda p: write(p, {"a": tensor(), "b": tensor()}),
    "unknown_dtype": lambda p: write(p, {"kernel": tensor(dtype="F31")}),
    "left_over": lambda p: write(p, {"kernel": tensor()}, b"\0" * 20),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_files_from_strangers(path, case):
    HOSTILE[case](path)
    with pytest.raises(ValueError, match="is truncated or not a safetensors file"):
        read_safetensors(path)


def test_a_truncated_file(path):
    params = drawn(NETWORK, 2)
    save_safetensors(path, params)
    whole = path.read_bytes()
    for size in (7, 8, 100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(ValueError, match="is truncated or not a safetensors file"):
            load_safetensors(path, params)


def test_a_file_of_another_model(path):
    params = drawn(NETWORK, 2)
    save_safetensors(path, params)
    with pytest.raises(ValueError, match=r"has no \['bias'.*unknown \['0.backward"):
        load_safetensors(path, drawn(rj.LSTM(4), 2))
    with pytest.raises(ValueError, match=r"0.forward.kernel must be float32\[3,12\]"):
        load_safetensors(path, drawn(NETWORK, 3))
    with pytest.raises(TypeError, match="float32 in the file but float16 in `like`"):
        load_safetensors(path, drawn(NETWORK, 2, "float16"))


def test_what_cannot_be_saved(path):
    with pytest.raises(TypeError, match=r"params\['kernel'\] must be an array, got"):
        save_safetensors(path, {"kernel": "text"})
    with pytest.raises(ValueError, match="two leaves are called 'a.b'"):
        save_safetensors(path, {"a.b": jnp.ones(1), "a": {"b": jnp.ones(1)}})


def test_no_such_file(path):
    with pytest.raises(FileNotFoundError):
        read_safetensors(path)


EIGHT_BITS = ("F8_E4M3", "F8_E5M2", "F8_E8M0", "F8_E4M3FNUZ")


@pytest.mark.parametrize("dtype", EIGHT_BITS)
def test_what_numpy_has_no_dtype_for(path, dtype):
    header = {"kernel": tensor((16,), dtype), "bias": tensor(offsets=(16, 32))}
    write(path, header, b"\0" * 32)
    for read in (read_safetensors, lambda path: load_safetensors(path, {})):
        with pytest.raises(ValueError, match=rf"holds 'kernel' of {dtype}, which is"):
            read(path)
    with pytest.raises(TypeError, match="'a' is float8_e4m3fn; what can be read aga"):
        save_safetensors(path, {"a": jnp.ones(2, "float8_e4m3fn")})


@pytest.mark.parametrize("call", [read_safetensors, lambda p: save_safetensors(p, {})])
def test_paths_that_are_none(call):
    for path in (None, 5, b"weights", ["a"]):
        with pytest.raises(TypeError, match="path must be a path, str or os.PathLike"):
            call(path)


def test_a_directory_or_device_for_a_file(path, tmp_path):
    with pytest.raises(ValueError, match="is a directory"):
        read_safetensors(tmp_path)
    os.mkfifo(path)  # which nobody will ever write to
    with pytest.raises(ValueError, match="is no regular file"):
        read_safetensors(path)


def test_a_file_that_cannot_be_written(tmp_path):
    for path in (tmp_path, tmp_path / "none" / "weights"):
        with pytest.raises(OSError, match=f"save_safetensors: '{path}': "):
            save_safetensors(path, {"a": np.ones(3)})


def test_the_package_is_named_where_it_is_missing(path, monkeypatch):
    monkeypatch.setitem(sys.modules, "safetensors", None)
    match = r"safetensors needs safetensors: pip install 'recurrent-jax\[convert\]'"
    for call in (read_safetensors, lambda path: save_safetensors(path, {})):
        with pytest.raises(ModuleNotFoundError, match=match):
            call(path)


def test_a_pipe_is_not_replaced_and_a_link_stays(tmp_path):
    pipe, link, real = (tmp_path / name for name in ("pipe", "link", "real"))
    os.mkfifo(pipe)
    with pytest.raises(OSError, match="no regular file"):
        save_safetensors(pipe, {"a": np.ones(2, "float32")})
    assert pipe.is_fifo()
    link.symlink_to(real)
    save_safetensors(link, {"a": np.ones(2, "float32")})
    assert link.is_symlink() and real.is_file()

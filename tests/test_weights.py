"""Weights: their shapes, their files and refused weights."""

import os
import stat
import tempfile
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from interpbench_jax.jsontext import parse_json_object
from interpbench_jax.storage import write_file
from interpbench_jax.weights import (
    check_weights,
    encode_weights,
    is_finite,
    load_weights,
    weight_shapes,
)
from tests.fixtures import random_weights, tiny_config

DTYPES = [np.float16, ml_dtypes.bfloat16, np.float32, np.float64]
each_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: dtype.__name__)
CONFIG = tiny_config()


def test_shapes_of_one_layer_by_hand() -> None:
    # TransformerLens's own shapes, with the sizes of `tiny_config`.
    assert weight_shapes(tiny_config(n_layers=1)) == {
        "embed.W_E": (7, 10),
        "pos_embed.W_pos": (6, 10),
        "blocks.0.attn.W_Q": (3, 10, 4),
        "blocks.0.attn.b_Q": (3, 4),
        "blocks.0.attn.W_K": (3, 10, 4),
        "blocks.0.attn.b_K": (3, 4),
        "blocks.0.attn.W_V": (3, 10, 4),
        "blocks.0.attn.b_V": (3, 4),
        "blocks.0.attn.W_O": (3, 4, 10),
        "blocks.0.attn.b_O": (10,),
        "blocks.0.mlp.W_in": (10, 8),
        "blocks.0.mlp.b_in": (8,),
        "blocks.0.mlp.W_out": (8, 10),
        "blocks.0.mlp.b_out": (10,),
        "unembed.W_U": (10, 5),
        "unembed.b_U": (5,),
    }


@given(st.integers(1, 20))
def test_each_layer_has_twelve_weights(n_layers: int) -> None:
    assert len(weight_shapes(tiny_config(n_layers=n_layers))) == 4 + 12 * n_layers


# Files


def assert_same_bytes(actual: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    assert set(actual) == set(expected)
    for name, array in expected.items():
        assert actual[name].dtype == array.dtype, name
        assert actual[name].shape == array.shape, name
        assert actual[name].tobytes() == array.tobytes(), name


@each_dtype
def test_save_and_load_round_trip(tmp_path: Path, dtype: np.typing.DTypeLike) -> None:
    weights = random_weights(CONFIG, dtype)
    write_file(tmp_path / "model.safetensors", encode_weights(weights))
    assert_same_bytes(load_weights(tmp_path / "model.safetensors", CONFIG), weights)


@given(st.integers(1, 3), st.integers(1, 4), st.integers(1, 5), st.sampled_from(DTYPES))
def test_any_shape_round_trips(
    n_layers: int, n_heads: int, size: int, dtype: np.typing.DTypeLike
) -> None:
    config = tiny_config(n_layers=n_layers, n_heads=n_heads, d_model=size, d_vocab_out=size)
    weights = random_weights(config, dtype)
    with tempfile.TemporaryDirectory() as folder:
        write_file(Path(folder) / "w", encode_weights(weights))
        assert_same_bytes(load_weights(Path(folder) / "w", config), weights)


@pytest.mark.parametrize(
    "change",
    [
        lambda array: np.asfortranarray(array),
        lambda array: np.repeat(array, 2, axis=0)[::2],
        lambda array: array.astype(array.dtype.newbyteorder(">")),
    ],
    ids=["column order", "strided", "big-endian"],
)
def test_any_layout_in_memory_is_saved_as_values(
    tmp_path: Path, change: Callable[[np.ndarray], np.ndarray]
) -> None:
    weights = random_weights(CONFIG)
    changed = {name: change(array) for name, array in weights.items()}
    write_file(tmp_path / "w", encode_weights(changed))
    assert_same_bytes(load_weights(tmp_path / "w", CONFIG), weights)


def test_a_file_depends_only_on_the_weights(tmp_path: Path) -> None:
    weights = random_weights(CONFIG)
    write_file(tmp_path / "a", encode_weights(weights))
    write_file(tmp_path / "b", encode_weights(dict(reversed(weights.items()))))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"Expected weights at .*w, found no such file"):
        load_weights(tmp_path / "w", CONFIG)


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="Expected weights at"):
        load_weights(tmp_path, CONFIG)


@pytest.mark.parametrize("length", [0, 4, 8, 100, -1])
def test_a_file_cut_short_is_refused(tmp_path: Path, length: int) -> None:
    path = tmp_path / "w"
    write_file(path, encode_weights(random_weights(CONFIG)))
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(ValueError, match=r"Expected a safetensors file at .*w, .*cut short"):
        load_weights(path, CONFIG)


def test_another_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "w").write_bytes(b"PK\x03\x04" * 100)
    with pytest.raises(ValueError, match="Expected a safetensors file at"):
        load_weights(tmp_path / "w", CONFIG)


def test_a_number_format_that_numpy_lacks_is_refused(tmp_path: Path) -> None:
    header = b'{"a":{"dtype":"F8_E4M3","shape":[1],"data_offsets":[0,1]}}'
    (tmp_path / "w").write_bytes(len(header).to_bytes(8, "little") + header + b"\0")
    with pytest.raises(ValueError, match=r"Expected a to be one of .*, got F8_E4M3"):
        load_weights(tmp_path / "w", CONFIG)


def test_another_models_file_is_named(tmp_path: Path) -> None:
    write_file(tmp_path / "w", encode_weights(random_weights(tiny_config(d_mlp=9))))
    with pytest.raises(ValueError, match=r"w: Expected blocks\.0\.mlp\.W_in of shape \(10, 8\)"):
        load_weights(tmp_path / "w", CONFIG)


# Refusals


@each_dtype
def test_weights_that_fit_are_accepted(dtype: np.typing.DTypeLike) -> None:
    check_weights(CONFIG, random_weights(CONFIG, dtype))


@pytest.mark.parametrize("name", weight_shapes(CONFIG))
def test_a_missing_weight_is_named(name: str) -> None:
    weights = random_weights(CONFIG)
    del weights[name]
    with pytest.raises(
        ValueError, match=rf"the 28 weights .* missing: \['{name}'\], left over: \["
    ):
        check_weights(CONFIG, weights)


def test_a_left_over_weight_is_named() -> None:
    weights = random_weights(CONFIG) | {"blocks.2.attn.b_O": np.zeros(10, np.float32)}
    with pytest.raises(ValueError, match=r"missing: \[\], left over: \['blocks\.2\.attn\.b_O'\]"):
        check_weights(CONFIG, weights)


@pytest.mark.parametrize("name", weight_shapes(CONFIG))
def test_another_shape_is_named(name: str) -> None:
    weights = random_weights(CONFIG)
    weights[name] = weights[name][None]
    with pytest.raises(ValueError, match=rf"Expected {name} of shape \(.*\), got \(1, "):
        check_weights(CONFIG, weights)


def test_a_transposed_weight_is_refused() -> None:
    weights = random_weights(CONFIG)
    weights["unembed.W_U"] = weights["unembed.W_U"].T
    with pytest.raises(
        ValueError, match=r"Expected unembed\.W_U of shape \(10, 5\), got \(5, 10\)"
    ):
        check_weights(CONFIG, weights)


@pytest.mark.parametrize("dtype", [np.int32, np.bool_, np.complex64, ml_dtypes.float8_e4m3fn])
def test_what_is_no_float_is_refused(dtype: np.typing.DTypeLike) -> None:
    weights = random_weights(CONFIG)
    weights["embed.W_E"] = np.ones((7, 10), dtype)
    with pytest.raises(
        ValueError, match=r"Expected embed\.W_E to be one of \('float16', 'bfloat16'"
    ):
        check_weights(CONFIG, weights)


@each_dtype
@pytest.mark.parametrize("number", [np.inf, -np.inf, np.nan])
def test_what_is_not_finite_is_refused(dtype: np.typing.DTypeLike, number: float) -> None:
    weights = random_weights(CONFIG, dtype)
    weights["blocks.1.mlp.b_in"][3] = number
    with pytest.raises(ValueError, match=r"Expected finite numbers in blocks\.1\.mlp\.b_in"):
        check_weights(CONFIG, weights)


@each_dtype
@pytest.mark.parametrize("order", ["rows", "columns", "every other", "backwards"])
@pytest.mark.parametrize("place", [(0, 0), (299, 499), (150, 250)])
def test_one_bad_number_is_found_wherever_it_is(
    dtype: np.typing.DTypeLike, order: str, place: tuple[int, int]
) -> None:
    # The array spans more than two blocks: places are in the first, in the last and between.
    changes = {"columns": np.asfortranarray, "every other": lambda a: a.repeat(2, axis=1)[:, ::2]}
    changes["backwards"] = lambda a: a[::-1, ::-1]
    array = changes.get(order, np.asarray)(np.ones((300, 500), dtype))
    assert is_finite(array)
    array[place] = np.nan
    assert not is_finite(array)


@each_dtype
@pytest.mark.parametrize("shape", [(), (0,), (3, 0, 2), (1, 1)])
def test_small_and_empty_arrays_are_finite_or_not(
    dtype: np.typing.DTypeLike, shape: tuple[int, ...]
) -> None:
    assert is_finite(np.zeros(shape, dtype))
    assert is_finite(np.full(shape, np.inf, dtype)) == (0 in shape)


def test_big_endian_numbers_are_finite_or_not() -> None:
    assert is_finite(np.ones(3, ">f4")) and not is_finite(np.full(3, np.inf, ">f4"))


def test_finiteness_takes_memory_for_a_block() -> None:
    array = np.ones((1000, 2000), np.float32)
    tracemalloc.start()
    assert is_finite(array) and is_finite(array.T) and is_finite(array[:, ::2])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < array.nbytes / 8


def test_mixed_dtypes_are_refused() -> None:
    weights = random_weights(CONFIG)
    weights["unembed.b_U"] = weights["unembed.b_U"].astype(np.float64)
    with pytest.raises(ValueError, match=r"of one dtype, got \['float32', 'float64'\]"):
        check_weights(CONFIG, weights)


# Atomic writes


@pytest.fixture
def umask() -> object:
    before = os.umask(0o027)
    yield
    os.umask(before)


def test_bytes_and_text_are_written(tmp_path: Path) -> None:
    write_file(tmp_path / "a", b"\0\xff")
    write_file(tmp_path / "b", "é\n")
    assert (tmp_path / "a").read_bytes() == b"\0\xff"
    assert (tmp_path / "b").read_bytes() == "é\n".encode()


@pytest.mark.parametrize("step", ["fsync", "chmod", "replace"])
@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()], ids=type)
def test_a_failure_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, error: BaseException
) -> None:
    path = tmp_path / "w"
    path.write_bytes(b"old")

    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(os, step, fail)
    with pytest.raises(type(error)):
        write_file(path, b"new")
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["w"]


def test_a_failed_first_write_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="disk full"):
        write_file(tmp_path / "w", encode_weights(random_weights(CONFIG)))
    assert not list(tmp_path.iterdir())


def test_no_folder_is_made(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        write_file(tmp_path / "none" / "w", b"new")
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("umask")
@pytest.mark.parametrize("exists", [False, True])
def test_permissions_follow_the_umask(tmp_path: Path, exists: bool) -> None:
    path = tmp_path / "w"
    if exists:
        path.touch(mode=0o600)
    write_file(path, b"new")
    # A file that was private stays private.
    assert stat.S_IMODE(path.stat().st_mode) == (0o600 if exists else 0o640)
    assert os.umask(0o027) == 0o027


# JSON objects


def test_an_object_is_read() -> None:
    assert parse_json_object('{"a": [1, null]}', "a thing") == {"a": [1, None]}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "Expected a thing as JSON, got text that is not"),
        ("{", "Expected a thing as JSON, got text that is not"),
        ("[" * 100_000, "Expected a thing as JSON, got text that is not"),
        ("[]", "Expected a thing as a JSON object, got a list"),
        ("null", "Expected a thing as a JSON object, got a NoneType"),
    ],
)
def test_what_is_no_object_is_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_json_object(text, "a thing")

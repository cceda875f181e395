"""State dicts read from torch archives, both handmade ones and upstream's."""

import pickle
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

from interpbench_conversion.errors import UpstreamFormatError
from interpbench_conversion.torch_files import read_state_dict
from tests.conversion.hostile import (
    call,
    dict_of,
    named,
    number,
    pickled,
    state_dict,
    stored,
    tensor,
    text,
    tuple_of,
    write_archive,
)

UPSTREAM = Path(__file__).resolve().parents[3] / "shared" / "upstream"
WEIGHTS = sorted(UPSTREAM.glob("release*/*/*.pth"))
needs_upstream = pytest.mark.skipif(not WEIGHTS, reason=f"no upstream weights at {UPSTREAM}")

FLOATS = stored("FloatStorage", "0", 6)
SIX = np.arange(6, dtype="<f4").tobytes()


@pytest.fixture
def archive(tmp_path: Path) -> Callable[..., Path]:
    return partial(write_archive, tmp_path / "model.pth")


DTYPES = {
    "DoubleStorage": np.dtype("<f8"),
    "FloatStorage": np.dtype("<f4"),
    "HalfStorage": np.dtype("<f2"),
    "LongStorage": np.dtype("<i8"),
    "IntStorage": np.dtype("<i4"),
    "BoolStorage": np.dtype("?"),
}


@pytest.mark.parametrize("kind", DTYPES)
@pytest.mark.parametrize("order", ["little", "big", None])
@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_every_dtype_and_byte_order(
    archive: Callable[..., Path], kind: str, order: str | None, compression: int
) -> None:
    expected = np.array([[0, 1, 1], [1, 0, 1]]).astype(DTYPES[kind])
    raw = expected.astype(expected.dtype.newbyteorder(">" if order == "big" else "<")).tobytes()
    path = archive(
        state_dict({"w": tensor(stored(kind, "0", 6), (2, 3), (3, 1))}),
        {"0": raw},
        extra=(("m/byteorder", order.encode()),) if order else (),
        compression=compression,
    )
    loaded = read_state_dict(path)
    assert list(loaded) == ["w"]
    assert loaded["w"].dtype == expected.dtype
    assert loaded["w"].flags.owndata and loaded["w"].flags.writeable
    np.testing.assert_array_equal(loaded["w"], expected)


def test_bfloat16_is_the_upper_half_of_a_float32(archive: Callable[..., Path]) -> None:
    values = np.array([0.0, 1.5, -2.0], "<f4")
    raw = values.view("<u4").__rshift__(16).astype("<u2").tobytes()
    data = state_dict({"w": tensor(stored("BFloat16Storage", "0", 3), (3,), (1,))})
    loaded = read_state_dict(archive(data, {"0": raw}))["w"]
    assert loaded.dtype == ml_dtypes.bfloat16
    np.testing.assert_array_equal(loaded.astype(np.float32), values)


@pytest.mark.parametrize(
    ("size", "stride", "offset", "expected"),
    [
        ((2, 3), (3, 1), 0, [[0, 1, 2], [3, 4, 5]]),
        ((3, 2), (1, 3), 0, [[0, 3], [1, 4], [2, 5]]),
        ((2,), (2,), 1, [1, 3]),
        ((), (), 4, 4),
        ((2, 2), (0, 1), 3, [[3, 4], [3, 4]]),
        ((1, 2), (2**100, 1), 4, [[4, 5]]),
        ((0, 3), (3, 1), 6, np.zeros((0, 3))),
    ],
)
def test_views_of_a_storage(
    archive: Callable[..., Path],
    size: tuple[int, ...],
    stride: tuple[int, ...],
    offset: int,
    expected: object,
) -> None:
    path = archive(state_dict({"w": tensor(FLOATS, size, stride, offset)}), {"0": SIX})
    loaded = read_state_dict(path)["w"]
    assert loaded.shape == size
    np.testing.assert_array_equal(loaded, np.array(expected, np.float32))


def test_a_shared_storage_gives_independent_arrays(archive: Callable[..., Path]) -> None:
    whole = tensor(FLOATS, (6,), (1,))
    loaded = read_state_dict(archive(state_dict({"a": whole, "b": whole}), {"0": SIX}))
    loaded["a"][:] = -1
    np.testing.assert_array_equal(loaded["b"], np.arange(6))


def test_parameters_plain_dicts_and_entries_that_nothing_refers_to(
    archive: Callable[..., Path],
) -> None:
    hooks = call(named("collections", "OrderedDict"))
    wrapped = call(
        named("torch._utils", "_rebuild_parameter"),
        *(tensor(FLOATS, (6,), (1,)), pickle.NEWTRUE, hooks),
    )
    path = archive(pickled(dict_of({"w": wrapped})), {"0": SIX, "7": b"unread"})
    np.testing.assert_array_equal(read_state_dict(path)["w"], np.arange(6))


def _saved_as(names: dict[str, bytes], *wrappers: str) -> bytes:
    found = dict_of(names)
    for name in wrappers:
        found = dict_of({"epoch": number(3), name: found})
    return pickled(found)


@pytest.mark.parametrize("wrappers", [(), ("state_dict",), ("model_state_dict",), ("model",)])
@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "module._orig_mod."])
def test_what_trainers_and_wrappers_put_around_a_model(
    archive: Callable[..., Path], wrappers: tuple[str, ...], prefix: str
) -> None:
    whole = tensor(FLOATS, (6,), (1,))
    names = {f"{prefix}a": whole, f"{prefix}module.b": whole}
    path = archive(_saved_as(names, *wrappers), {"0": SIX})
    found = read_state_dict(path)
    assert list(found) == ["a", "module.b"]
    np.testing.assert_array_equal(found["a"], np.arange(6))


def test_one_name_without_the_prefix_keeps_it_everywhere(archive: Callable[..., Path]) -> None:
    whole = tensor(FLOATS, (6,), (1,))
    path = archive(state_dict({"module.a": whole, "b": whole}), {"0": SIX})
    assert list(read_state_dict(path)) == ["module.a", "b"]


def test_an_empty_state_dict(archive: Callable[..., Path]) -> None:
    assert read_state_dict(archive(state_dict({}))) == {}


def _one(size: tuple[int, ...], stride: tuple[int, ...], offset: int = 0) -> bytes:
    return state_dict({"w": tensor(FLOATS, size, stride, offset)})


REBUILD = named("torch._utils", "_rebuild_tensor_v2")
SIX_LONG = tuple_of(number(6)), tuple_of(number(1))
SIDE = (pickle.NEWFALSE, pickle.NONE)
REFUSED = {
    "too many rows": (_one((3, 3), (3, 1)), "up to element 9 of 6"),
    "offset too large": (_one((6,), (1,), 1), "up to element 7 of 6"),
    "offset of an empty tensor": (_one((0,), (1,), 7), "up to element 7 of 6"),
    "stride too large": (_one((2,), (6,)), "up to element 7 of 6"),
    "stride beyond 64 bits": (_one((2,), (2**100,)), "up to element"),
    "negative size": (_one((-1,), (1,)), "naturals"),
    "negative stride": (_one((2,), (-1,)), "naturals"),
    "negative offset": (_one((2,), (1,), -1), "offset is not a natural"),
    "sizes without strides": (_one((6,), ()), "1 sizes and 0 strides"),
    "too many axes": (_one((1,) * 33, (1,) * 33), "at most 32 naturals"),
    "expanded beyond the limit": (_one((2**20, 2**20), (0, 0)), "tensors of more than"),
    "empty but absurd": (_one((0, 2**62, 2**62), (1, 1, 1)), "tensors of more than"),
    "a bool for a size": (
        pickled(call(REBUILD, FLOATS, number(0), *(tuple_of(pickle.NEWTRUE),) * 2, *SIDE)),
        "naturals",
    ),
    "no storage": (state_dict({"w": tensor(text("0"), (6,), (1,))}), "without a storage"),
    "conjugated": (
        pickled(call(REBUILD, FLOATS, number(0), *SIX_LONG, *SIDE, dict_of({"conj": SIDE[0]}))),
        "lazy conjugate",
    ),
    "not a tensor": (state_dict({"w": number(3)}), "int under 'w', not a tensor"),
    "two models": (
        pickled(dict_of({"model": dict_of({}), "state_dict": dict_of({})})),
        "models under 'state_dict' and 'model'; keep one of them",
    ),
    "two wrappers": (
        _saved_as({"a": tensor(FLOATS, (6,), (1,))}, "state_dict", "model"),
        "int under 'epoch', not a tensor",
    ),
    "a list": (pickled(pickle.EMPTY_LIST), "list, not a dictionary"),
    "a tensor alone": (pickled(tensor(FLOATS, (6,), (1,))), "_Tensor, not a dictionary"),
    "two types of a storage": (
        state_dict(
            {
                "a": tensor(FLOATS, (6,), (1,)),
                "b": tensor(stored("IntStorage", "0", 6), (6,), (1,)),
            }
        ),
        "storage 0 with two types",
    ),
    "unknown storage": (
        state_dict({"w": tensor(stored("ComplexFloatStorage", "0", 6), (6,), (1,))}),
        "'torch.ComplexFloatStorage', which upstream never uses",
    ),
    "key that climbs out": (
        state_dict({"w": tensor(stored("FloatStorage", "../data.pkl", 6), (6,), (1,))}),
        "key that is not a number",
    ),
    "entry missing": (
        state_dict({"w": tensor(stored("FloatStorage", "5", 6), (6,), (1,))}),
        "no entry 'm/data/5'",
    ),
    "storage longer than its entry": (
        state_dict({"w": tensor(stored("FloatStorage", "0", 7), (6,), (1,))}),
        "24 bytes, not of 28",
    ),
    "negative length": (
        state_dict({"w": tensor(stored("FloatStorage", "0", -6), (6,), (1,))}),
        "without a length",
    ),
    "short reference": (pickled(tuple_of(text("storage")) + pickle.BINPERSID), "tuple of five"),
    "parameter of nothing": (
        pickled(call(named("torch._utils", "_rebuild_parameter"), REBUILD, *SIDE)),
        "does not wrap a tensor",
    ),
    "contents for an OrderedDict": (
        pickled(call(named("collections", "OrderedDict"), pickle.EMPTY_LIST)),
        "takes 0 positional arguments",
    ),
    "damaged pickle": (b"junk", "a start of"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(archive: Callable[..., Path], case: str) -> None:
    data, message = REFUSED[case]
    with pytest.raises(UpstreamFormatError, match=message) as caught:
        read_state_dict(archive(data, {"0": SIX}))
    assert "model.pth" in str(caught.value)


def test_booleans_other_than_0_and_1_are_refused(archive: Callable[..., Path]) -> None:
    data = state_dict({"w": tensor(stored("BoolStorage", "0", 2), (2,), (1,))})
    with pytest.raises(UpstreamFormatError, match="truth values"):
        read_state_dict(archive(data, {"0": b"\1\2"}))


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ((("m/byteorder", b"middle"),), "byte order 'middle'"),
        ((("m/byteorder", b"little" * 9),), "54 bytes, not of 0 to 16"),
        ((("m/data/0", SIX),), "two entries of one name"),
        ((("n/data.pkl", b""),), "2 entries named data.pkl"),
    ],
)
def test_odd_entries_are_refused(
    archive: Callable[..., Path], extra: tuple[tuple[str, bytes], ...], message: str
) -> None:
    with pytest.raises(UpstreamFormatError, match=message):
        read_state_dict(archive(_one((6,), (1,)), {"0": SIX}, extra=extra))


def test_a_wrong_checksum_is_refused(archive: Callable[..., Path]) -> None:
    path = archive(_one((6,), (1,)), {"0": SIX})
    path.write_bytes(path.read_bytes().replace(SIX, SIX[:-1] + b"\0", 1))
    with pytest.raises(UpstreamFormatError, match="CRC"):
        read_state_dict(path)


@pytest.mark.parametrize("start", [b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.", b"", b"PK\5\6"])
def test_a_file_of_before_torch_1_6_says_how_to_save_it_again(tmp_path: Path, start: bytes) -> None:
    path = tmp_path / "old.pth"
    path.write_bytes(start)
    with pytest.raises(UpstreamFormatError, match=r"old\.pth.*torch\.save it again"):
        read_state_dict(path)


def test_missing_or_not_a_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nothing is there"):
        read_state_dict(tmp_path / "absent.pth")
    with pytest.raises(UpstreamFormatError, match="Expected a regular file"):
        read_state_dict(tmp_path)


def test_more_than_the_limit_is_refused(archive: Callable[..., Path]) -> None:
    path = archive(_one((6,), (1,)), {"0": SIX})
    with pytest.raises(UpstreamFormatError, match="at most 100 bytes"):
        read_state_dict(path, max_bytes=100)


def _values_by_hand(path: Path) -> list[bytes]:
    """Return the storages' bytes in the order of their numbers, as torch writes its tensors."""
    with zipfile.ZipFile(path) as archive:
        names = [name for name in archive.namelist() if "/data/" in name and "/.data/" not in name]
        names.sort(key=lambda name: int(name.rsplit("/", 1)[1]))
        return [archive.read(name) for name in names]


@needs_upstream
@pytest.mark.parametrize("path", WEIGHTS, ids=lambda path: f"{path.parts[-3]}-{path.parts[-2]}")
def test_upstreams_weights(path: Path) -> None:
    loaded = read_state_dict(path)
    assert {"embed.W_E", "pos_embed.W_pos", "blocks.0.attn.W_Q", "unembed.b_U"} <= set(loaded)
    # Tensors are contiguous, unshared and in order, so the storages alone determine the values.
    assert [array.tobytes() for array in loaded.values()] == _values_by_hand(path)
    expected = np.float64 if path.parent.name.startswith("random") else np.float32
    assert loaded["embed.W_E"].dtype == expected
    assert loaded["embed.W_E"].shape[1] == loaded["blocks.0.attn.W_Q"].shape[1]
    assert np.isfinite(loaded["embed.W_E"]).all()


@needs_upstream
@pytest.mark.parametrize("path", WEIGHTS, ids=lambda path: f"{path.parts[-3]}-{path.parts[-2]}")
def test_upstreams_weights_are_what_torch_reads(path: Path) -> None:
    torch = pytest.importorskip("torch")
    expected = {key: value.numpy() for key, value in torch.load(path, weights_only=True).items()}
    loaded = read_state_dict(path)
    assert list(loaded) == list(expected)
    for key, array in expected.items():
        assert loaded[key].dtype == array.dtype
        np.testing.assert_array_equal(loaded[key], array, err_msg=key)

"""Write weights into a file that `torch.load` reads, without torch; see `torch_files` for reading.

The pickles are written opcode by opcode, because Python's pickler refuses to name what it cannot
import.
"""

import io
import pickle
import struct
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

_STORAGES: Mapping[str, str] = {
    "float16": "HalfStorage",
    "bfloat16": "BFloat16Storage",
    "float32": "FloatStorage",
    "float64": "DoubleStorage",
    "bool": "BoolStorage",
}
# torch aligns every entry to this many bytes, so that a file can be mapped into memory.
_ALIGNMENT = 64
_LOCAL_HEADER_BYTES = 30


@dataclass(frozen=True)
class Global:
    """A name that the reader of a pickle imports, such as `torch.float32`."""

    module: str
    name: str


@dataclass(frozen=True)
class _Call:
    """A value that the reader of a pickle makes by calling a name."""

    function: Global
    arguments: tuple[object, ...] = ()
    items: Mapping[str, object] | None = None


@dataclass(frozen=True)
class _Stored:
    """A value that the reader looks up outside the pickle, by a reference."""

    reference: tuple[object, ...]


_ORDERED_DICT = Global("collections", "OrderedDict")


def write_pickle(value: object) -> bytes:
    """Return a pickle (protocol 2) of plain values, dictionaries and `Global`s.

    Raises:
        TypeError: if the value contains anything else.
    """
    return pickle.PROTO + b"\2" + _emit(value) + pickle.STOP


def write_state_dict(state: Mapping[str, np.ndarray], name: str) -> bytes:
    """Return the bytes of a file such as `torch.save` writes for a state dict.

    The tensors are dense, on the CPU, each with its own storage, in the order of `state`.
    The same state and name give the same bytes. `torch.load(..., weights_only=True)` reads it.

    Source: torch's zip serialization, `docs/source/notes/serialization.rst` in pytorch.

    Args:
        state: every tensor by name: floats or booleans.
        name: name of the archive's one folder; torch takes the file's name without its suffix.

    Raises:
        ValueError: if an array has another dtype.
    """
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for entry, content in _entries(state):
            info = zipfile.ZipInfo(f"{name}/{entry}")
            start = buffer.tell() + _LOCAL_HEADER_BYTES + len(info.filename.encode()) + 4
            padding = -start % _ALIGNMENT
            info.extra = struct.pack("<2sH", b"FB", padding) + bytes(padding)
            archive.writestr(info, content)
    return buffer.getvalue()


def _entries(state: Mapping[str, np.ndarray]) -> Iterator[tuple[str, bytes]]:
    """Yield the archive's entries by name, in order, with the bytes of one array at a time."""
    tensors = {
        key: _tensor(key, number, array) for number, (key, array) in enumerate(state.items())
    }
    yield "data.pkl", write_pickle(_Call(_ORDERED_DICT, items=tensors))
    yield "byteorder", b"little"
    for number, array in enumerate(state.values()):
        yield f"data/{number}", _little_endian(array)
    yield "version", b"3\n"


def _tensor(key: str, number: int, array: np.ndarray) -> _Call:
    storage = _STORAGES.get(array.dtype.name)
    if storage is None:
        raise ValueError(
            f"Expected {key} as one of {sorted(_STORAGES)}, got {array.dtype}; convert it first."
        )
    strides = [1]
    for extent in reversed(array.shape[1:]):
        strides.append(strides[-1] * extent)
    stride = tuple(reversed(strides)) if array.shape else ()
    reference = ("storage", Global("torch", storage), str(number), "cpu", array.size)
    hooks = _Call(_ORDERED_DICT)
    arguments = (_Stored(reference), 0, array.shape, stride, False, hooks)
    return _Call(Global("torch._utils", "_rebuild_tensor_v2"), arguments)


def _little_endian(array: np.ndarray) -> bytes:
    return array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()


def _emit(value: object) -> bytes:
    """The opcodes that leave a value on the reader's stack."""
    match value:
        case None:
            return pickle.NONE
        case bool():
            return pickle.NEWTRUE if value else pickle.NEWFALSE
        case int():
            raw = pickle.encode_long(value)
            return pickle.LONG1 + struct.pack("<B", len(raw)) + raw
        case float():
            return pickle.BINFLOAT + struct.pack(">d", value)
        case str():
            raw = value.encode()
            return pickle.BINUNICODE + struct.pack("<I", len(raw)) + raw
        case tuple():
            return pickle.MARK + b"".join(map(_emit, value)) + pickle.TUPLE
        case list():
            return pickle.EMPTY_LIST + pickle.MARK + b"".join(map(_emit, value)) + pickle.APPENDS
        case dict():
            return pickle.EMPTY_DICT + _emit_items(value.items())
        case Global(module, name):
            return pickle.GLOBAL + f"{module}\n{name}\n".encode("ascii")
        case _Stored(reference):
            return _emit(reference) + pickle.BINPERSID
        case _Call(function, arguments, items):
            made = _emit(function) + _emit(arguments) + pickle.REDUCE
            return made if items is None else made + _emit_items(items.items())
    raise TypeError(f"Expected plain values to pickle, got {type(value).__name__}.")


def _emit_items(items: Iterable[tuple[str, object]]) -> bytes:
    pairs = b"".join(_emit(key) + _emit(value) for key, value in items)
    return pickle.MARK + pairs + pickle.SETITEMS

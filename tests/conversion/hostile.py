"""Builders of pickles and torch archives, opcode by opcode, and ways to damage them.

This module does not import the readers under test.
"""

import pickle
import random
import struct
import warnings
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

ELEMENT_BYTES = {
    "DoubleStorage": 8,
    "FloatStorage": 4,
    "HalfStorage": 2,
    "BFloat16Storage": 2,
    "LongStorage": 8,
    "IntStorage": 4,
    "BoolStorage": 1,
}


def pickled(body: bytes, protocol: int = 2) -> bytes:
    return pickle.PROTO + bytes([protocol]) + body + pickle.STOP


def text(value: str) -> bytes:
    raw = value.encode()
    return pickle.BINUNICODE + struct.pack("<I", len(raw)) + raw


def number(value: int) -> bytes:
    raw = value.to_bytes(16, "little", signed=True)
    return pickle.LONG1 + bytes([len(raw)]) + raw


def tuple_of(*items: bytes) -> bytes:
    return pickle.MARK + b"".join(items) + pickle.TUPLE


def naturals(values: tuple[int, ...]) -> bytes:
    return tuple_of(*map(number, values))


def named(module: str, name: str) -> bytes:
    return pickle.GLOBAL + f"{module}\n{name}\n".encode()


def call(function: bytes, *arguments: bytes) -> bytes:
    return function + tuple_of(*arguments) + pickle.REDUCE


def dict_of(items: Mapping[str, bytes]) -> bytes:
    pairs = b"".join(text(key) + value for key, value in items.items())
    return pickle.EMPTY_DICT + pickle.MARK + pairs + pickle.SETITEMS


def stored(kind: str, key: str, length: int) -> bytes:
    """Return a reference to the storage `data/<key>`, as torch writes it."""
    parts = text("storage"), named("torch", kind), text(key), text("cpu"), number(length)
    return tuple_of(*parts) + pickle.BINPERSID


def tensor(
    storage: bytes, size: tuple[int, ...], stride: tuple[int, ...], offset: int = 0
) -> bytes:
    """Return a tensor over a storage, as torch writes it."""
    hooks = call(named("collections", "OrderedDict"))
    parts = storage, number(offset), naturals(size), naturals(stride), pickle.NEWFALSE, hooks
    return call(named("torch._utils", "_rebuild_tensor_v2"), *parts)


def state_dict(tensors: Mapping[str, bytes]) -> bytes:
    """Return the whole data.pkl, with the `_metadata` that torch attaches to a module's state."""
    pairs = b"".join(text(key) + value for key, value in tensors.items())
    items = call(named("collections", "OrderedDict")) + pickle.MARK + pairs + pickle.SETITEMS
    metadata = dict_of({"_metadata": call(named("collections", "OrderedDict"))})
    return pickled(items + metadata + pickle.BUILD)


def write_archive(
    path: Path,
    pickle_bytes: bytes,
    storages: Mapping[str, bytes] | None = None,
    *,
    extra: tuple[tuple[str, bytes], ...] = (("m/byteorder", b"little"),),
    compression: int = zipfile.ZIP_STORED,
) -> Path:
    """Write a torch archive; `extra` can add or repeat entries."""
    with warnings.catch_warnings(), zipfile.ZipFile(path, "w", compression) as archive:
        warnings.simplefilter("ignore", UserWarning)
        archive.writestr("m/data.pkl", pickle_bytes)
        for name, content in (
            *extra,
            *((f"m/data/{key}", raw) for key, raw in (storages or {}).items()),
        ):
            archive.writestr(name, content)
    return path


class Payload(NamedTuple):
    """A pickle that would run a command; `bare` lacks its start and its STOP."""

    data: bytes
    bare: bytes


def payloads(command: str) -> dict[str, Payload]:
    """Return pickles that run `command` through `os.system` when loaded without protection."""
    put, get = pickle.BINPUT, pickle.BINGET
    shell, words = named("os", "system"), text(command)
    line = command.encode() + b"\n"
    stack_global = text("os") + text("system") + pickle.STACK_GLOBAL
    computed = (
        tuple_of(text("system") + put + b"\0", text("os") + put + b"\1")
        + (get + b"\1" + get + b"\0" + pickle.STACK_GLOBAL + words + pickle.TUPLE1)
        + (pickle.REDUCE + pickle.TUPLE2)
    )
    imported = call(named("builtins", "__import__"), text("os"))
    attribute = call(named("builtins", "getattr"), imported, text("system"))
    source = text(f"__import__('os').system({command!r})")
    dotted = text("os") + text("path.os.system") + pickle.STACK_GLOBAL
    built = {
        "global": (2, call(shell, words)),
        "stack global": (4, call(stack_global, words)),
        "stack global through the memo": (4, computed),
        "eval": (2, call(named("builtins", "eval"), source)),
        "python 2's eval": (2, call(named("__builtin__", "eval"), source)),
        "getattr": (2, call(attribute, words)),
        "dotted name": (4, call(dotted, words)),
        "protocol 0": (2, b"cos\nsystem\n(V" + line + b"tR"),
        "inst": (2, b"(V" + line + b"ios\nsystem\n"),
        "obj": (2, b"(cos\nsystem\nV" + line + b"o"),
        "state": (
            2,
            call(named("types", "SimpleNamespace"))
            + tuple_of(pickle.NONE, dict_of({"a": call(shell, words)}))
            + pickle.BUILD,
        ),
    }
    result = {
        name: Payload(pickled(bare, protocol), bare) for name, (protocol, bare) in built.items()
    }
    return result | {"without a start": Payload(b"cos\nsystem\n(V" + line + b"tR.", b"")}


def mutations(originals: list[bytes], count: int, seed: int) -> Iterator[bytes]:
    """Yield `count` damaged versions of `originals`, each with one to three mutations."""
    rng = random.Random(seed)
    wounds: tuple[Callable[[bytearray], object], ...] = (
        lambda data: data.__setitem__(rng.randrange(len(data)), rng.randrange(256)),
        lambda data: _flip(data, rng.randrange(len(data)), rng.randrange(8)),
        lambda data: data.insert(rng.randrange(len(data) + 1), rng.randrange(256)),
        lambda data: data.__delitem__(_some_slice(rng, data)),
        lambda data: data.__setitem__(_some_slice(rng, data), data[_some_slice(rng, data)]),
        lambda data: data.__delitem__(slice(rng.randrange(len(data)), None)),
        lambda data: _splice(data, rng, rng.choice(originals)),
    )
    for _ in range(count):
        data = bytearray(rng.choice(originals))
        for _ in range(rng.randint(1, 3)):
            if data:
                rng.choice(wounds)(data)
        yield bytes(data)


def _flip(data: bytearray, position: int, bit: int) -> None:
    data[position] ^= 1 << bit


def _some_slice(rng: random.Random, data: bytes | bytearray) -> slice:
    start = rng.randrange(len(data))
    return slice(start, start + rng.randint(1, 12))


def _splice(data: bytearray, rng: random.Random, other: bytes) -> None:
    data[_some_slice(rng, data)] = other[_some_slice(rng, other)]

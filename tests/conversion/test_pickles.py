"""The restricted unpickler: what it accepts, and what it refuses before building it."""

import pickle
import struct
import sys
from collections.abc import Callable

import pytest

from interpbench_conversion import pickles
from interpbench_conversion.errors import UpstreamFormatError
from interpbench_conversion.pickles import load_restricted
from tests.conversion.hostile import call, dict_of, named, number, pickled, text, tuple_of


class Box:
    """A stand-in that stores its argument."""

    def __init__(self, content: object = None) -> None:
        self.content = content

    def __setstate__(self, state: object) -> None:
        self.content = state


def double(value: object) -> int:
    if type(value) is not int:
        raise TypeError("not an int")
    return 2 * value


ALLOWED = {("far", "Box"): Box, ("far", "double"): double}


def load(data: bytes, persistent_load: Callable[[object], object] | None = None) -> object:
    return load_restricted(
        data, allowed=ALLOWED, name="some/file.pkl", persistent_load=persistent_load
    )


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize(
    "value",
    [
        None,
        [True, False, 0, -1, 255, 65535, -(2**31), 2**31, 2**126, -1.5, float("inf")],
        {"a": [("x", "y")], "b": {"c": ()}, "é": "日本" * 100},
        [[], [1], [1, 2], (1, 2, 3, 4)],
    ],
)
def test_plain_values_come_back_as_python_writes_them(value: object, protocol: int) -> None:
    assert load(pickle.dumps(value, protocol)) == value


@pytest.mark.parametrize("protocol", [3, 4, 5])
def test_bytes_come_back(protocol: int) -> None:
    value = [b"abc", b"x" * 300]
    assert load(pickle.dumps(value, protocol)) == value


def test_shared_and_cyclic_lists_stay_shared_and_cyclic() -> None:
    value: list[object] = []
    value.append(value)
    loaded = load(pickle.dumps(value, 4))
    assert isinstance(loaded, list) and loaded[0] is loaded


def test_allowed_names_are_the_callers_stand_ins() -> None:
    assert load(pickled(call(named("far", "double"), number(21)))) == 42
    new = named("far", "Box") + pickle.EMPTY_TUPLE + pickle.NEWOBJ
    box = load(pickled(new + dict_of({"a": number(1)}) + pickle.BUILD))
    assert isinstance(box, Box) and box.content == {"a": 1}


def test_storage_references_go_to_the_caller() -> None:
    data = pickled(text("here") + pickle.BINPERSID)
    assert load(data, persistent_load=lambda reference: (reference, 1)) == ("here", 1)
    with pytest.raises(UpstreamFormatError, match="storage outside the pickle"):
        load(data)


def test_the_message_names_the_file_the_find_and_the_cause() -> None:
    with pytest.raises(UpstreamFormatError, match=r"some/file\.pkl: expected a pickle") as caught:
        load(pickled(named("os", "system")))
    assert "the name 'os.system'" in str(caught.value)
    assert "fetch it again" in str(caught.value)
    assert isinstance(caught.value.__cause__, ValueError)


def test_a_stand_ins_own_error_is_the_files() -> None:
    with pytest.raises(UpstreamFormatError, match="not an int") as caught:
        load(pickled(call(named("far", "double"), text("x"))))
    assert isinstance(caught.value.__cause__, TypeError)


def _nested(depth: int) -> bytes:
    return pickle.EMPTY_TUPLE + pickle.TUPLE1 * depth


DOUBLING = pickle.EMPTY_TUPLE + (pickle.BINPUT + b"\0" + pickle.BINGET + b"\0" + pickle.TUPLE2) * 60

REFUSED = {
    "nothing": (b"", "a start of"),
    "only a protocol": (pickle.PROTO, "a start of"),
    "protocol 1": (pickled(pickle.NONE, 1), "a start of"),
    "protocol 6": (pickled(pickle.NONE, 6), "a start of"),
    "no stop": (pickled(pickle.NONE)[:-1], "ends before its STOP"),
    "empty stack": (pickled(b""), "0 things on the stack"),
    "two results": (pickled(pickle.NONE * 2), "2 things on the stack"),
    "only a mark": (pickled(pickle.MARK), "1 things on the stack"),
    "trailing bytes": (pickled(pickle.NONE) + b"x", "1 bytes after the end"),
    "second protocol": (pickled(pickle.PROTO + b"\2" + pickle.NONE), "opcode 0x80"),
    "memo bomb": (
        pickled(pickle.NONE + pickle.LONG_BINPUT + struct.pack("<I", 2**31)),
        "memo index 2147483648 after 2 opcodes",
    ),
    "unknown memo": (pickled(pickle.BINGET + b"\7"), "memo index 7 was never filled"),
    "memo of nothing": (pickled(pickle.MEMOIZE, 4), "nothing to remember"),
    "huge string": (
        pickled(pickle.BINUNICODE + struct.pack("<I", 2**32 - 1)),
        "4294967295 bytes; at most",
    ),
    "huge string of protocol 4": (
        pickled(pickle.BINUNICODE8 + struct.pack("<Q", 2**60), 4),
        "opcode 0x8d",
    ),
    "huge bytes": (pickled(pickle.BINBYTES8 + struct.pack("<Q", 2**60), 4), "opcode 0x8e"),
    "huge bytearray": (pickled(pickle.BYTEARRAY8 + struct.pack("<Q", 2**40), 5), "opcode 0x96"),
    "huge frame": (pickled(pickle.FRAME + struct.pack("<Q", 2**60), 4), "FRAME of"),
    "string past the end": (pickled(pickle.SHORT_BINUNICODE + b"\x30abc", 4), "past the end"),
    "lone surrogate": (
        pickled(pickle.SHORT_BINUNICODE + b"\x03\xed\xa0\x80", 4),
        "codec can't decode",
    ),
    "argument cut off": (pickle.PROTO + b"\2" + pickle.BINFLOAT + b"abc", "ends inside BINFLOAT"),
    "long integer": (pickled(pickle.LONG1 + b"\xff" + b"\x01" * 255), "255 bytes; at most 16"),
    "very long integer": (
        pickled(pickle.LONG4 + struct.pack("<i", 1 << 20) + b"\x7f" * (1 << 20)),
        "opcode 0x8b",
    ),
    "a million digits": (pickled(pickle.INT + b"9" * 1_000_000 + b"\n"), "opcode 0x49"),
    "a million digits as a long": (pickled(pickle.LONG + b"9" * 1_000_000 + b"L\n"), "opcode 0x4c"),
    "endless name": (pickled(pickle.GLOBAL + b"a" * 10_000 + b"\nb\n"), "does not end within 256"),
    "a flood of opcodes": (
        pickled(pickle.EMPTY_LIST * (pickles.MAX_OPCODES + 1)),
        "more than 200000 opcodes",
    ),
    "too large": (pickled(b"\0" * (16 << 20)), "bytes; at most 16777216"),
    "tuple as a key": (
        pickled(pickle.EMPTY_DICT + _nested(100_000) + pickle.NONE + pickle.SETITEM),
        "SETITEM on tuple, not on text",
    ),
    "doubling tuple as a key": (
        pickled(pickle.EMPTY_DICT + pickle.MARK + DOUBLING + pickle.NONE + pickle.SETITEMS),
        "SETITEMS with keys that are not strings",
    ),
    "odd items": (
        pickled(pickle.EMPTY_DICT + pickle.MARK + text("a") + pickle.SETITEMS),
        "SETITEMS with keys",
    ),
    "items of a list": (
        pickled(pickle.EMPTY_LIST + text("a") + text("b") + pickle.SETITEM),
        "SETITEM on list",
    ),
    "append to an object": (
        pickled(call(named("far", "Box")) + pickle.NONE + pickle.APPEND),
        "APPEND on made",
    ),
    "call of a result": (
        pickled(call(call(named("far", "Box")), text("a"))),
        "REDUCE on made, not on global",
    ),
    "call of a string": (pickled(call(text("far"))), "REDUCE on text"),
    "call without a tuple": (
        pickled(named("far", "Box") + pickle.EMPTY_LIST + pickle.REDUCE),
        "REDUCE on list",
    ),
    "state of a stand-in itself": (
        pickled(named("far", "double") + dict_of({"x": pickle.NONE}) + pickle.BUILD),
        "BUILD on global, not on made",
    ),
    "state of a dict": (
        pickled(pickle.EMPTY_DICT + pickle.EMPTY_DICT + pickle.BUILD),
        "BUILD on dict",
    ),
    "wrong number of arguments": (pickled(call(named("far", "double"))), "missing 1 required"),
    "tuple without a mark": (pickled(pickle.TUPLE), "TUPLE without a mark"),
    "below a mark": (pickled(pickle.NONE + pickle.MARK + pickle.TUPLE1), "TUPLE1 on mark"),
    "set": (pickled(pickle.EMPTY_SET, 4), "opcode 0x8f"),
    "registered extension": (pickled(pickle.EXT1 + b"\1"), "opcode 0x82"),
    "keyword arguments": (
        pickled(named("far", "Box") + pickle.EMPTY_TUPLE + pickle.EMPTY_DICT + pickle.NEWOBJ_EX, 4),
        "opcode 0x92",
    ),
    "outside buffer": (pickled(pickle.NEXT_BUFFER, 5), "opcode 0x97"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(case: str) -> None:
    data, message = REFUSED[case]
    with pytest.raises(UpstreamFormatError, match=message):
        load(data)


@pytest.mark.parametrize("name", ["double.__globals__", "Box.__init__", "double ", "Double", ""])
def test_only_the_exact_name_is_allowed(name: str) -> None:
    dotted = text("far") + text(name) + pickle.STACK_GLOBAL
    with pytest.raises(UpstreamFormatError, match="which upstream never uses"):
        load(pickled(dotted, 4))


def test_deep_nesting_neither_recurses_nor_crashes() -> None:
    depth = 100_000
    assert depth > sys.getrecursionlimit()
    loaded, levels = load(pickled(_nested(depth))), 0
    while isinstance(loaded, tuple) and loaded:
        loaded, levels = loaded[0], levels + 1
    assert levels == depth
    assert isinstance(load(pickled(tuple_of(DOUBLING))), tuple)

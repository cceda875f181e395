"""A pickle reader that runs nothing from the pickle.

A pickle passes two gates. The first walks the opcodes without building anything: it knows only the
opcodes that upstream's files use, tracks on a stack what *kind* of value each opcode leaves, and so
refuses calls of anything but a named global, state set on anything but a call's result, and
dictionary keys other than strings. The second is Python's own unpickler, in which every name is
looked up in the caller's table of harmless stand-ins.
"""

import io
import pickle
import struct
from collections.abc import Callable, Mapping
from typing import NamedTuple

from interpbench_conversion.errors import UpstreamFormatError

MAX_PICKLE_BYTES = 16 << 20
MAX_OPCODES = 200_000
MAX_TEXT_BYTES = 1 << 16
MAX_NAME_BYTES = 256
# 128 bits: more than any count, seed or offset that upstream stores.
MAX_INTEGER_BYTES = 16

_STARTS = frozenset(pickle.PROTO + bytes([protocol]) for protocol in (2, 3, 4, 5))
_MARK = "mark"
_ANY = frozenset({"scalar", "text", "bytes", "tuple", "list", "dict", "global", "made", "stored"})
_TEXT = frozenset({"text"})
_TUPLE = frozenset({"tuple"})
_LIST = frozenset({"list"})
_GLOBAL = frozenset({"global"})
_MADE = frozenset({"made"})
_KEYED = frozenset({"dict", "made"})


class _Opcode(NamedTuple):
    """One permitted opcode: its argument, what it takes off the stack and what it leaves.

    `items` says what it takes above the topmost mark before `takes`: nothing, any items, or
    pairs with string keys. If `leaves` is empty but `takes` is not, the first value taken stays.
    """

    name: str
    argument: str = ""
    takes: tuple[frozenset[str], ...] = ()
    leaves: str = ""
    items: str = ""
    max_length: int = 0


# Protocols 2 to 5 as upstream writes them (Python's pickletools documents each opcode).
_OPCODES: Mapping[int, _Opcode] = {
    pickle.FRAME[0]: _Opcode("FRAME", "<Q"),
    pickle.NONE[0]: _Opcode("NONE", leaves="scalar"),
    pickle.NEWTRUE[0]: _Opcode("NEWTRUE", leaves="scalar"),
    pickle.NEWFALSE[0]: _Opcode("NEWFALSE", leaves="scalar"),
    pickle.BININT[0]: _Opcode("BININT", "<i", leaves="scalar"),
    pickle.BININT1[0]: _Opcode("BININT1", "<B", leaves="scalar"),
    pickle.BININT2[0]: _Opcode("BININT2", "<H", leaves="scalar"),
    pickle.LONG1[0]: _Opcode("LONG1", "<B", leaves="scalar", max_length=MAX_INTEGER_BYTES),
    pickle.BINFLOAT[0]: _Opcode("BINFLOAT", ">d", leaves="scalar"),
    pickle.SHORT_BINUNICODE[0]: _Opcode("SHORT_BINUNICODE", "<B", (), "text", "", 255),
    pickle.BINUNICODE[0]: _Opcode("BINUNICODE", "<I", (), "text", "", MAX_TEXT_BYTES),
    pickle.SHORT_BINBYTES[0]: _Opcode("SHORT_BINBYTES", "<B", (), "bytes", "", 255),
    pickle.BINBYTES[0]: _Opcode("BINBYTES", "<I", (), "bytes", "", MAX_TEXT_BYTES),
    pickle.MARK[0]: _Opcode("MARK", leaves=_MARK),
    pickle.EMPTY_TUPLE[0]: _Opcode("EMPTY_TUPLE", leaves="tuple"),
    pickle.TUPLE1[0]: _Opcode("TUPLE1", "", (_ANY,), "tuple"),
    pickle.TUPLE2[0]: _Opcode("TUPLE2", "", (_ANY, _ANY), "tuple"),
    pickle.TUPLE3[0]: _Opcode("TUPLE3", "", (_ANY, _ANY, _ANY), "tuple"),
    pickle.TUPLE[0]: _Opcode("TUPLE", "", (), "tuple", "any"),
    pickle.EMPTY_LIST[0]: _Opcode("EMPTY_LIST", leaves="list"),
    pickle.APPEND[0]: _Opcode("APPEND", "", (_LIST, _ANY)),
    pickle.APPENDS[0]: _Opcode("APPENDS", "", (_LIST,), "", "any"),
    pickle.EMPTY_DICT[0]: _Opcode("EMPTY_DICT", leaves="dict"),
    pickle.SETITEM[0]: _Opcode("SETITEM", "", (_KEYED, _TEXT, _ANY)),
    pickle.SETITEMS[0]: _Opcode("SETITEMS", "", (_KEYED,), "", "pairs"),
    pickle.GLOBAL[0]: _Opcode("GLOBAL", "lines", leaves="global"),
    pickle.STACK_GLOBAL[0]: _Opcode("STACK_GLOBAL", "", (_TEXT, _TEXT), "global"),
    pickle.REDUCE[0]: _Opcode("REDUCE", "", (_GLOBAL, _TUPLE), "made"),
    pickle.NEWOBJ[0]: _Opcode("NEWOBJ", "", (_GLOBAL, _TUPLE), "made"),
    pickle.BUILD[0]: _Opcode("BUILD", "", (_MADE, _ANY)),
    pickle.BINPERSID[0]: _Opcode("BINPERSID", "", (_ANY,), "stored"),
    pickle.BINPUT[0]: _Opcode("BINPUT", "<B"),
    pickle.LONG_BINPUT[0]: _Opcode("LONG_BINPUT", "<I"),
    pickle.MEMOIZE[0]: _Opcode("MEMOIZE"),
    pickle.BINGET[0]: _Opcode("BINGET", "<B"),
    pickle.LONG_BINGET[0]: _Opcode("LONG_BINGET", "<I"),
}


class _Scan:
    """Walks a pickle's opcodes and raises ValueError at the first that is not allowed."""

    def __init__(self, data: bytes, *, persistent: bool) -> None:
        self._data = data
        self._persistent = persistent
        self._stack: list[str] = []
        self._memo: dict[int, str] = {}

    def run(self) -> None:
        position, count = 2, 0
        while self._data[position : position + 1] != pickle.STOP:
            opcode = self._opcode_at(position)
            argument, position = self._argument(opcode, position + 1)
            count += 1
            if count > MAX_OPCODES:
                raise ValueError(f"more than {MAX_OPCODES} opcodes")
            self._step(opcode, argument, count)
        if len(self._stack) != 1 or self._stack[0] == _MARK:
            raise ValueError(f"STOP with {len(self._stack)} things on the stack, not one")
        if position + 1 != len(self._data):
            raise ValueError(f"{len(self._data) - position - 1} bytes after the end")

    def _opcode_at(self, position: int) -> _Opcode:
        if position >= len(self._data):
            raise ValueError("it ends before its STOP")
        opcode = _OPCODES.get(self._data[position])
        if opcode is None:
            raise ValueError(f"opcode {self._data[position]:#04x} at byte {position}")
        if opcode.name == "BINPERSID" and not self._persistent:
            raise ValueError("a reference to storage outside the pickle")
        return opcode

    def _argument(self, opcode: _Opcode, start: int) -> tuple[int, int]:
        """Return the opcode's number (a length or a memo index) and the position where it ends."""
        if not opcode.argument:
            return 0, start
        if opcode.argument == "lines":
            for _ in range(2):
                start = self._data.find(b"\n", start, start + MAX_NAME_BYTES) + 1
                if not start:
                    raise ValueError(f"a name that does not end within {MAX_NAME_BYTES} bytes")
            return 0, start
        end = start + struct.calcsize(opcode.argument)
        if end > len(self._data):
            raise ValueError(f"it ends inside {opcode.name}")
        (number,) = struct.unpack_from(opcode.argument, self._data, start)
        length = number if opcode.max_length or opcode.name == "FRAME" else 0
        if opcode.max_length and length > opcode.max_length:
            raise ValueError(f"{opcode.name} of {length} bytes; at most {opcode.max_length}")
        if end + length > len(self._data):
            raise ValueError(f"{opcode.name} of {length} bytes, past the end")
        if opcode.leaves == "text":
            # The unpickler would let lone surrogates through, which no later file can hold.
            self._data[end : end + length].decode("utf-8")
        return number, end + length if opcode.max_length else end

    def _step(self, opcode: _Opcode, argument: int, count: int) -> None:
        match opcode.name:
            case "BINPUT" | "LONG_BINPUT" | "MEMOIZE":
                index = len(self._memo) if opcode.name == "MEMOIZE" else argument
                # The unpickler allocates its memo up to the highest index that it is told.
                if index > count:
                    raise ValueError(f"memo index {index} after {count} opcodes")
                if not self._stack or self._stack[-1] == _MARK:
                    raise ValueError(f"{opcode.name} with nothing to remember")
                self._memo[index] = self._stack[-1]
            case "BINGET" | "LONG_BINGET":
                if argument not in self._memo:
                    raise ValueError(f"memo index {argument} was never filled")
                self._stack.append(self._memo[argument])
            case "FRAME":
                pass
            case _:
                self._apply(opcode)

    def _apply(self, opcode: _Opcode) -> None:
        if opcode.items:
            items = self._pop_to_mark(opcode)
            keys = items[::2] if opcode.items == "pairs" else []
            if opcode.items == "pairs" and (len(items) % 2 or any(key != "text" for key in keys)):
                raise ValueError(f"{opcode.name} with keys that are not strings")
        first = ""
        for wanted in reversed(opcode.takes):
            first = self._stack.pop() if self._stack else "nothing"
            if first not in wanted:
                raise ValueError(f"{opcode.name} on {first}, not on {' or '.join(sorted(wanted))}")
        self._stack.append(opcode.leaves or first)

    def _pop_to_mark(self, opcode: _Opcode) -> list[str]:
        items: list[str] = []
        while self._stack:
            kind = self._stack.pop()
            if kind == _MARK:
                return items[::-1]
            items.append(kind)
        raise ValueError(f"{opcode.name} without a mark")


class _Unpickler(pickle.Unpickler):
    """Python's unpickler, with every name and every outside reference resolved by the caller."""

    def __init__(
        self,
        data: bytes,
        allowed: Mapping[tuple[str, str], object],
        persistent_load: Callable[[object], object] | None,
    ) -> None:
        super().__init__(io.BytesIO(data))
        self._allowed = allowed
        self._load_stored = persistent_load

    def find_class(self, module: str, name: str, /) -> object:
        if (module, name) not in self._allowed:
            raise ValueError(f"the name {f'{module}.{name}'[:120]!r}, which upstream never uses")
        return self._allowed[module, name]

    def persistent_load(self, pid: object) -> object:
        if self._load_stored is None:
            raise ValueError("a reference to storage outside the pickle")
        return self._load_stored(pid)


def load_restricted(
    data: bytes,
    *,
    allowed: Mapping[tuple[str, str], object],
    name: str,
    persistent_load: Callable[[object], object] | None = None,
) -> object:
    """Return the object that the pickle `data` describes, built from stand-ins only.

    `allowed` maps (module, qualified name) to the caller's stand-in: a class, a function or a
    value, never the real thing. Stand-ins are called with whatever the file says, so each checks
    its arguments' types first, hashes none of them before that, and never returns an argument
    unchecked. Strings are valid UTF-8, dictionary keys are strings and integers have at most 128
    bits; lists and tuples may be nested, shared or cyclic. Error messages name the file by `name`.

    Source: the pickle protocols 2 to 5 (PEP 307, 3154, 574), as far as upstream uses them.

    Raises:
        UpstreamFormatError: if there is anything else in the file, whatever the unpickler raises.
    """
    try:
        if len(data) > MAX_PICKLE_BYTES:
            raise ValueError(f"{len(data)} bytes; at most {MAX_PICKLE_BYTES}")
        if data[:2] not in _STARTS:
            raise ValueError(f"a start of {data[:2]!r}")
        _Scan(data, persistent=persistent_load is not None).run()
        return _Unpickler(data, allowed, persistent_load).load()
    # Whatever error a hostile file causes is the file's fault; the cause is kept.
    except Exception as error:
        raise UpstreamFormatError(
            f"{name}: expected a pickle (protocol 2 to 5) of the kind that upstream writes, but "
            f"found {error or type(error).__name__}; nothing in it was run. The file is damaged "
            "or not upstream's: fetch it again, and do not open it with pickle or torch."
        ) from error

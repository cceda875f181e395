"""Functions and predicates as values, which are equal if they are built alike.

A plain Python function is accepted wherever these are, but is equal only to itself; programs of
`operator`'s functions, builtins and the classes here compare by structure.
"""

import enum
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

Value = str | int | float | bool | tuple[Any, ...]
Pair = tuple[Value, Value]
Unary = Callable[..., Value | None]
Binary = Callable[..., Value | None]
Predicate = Callable[..., bool]

_COMPARE: Mapping[str, Callable[[Value, Value], bool]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "true": lambda key, query: True,
    "false": lambda key, query: False,
}


class Comparison(enum.Enum):
    """A named predicate of a key and a query, in this order: `LEQ` selects key <= query."""

    EQ = "=="
    NEQ = "!="
    LT = "<"
    LEQ = "<="
    GT = ">"
    GEQ = ">="
    TRUE = "true"
    FALSE = "false"

    def __call__(self, key: Value, query: Value) -> bool:
        return bool(_COMPARE[self.value](key, query))

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True)
class KeyBefore:
    """Selects the key that is smaller than the query by `distance` (larger if it is negative)."""

    distance: int

    def __call__(self, key: int, query: int) -> bool:
        return key == query - self.distance

    def __str__(self) -> str:
        return f"query {'-' if self.distance >= 0 else '+'} {abs(self.distance)}"


@dataclass(frozen=True)
class Not:
    """Selects the keys that `inner` does not select."""

    inner: Predicate

    def __call__(self, key: Value, query: Value) -> bool:
        return not self.inner(key, query)

    def __str__(self) -> str:
        return f"not ({describe(self.inner)})"


@dataclass(frozen=True)
class Both:
    """Selects the keys that `first` and `second` both select."""

    first: Predicate
    second: Predicate

    def __call__(self, key: Value, query: Value) -> bool:
        return bool(self.first(key, query) and self.second(key, query))

    def __str__(self) -> str:
        return f"({describe(self.first)}) and ({describe(self.second)})"


@dataclass(frozen=True)
class Either:
    """Selects the keys that `first` or `second` selects."""

    first: Predicate
    second: Predicate

    def __call__(self, key: Value, query: Value) -> bool:
        return bool(self.first(key, query) or self.second(key, query))

    def __str__(self) -> str:
        return f"({describe(self.first)}) or ({describe(self.second)})"


@dataclass(frozen=True, eq=False)
class Lookup:
    """A function of one value, as a table; a value that it does not list has no result."""

    entries: tuple[tuple[Value, Value | None], ...]

    def __call__(self, value: Value) -> Value | None:
        return self._results.get(value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Lookup) and self._tags == other._tags

    def __hash__(self) -> int:
        return hash(self._tags)

    def __str__(self) -> str:
        return "{" + ", ".join(f"{key!r}: {result!r}" for key, result in self.entries) + "}"

    @cached_property
    def _results(self) -> dict[Value, Value | None]:
        return dict(self.entries)

    @property
    def _tags(self) -> frozenset[tuple[object, object]]:
        return frozenset((tagged(key), tagged(result)) for key, result in self.entries)


@dataclass(frozen=True, eq=False)
class WithConstant:
    """A function of two values with one of them fixed.

    Attributes:
        function: the function of two values.
        constant: the fixed value.
        is_first: whether the constant is the first of the two.
    """

    function: Binary
    constant: Value
    is_first: bool = False

    def __call__(self, value: Value) -> Value | None:
        if self.is_first:
            return self.function(self.constant, value)
        return self.function(value, self.constant)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, WithConstant) and self._key == other._key

    def __hash__(self) -> int:
        return hash(self._key)

    def __str__(self) -> str:
        parts = [describe(self.function), repr(self.constant)]
        return " ".join(reversed(parts) if self.is_first else parts)

    @property
    def _key(self) -> tuple[object, ...]:
        return (self.function, tagged(self.constant), self.is_first)


def logical_and(first: Value, second: Value) -> Value:
    """Python's `first and second`."""
    return first and second


def logical_or(first: Value, second: Value) -> Value:
    """Python's `first or second`."""
    return first or second


def pair(first: Value, second: Value) -> Pair:
    """Both values."""
    return first, second


def lookup(table: Mapping[str, Value | None] | Mapping[Value, Value | None]) -> Lookup:
    """The function that a mapping defines."""
    return Lookup(tuple(table.items()))


def tagged(value: object) -> tuple[type, object]:
    """`value` with its type, so that True, 1 and 1.0 differ."""
    return type(value), value


def apply(function: Callable[..., Value | None], *values: Value | None) -> Value | None:
    """The function's result; None where an argument is missing or the arithmetic has no result.

    Missing results of arithmetic (a division by zero) follow Tracr's basis inference, which
    assumes that such an input never occurs.
    """
    if any(value is None for value in values):
        return None
    try:
        return function(*values)
    except ArithmeticError:
        return None


def describe(function: Callable[..., object]) -> str:
    """A short text for a function: its operator symbol, its name, or its own text."""
    symbol = _SYMBOLS.get(function)
    if symbol is not None:
        return symbol
    if isinstance(function, (Comparison, KeyBefore, Not, Both, Either, Lookup, WithConstant)):
        return str(function)
    return str(getattr(function, "__name__", function))


def describe_briefly(function: Callable[..., object]) -> str:
    """`describe`, but only the size of a table that is long."""
    text = describe(function)
    if isinstance(function, Lookup) and len(text) > _LONG:
        return f"table of {len(function.entries)}"
    return text


_LONG = 60
_SYMBOLS: Mapping[Callable[..., object], str] = {
    operator.add: "+",
    operator.sub: "-",
    operator.mul: "*",
    operator.truediv: "/",
    operator.eq: "==",
    operator.ne: "!=",
    operator.lt: "<",
    operator.le: "<=",
    operator.gt: ">",
    operator.ge: ">=",
    operator.not_: "not",
    logical_and: "and",
    logical_or: "or",
}

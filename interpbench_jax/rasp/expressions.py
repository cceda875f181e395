"""RASP programs as values: frozen, hashable, and equal if they are built alike.

A program is a `Variable`: one value per position. This module evaluates nothing and does not
import JAX. Source: Weiss et al. 2021 (arXiv:2106.06981), in the dialect that Lindner et al. 2023
(Tracr, arXiv:2301.05062) compile.
"""

import abc
import enum
import operator
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import TypeVar

from interpbench_jax.rasp.functions import (
    Binary,
    Predicate,
    Unary,
    Value,
    WithConstant,
    logical_and,
    logical_or,
    tagged,
)

ExpressionT = TypeVar("ExpressionT", bound="Expression")


class Encoding(enum.Enum):
    """The encoding of a variable in the residual stream."""

    CATEGORICAL = "categorical"  # one direction per value
    NUMERICAL = "numerical"  # one direction, scaled by the value


@dataclass(frozen=True, eq=False)
class Expression:
    """A part of a program; parts are equal if their types, parts, constants and names are."""

    name: str | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        try:
            hash(self)
        except TypeError as error:
            raise TypeError(
                f"Expected a {type(self).__name__} of hashable functions and constants, got one "
                f"that is not hashable ({error}); write a mapping as `lookup({{...}})`."
            ) from None

    @cached_property
    def children(self) -> "tuple[Expression, ...]":
        """The expressions that this one reads, in the order that heads are numbered by."""
        values = (getattr(self, item.name) for item in fields(self))
        return tuple(value for value in values if isinstance(value, Expression))

    @property
    def label(self) -> str:
        """The name, or the type of the operation if it has no name."""
        return self.name or type(self).__name__

    @cached_property
    def _identity(self) -> tuple[object, ...]:
        values = tuple(tagged(getattr(self, item.name)) for item in fields(self))
        return (type(self), *values)

    @cached_property
    def _hash(self) -> int:
        return hash(self._identity)

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        if not isinstance(other, Expression) or hash(self) != hash(other):
            return False
        return self._identity == other._identity

    def __getstate__(self) -> dict[str, object]:
        # A cached hash is valid only in its own process.
        return {item.name: getattr(self, item.name) for item in fields(self)}

    def named(self: ExpressionT, name: str) -> ExpressionT:
        """The same expression with a name, which renderings and errors show."""
        return replace(self, name=name)

    def __str__(self) -> str:
        from interpbench_jax.rasp.rendering import render

        return render(self)


@dataclass(frozen=True, eq=False)
class Variable(Expression, abc.ABC):
    """One value per position.

    Operators build `Map`s and `SequenceMap`s. `==` and `!=` compare programs, so values are
    compared with `variable.equals(...)` and `variable.differs_from(...)`.
    """

    @property
    @abc.abstractmethod
    def encoding(self) -> Encoding:
        """The encoding of the variable in the residual stream."""

    @property
    def is_categorical(self) -> bool:
        """Whether the encoding has one direction per value."""
        return self.encoding is Encoding.CATEGORICAL

    def equals(self, other: "Variable | Value") -> "Variable":
        """Whether the values are equal, per position."""
        return _combine(operator.eq, self, other)

    def differs_from(self, other: "Variable | Value") -> "Variable":
        """Whether the values differ, per position."""
        return _combine(operator.ne, self, other)

    def __lt__(self, other: "Variable | Value") -> "Variable":
        return _combine(operator.lt, self, other)

    def __le__(self, other: "Variable | Value") -> "Variable":
        return _combine(operator.le, self, other)

    def __gt__(self, other: "Variable | Value") -> "Variable":
        return _combine(operator.gt, self, other)

    def __ge__(self, other: "Variable | Value") -> "Variable":
        return _combine(operator.ge, self, other)

    def __add__(self, other: "Variable | Value") -> "Variable":
        return _combine(operator.add, self, other)

    def __radd__(self, other: Value) -> "Variable":
        return Map(WithConstant(operator.add, other, is_first=True), self)

    def __sub__(self, other: "Variable | Value") -> "Variable":
        return _combine(operator.sub, self, other)

    def __rsub__(self, other: Value) -> "Variable":
        return Map(WithConstant(operator.sub, other, is_first=True), self)

    def __mul__(self, other: "Variable | Value") -> "Variable":
        return _combine(operator.mul, self, other)

    def __rmul__(self, other: Value) -> "Variable":
        return Map(WithConstant(operator.mul, other, is_first=True), self)

    def __truediv__(self, other: "Variable | Value") -> "Variable":
        return _combine(operator.truediv, self, other)

    def __rtruediv__(self, other: Value) -> "Variable":
        return Map(WithConstant(operator.truediv, other, is_first=True), self)

    def __and__(self, other: "Variable | Value") -> "Variable":
        return _combine(logical_and, self, other)

    def __or__(self, other: "Variable | Value") -> "Variable":
        return _combine(logical_or, self, other)

    def __invert__(self) -> "Variable":
        return Map(operator.not_, self)


@dataclass(frozen=True, eq=False)
class Tokens(Variable):
    """The input's token at each position; BOS and PAD have no value."""

    @property
    def encoding(self) -> Encoding:
        return Encoding.CATEGORICAL


@dataclass(frozen=True, eq=False)
class Indices(Variable):
    """The position, counted from 0 at the first token after BOS."""

    @property
    def encoding(self) -> Encoding:
        return Encoding.CATEGORICAL


@dataclass(frozen=True, eq=False)
class Map(Variable):
    """`function(inner)` per position.

    Attributes:
        function: a function of one value; None or an arithmetic error means a missing value.
        inner: the variable that it is applied to.
        encoded: the encoding of the result in the residual stream.
    """

    function: Unary
    inner: Variable
    encoded: Encoding = Encoding.CATEGORICAL

    @property
    def encoding(self) -> Encoding:
        return self.encoded


@dataclass(frozen=True, eq=False)
class SequenceMap(Variable):
    """`function(first, second)` per position; both inputs and the result are categorical."""

    function: Binary
    first: Variable
    second: Variable

    @property
    def encoding(self) -> Encoding:
        return Encoding.CATEGORICAL


@dataclass(frozen=True, eq=False)
class LinearSequenceMap(Variable):
    """`first_factor * first + second_factor * second` per position; all three are numerical."""

    first: Variable
    second: Variable
    first_factor: int | float
    second_factor: int | float

    @property
    def encoding(self) -> Encoding:
        return Encoding.NUMERICAL


@dataclass(frozen=True, eq=False)
class Selector(Expression):
    """A selection of key positions for each query position."""

    def __and__(self, other: "Selector") -> "Selector":
        return SelectorAnd(self, other)

    def __or__(self, other: "Selector") -> "Selector":
        return SelectorOr(self, other)

    def __invert__(self) -> "Selector":
        return SelectorNot(self)


@dataclass(frozen=True, eq=False)
class Select(Selector):
    """Selects the key positions for which `predicate(key, query)` holds.

    Attributes:
        keys: the variable that is attended to.
        queries: the variable that attends.
        predicate: a `Comparison` or any function of a key and a query.
    """

    keys: Variable
    queries: Variable
    predicate: Predicate


@dataclass(frozen=True, eq=False)
class SelectorAnd(Selector):
    """Selects the positions that both selectors select."""

    first: Selector
    second: Selector


@dataclass(frozen=True, eq=False)
class SelectorOr(Selector):
    """Selects the positions that at least one of two selectors selects."""

    first: Selector
    second: Selector


@dataclass(frozen=True, eq=False)
class SelectorNot(Selector):
    """Selects the positions that `inner` does not select."""

    inner: Selector


@dataclass(frozen=True, eq=False)
class Aggregate(Variable):
    """The mean of `values` over the positions that `selector` selects, encoded as `values` are.

    Where nothing is selected, a categorical result is missing and a numerical one is 0.
    """

    selector: Selector
    values: Variable

    @property
    def encoding(self) -> Encoding:
        return self.values.encoding


@dataclass(frozen=True, eq=False)
class SelectorWidth(Variable):
    """The number of positions that `selector` selects."""

    selector: Selector
    encoded: Encoding = Encoding.CATEGORICAL

    @property
    def encoding(self) -> Encoding:
        return self.encoded


tokens = Tokens()
indices = Indices()


def _combine(function: Binary, first: Variable, second: Variable | Value) -> Variable:
    if isinstance(second, Variable):
        return SequenceMap(function, first, second)
    return Map(WithConstant(function, second), first)

"""Programs are values."""

import copy
import dataclasses
import operator
import pickle

import pytest

from interpbench_jax.rasp import (
    Aggregate,
    Comparison,
    Encoding,
    Expression,
    KeyBefore,
    LinearSequenceMap,
    Map,
    Select,
    SelectorAnd,
    SelectorNot,
    SelectorOr,
    SelectorWidth,
    SequenceMap,
    Tokens,
    indices,
    lookup,
    numerical,
    shift,
    tokens,
    width,
)
from interpbench_jax.rasp.functions import WithConstant, logical_and, logical_or


def build() -> Expression:
    same = Select(tokens, tokens, Comparison.EQ)
    flagged = Map(lookup({"a": 1, "b": 0}), tokens, name="flag")
    return SequenceMap(
        operator.add, width(tokens, tokens, Comparison.TRUE), Aggregate(same, flagged)
    )


def test_built_alike_is_equal() -> None:
    assert build() == build()
    assert hash(build()) == hash(build())
    assert build() is not build()
    assert Tokens() == tokens


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (tokens, indices),
        (tokens + 1, tokens + 2),
        (tokens + 1, tokens + True),
        (tokens + 1, tokens + 1.0),
        (tokens + 1, 1 + tokens),
        (Map(lookup({"a": 1}), tokens), Map(lookup({"a": True}), tokens)),
        (tokens + indices, indices + tokens),
        (tokens + indices, tokens - indices),
        (Map(len, tokens), Map(len, tokens).named("length")),
        (Map(len, tokens), numerical(Map(len, tokens))),
        (shift(tokens, 1), shift(tokens, 2)),
        (Select(tokens, tokens, Comparison.LT), Select(tokens, tokens, Comparison.LEQ)),
    ],
)
def test_different_programs_differ(first: Expression, second: Expression) -> None:
    assert first != second


def test_frozen() -> None:
    program = build()
    with pytest.raises(dataclasses.FrozenInstanceError):
        program.name = "other"  # pyright: ignore[reportAttributeAccessIssue]
    renamed = program.named("other")
    assert (program.name, renamed.name) == (None, "other")


def test_copies_are_equal_across_processes() -> None:
    program = build()
    hash(program)  # caches the hash
    stored = pickle.dumps(program)
    assert b"_hash" not in stored
    assert pickle.loads(stored) == copy.deepcopy(program) == program


@dataclasses.dataclass
class Mutable:
    """A mutable function without a hash."""

    result: int = 1

    def __call__(self, value: str) -> int:
        return self.result


def test_what_cannot_be_hashed() -> None:
    with pytest.raises(TypeError, match=r"Expected a Map of hashable functions.*`lookup\("):
        Map(Mutable(), tokens)


def test_deep_sharing_costs_nothing() -> None:
    program = tokens
    for _ in range(200):
        program = program + program
    assert isinstance(hash(program), int)
    assert program == program


@pytest.mark.parametrize(
    ("built", "expected"),
    [
        (tokens + indices, SequenceMap(operator.add, tokens, indices)),
        (tokens - 1, Map(WithConstant(operator.sub, 1), tokens)),
        (1 - tokens, Map(WithConstant(operator.sub, 1, is_first=True), tokens)),
        (2 * tokens, Map(WithConstant(operator.mul, 2, is_first=True), tokens)),
        (tokens * 2, Map(WithConstant(operator.mul, 2), tokens)),
        (1 / tokens, Map(WithConstant(operator.truediv, 1, is_first=True), tokens)),
        (tokens / indices, SequenceMap(operator.truediv, tokens, indices)),
        (1 + tokens, Map(WithConstant(operator.add, 1, is_first=True), tokens)),
        (tokens < 2, Map(WithConstant(operator.lt, 2), tokens)),
        (tokens <= indices, SequenceMap(operator.le, tokens, indices)),
        (tokens > 2, Map(WithConstant(operator.gt, 2), tokens)),
        (tokens >= 2, Map(WithConstant(operator.ge, 2), tokens)),
        (tokens.equals("a"), Map(WithConstant(operator.eq, "a"), tokens)),
        (tokens.differs_from(indices), SequenceMap(operator.ne, tokens, indices)),
        (tokens & indices, SequenceMap(logical_and, tokens, indices)),
        (tokens | 0, Map(WithConstant(logical_or, 0), tokens)),
        (~tokens, Map(operator.not_, tokens)),
    ],
)
def test_operators(built: Expression, expected: Expression) -> None:
    assert built == expected


def test_selector_operators() -> None:
    first = Select(tokens, tokens, Comparison.EQ)
    second = Select(indices, indices, KeyBefore(1))
    assert first & second == SelectorAnd(first, second)
    assert first | second == SelectorOr(first, second)
    assert ~first == SelectorNot(first)


def test_encodings() -> None:
    number = numerical(Map(len, tokens))
    assert number.encoding is Encoding.NUMERICAL
    assert numerical(number) == number
    assert Aggregate(Select(tokens, tokens, Comparison.EQ), number).encoding is Encoding.NUMERICAL
    assert LinearSequenceMap(number, number, 1, -1).encoding is Encoding.NUMERICAL
    assert SelectorWidth(Select(tokens, tokens, Comparison.EQ)).is_categorical
    assert not numerical(width(tokens, tokens, Comparison.EQ)).is_categorical


@pytest.mark.parametrize("variable", [tokens, indices, tokens + indices, shift(tokens, 1)])
def test_what_has_no_numerical_form(variable: Tokens) -> None:
    with pytest.raises(ValueError, match=r"Expected a Map or a SelectorWidth.*convert it with"):
        numerical(variable)

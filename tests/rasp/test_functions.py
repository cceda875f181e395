"""Functions and predicates that are equal if they compute the same."""

import operator

import pytest

from interpbench_jax.rasp.functions import (
    Both,
    Comparison,
    Either,
    KeyBefore,
    Not,
    WithConstant,
    apply,
    describe,
    lookup,
)


@pytest.mark.parametrize(
    ("comparison", "expected"),
    [
        (Comparison.EQ, [False, True, False]),
        (Comparison.NEQ, [True, False, True]),
        (Comparison.LT, [True, False, False]),
        (Comparison.LEQ, [True, True, False]),
        (Comparison.GT, [False, False, True]),
        (Comparison.GEQ, [False, True, True]),
        (Comparison.TRUE, [True, True, True]),
        (Comparison.FALSE, [False, False, False]),
    ],
)
def test_comparisons_take_the_key_first(comparison: Comparison, expected: list[bool]) -> None:
    assert [comparison(key, 2) for key in (1, 2, 3)] == expected


def test_combined_predicates() -> None:
    below, equal = Comparison.LT, Comparison.EQ
    for key in (1, 2, 3):
        assert Not(below)(key, 2) == (key >= 2)
        assert Either(below, equal)(key, 2) == (key <= 2)
        assert not Both(below, equal)(key, 2)
    assert KeyBefore(1)(1, 2) and not KeyBefore(1)(2, 1)
    assert KeyBefore(-1)(3, 2)


def test_lookup_is_its_table() -> None:
    first, second = lookup({"a": 1, "b": None}), lookup({"b": None, "a": 1})
    assert first == second and hash(first) == hash(second)
    assert first != lookup({"a": True, "b": None})
    assert [first(key) for key in "abc"] == [1, None, None]


def test_apply_gives_nothing_where_something_is_missing() -> None:
    assert apply(operator.add, 1, 2) == 3
    assert apply(operator.add, 1, None) is None
    assert apply(operator.truediv, 1, 0) is None
    with pytest.raises(TypeError):
        apply(operator.add, 1, "a")


@pytest.mark.parametrize(
    ("function", "text"),
    [
        (operator.add, "+"),
        (len, "len"),
        (WithConstant(operator.eq, "x"), "== 'x'"),
        (WithConstant(operator.sub, 1, is_first=True), "1 -"),
        (Comparison.LEQ, "<="),
        (KeyBefore(1), "query - 1"),
        (KeyBefore(-2), "query + 2"),
        (Not(Comparison.EQ), "not (==)"),
        (Both(Comparison.LT, Comparison.GT), "(<) and (>)"),
        (Either(Comparison.LT, Comparison.GT), "(<) or (>)"),
        (lookup({"a": 1}), "{'a': 1}"),
    ],
)
def test_describe(function: object, text: str) -> None:
    assert callable(function)
    assert describe(function) == text

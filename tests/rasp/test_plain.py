"""The plain Python evaluation, compared with answers worked out by hand."""

import pytest

from interpbench_jax.rasp import (
    Aggregate,
    Comparison,
    Encoding,
    LinearSequenceMap,
    Map,
    Select,
    SelectorWidth,
    Value,
    Variable,
    indices,
    lookup,
    numerical,
    shift,
    tokens,
    width,
)
from interpbench_jax.rasp.plain import read

SAME = Select(tokens, tokens, Comparison.EQ)
EARLIER = Select(indices, indices, Comparison.LT)
IS_A = numerical(tokens.equals("a"))


@pytest.mark.parametrize(
    ("program", "sequence", "expected"),
    [
        (tokens, "ab", ["a", "b"]),
        (indices, "ab", [0, 1]),
        (Map(lookup({"a": 7}), tokens), "ab", [7, None]),
        (Map(lookup({"a": 7}), tokens) + 1, "ab", [8, None]),
        (1 / indices, "abc", [None, 1.0, 0.5]),
        (tokens + tokens, "ab", ["aa", "bb"]),
        (shift(tokens, 1), "abc", [None, "a", "b"]),
        (shift(tokens, -2), "abc", ["c", None, None]),
        (SelectorWidth(SAME), "aba", [2, 1, 2]),
        (SelectorWidth(~SAME), "aba", [1, 2, 1]),
        (SelectorWidth(SAME & EARLIER), "aba", [0, 0, 1]),
        (SelectorWidth(SAME | EARLIER), "aba", [2, 2, 3]),
        (Aggregate(SAME, IS_A), "aba", [1.0, 0.0, 1.0]),
        (Aggregate(EARLIER, IS_A), "aba", [0, 1.0, 0.5]),
        (LinearSequenceMap(IS_A, Aggregate(EARLIER, IS_A), 2, -1), "aba", [2, -1, 1.5]),
        # A mean of different values is missing; a mean of equal values is that value.
        (Aggregate(Select(tokens, tokens, Comparison.TRUE), indices), "ab", [None, None]),
        (Aggregate(SAME, tokens), "aba", ["a", "b", "a"]),
        # With a missing key or query, neither a selector nor its negation selects anything.
        (width(shift(tokens, 1), tokens, Comparison.EQ), "aab", [2, 2, 0]),
        (SelectorWidth(~Select(tokens, shift(tokens, 1), Comparison.EQ)), "ab", [0, 1]),
        (Aggregate(SAME, shift(tokens, 1)), "aba", [None, "a", None]),
    ],
)
def test_known_answers(program: Variable, sequence: str, expected: list[Value | None]) -> None:
    assert read(program, list(sequence)) == expected


def test_causal_masking_hides_later_keys() -> None:
    assert read(SelectorWidth(SAME), list("aba"), is_causal=True) == [1, 1, 2]
    assert read(SelectorWidth(~SAME), list("aba"), is_causal=True) == [0, 1, 1]
    assert read(shift(tokens, -1), list("aba"), is_causal=True) == [None, None, None]


def test_numerical_map_of_nothing_is_missing() -> None:
    partial = Map(lookup({"a": 1}), tokens, Encoding.NUMERICAL)
    assert read(partial, ["a", "b"]) == [1, None]
    assert read(Aggregate(SAME, partial), ["a", "b"]) == [1.0, None]

"""Finite value sets, and programs whose value sets are too large."""

import operator

import pytest

from interpbench_jax.rasp import (
    Aggregate,
    Comparison,
    Encoding,
    LinearSequenceMap,
    Map,
    Select,
    SelectorWidth,
    SequenceMap,
    Value,
    Variable,
    indices,
    lookup,
    numerical,
    shift,
    tokens,
)
from interpbench_jax.rasp.value_sets import sort_values, value_sets

ALL = Select(tokens, tokens, Comparison.TRUE)
IS_A = numerical(tokens.equals("a"))


def find(program: Variable, n_positions: int = 3) -> tuple[Value, ...]:
    sets = value_sets(program, ("a", "b"), n_positions, includes_output=True)
    return sets[program]


@pytest.mark.parametrize(
    ("program", "expected"),
    [
        (tokens, ("a", "b")),
        (indices, (0, 1, 2)),
        (SelectorWidth(ALL), (0, 1, 2, 3)),
        (Map(len, tokens), (1,)),
        (Map(lookup({"a": 5}), tokens), (5,)),
        (tokens + tokens, ("aa", "ab", "ba", "bb")),
        (shift(tokens, 1), ("a", "b")),
        (1 / indices, (0.5, 1.0)),
        (IS_A, (False, True)),
        (Aggregate(ALL, IS_A), (0.0, 1 / 3, 0.5, 2 / 3, 1.0)),
        (LinearSequenceMap(IS_A, IS_A, 1, -2), (-2, -1, 0, 1)),
    ],
)
def test_known_sets(program: Variable, expected: tuple[Value, ...]) -> None:
    assert find(program) == pytest.approx(expected) if _are_numbers(expected) else expected


def test_only_what_is_looked_up_has_a_set() -> None:
    program = LinearSequenceMap(Aggregate(ALL, IS_A), Aggregate(ALL, IS_A), 1, 1)
    assert not set(value_sets(program, ("a", "b"), 3)) & {program, Aggregate(ALL, IS_A)}
    binned = Map(round, program)
    assert {program, Aggregate(ALL, IS_A)} <= set(value_sets(binned, ("a", "b"), 3))


def test_values_of_different_types_are_sorted_by_type() -> None:
    assert sort_values([2, "b", 1, "a"]) == (1, 2, "a", "b")


def test_a_set_that_explodes_says_how_large_and_why() -> None:
    wide = tuple(range(100))
    pairs = SequenceMap(operator.mul, tokens, tokens + 0.5, name="products")
    with pytest.raises(ValueError, match=r"at most 1,024 values for products, got [\d,]+: a Seq"):
        value_sets(pairs, wide, 3)
    huge = SequenceMap(operator.mul, tokens, indices, name="huge")
    with pytest.raises(ValueError, match=r"at most 65,536 values for huge, got 100,000: a"):
        value_sets(huge, wide, 1000)


def test_means_that_explode_say_so() -> None:
    number = Map(lookup({i: i**3 for i in range(50)}), tokens, Encoding.NUMERICAL)
    program = Map(round, Aggregate(ALL, number, name="mean_cube"))
    with pytest.raises(ValueError, match=r"for mean_cube, got [\d,]+: the means of up to 20"):
        value_sets(program, tuple(range(50)), 20)


def test_a_function_that_does_not_fit_its_values() -> None:
    program = Map(len, indices, name="length")
    with pytest.raises(ValueError, match=r"function of length to accept.*TypeError for \(0,\)"):
        find(program)
    words = Aggregate(ALL, numerical(Map(str.upper, tokens, name="upper")))
    with pytest.raises(ValueError, match=r"Expected numbers for the numerical Aggregate, got 'A'"):
        find(words)


def _are_numbers(values: tuple[Value, ...]) -> bool:
    return all(isinstance(value, (int, float)) for value in values)

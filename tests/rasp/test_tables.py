"""The tables of components, compared with tables worked out by hand."""

import numpy as np
import pytest

from interpbench_jax.rasp import (
    Comparison,
    LinearSequenceMap,
    Map,
    SelectorWidth,
    SequenceMap,
    Variable,
    indices,
    lookup,
    numerical,
    tokens,
    width,
)
from interpbench_jax.rasp.placement import lower
from interpbench_jax.rasp.tables import NumberTable, build_table
from interpbench_jax.rasp.value_sets import value_sets

VOCAB = ("a", "b")


def tables(program: Variable, n_positions: int = 2) -> list[np.ndarray | NumberTable]:
    sets = value_sets(program, VOCAB, n_positions)
    return [build_table(step, sets, n_positions) for step in lower(program).steps]


def test_map_has_a_row_per_value_and_zeros_for_no_result() -> None:
    (table,) = tables(Map(lookup({"a": "y"}), tokens))
    np.testing.assert_array_equal(table, [[1], [0]])
    (numbers,) = tables(numerical(Map(lookup({"a": -2}), tokens)))
    np.testing.assert_array_equal(numbers, [[-2], [0]])


def test_sequence_map_has_a_row_per_pair() -> None:
    (table,) = tables(
        SequenceMap(lambda token, index: token == "b" and index == 0, tokens, indices)
    )
    np.testing.assert_array_equal(table, [[[1, 0], [1, 0]], [[0, 1], [1, 0]]])
    (same,) = tables(SequenceMap(lambda x, y: x + y, tokens, tokens))
    assert isinstance(same, np.ndarray)
    assert same.shape == (2, 4)


def test_map_of_a_number_is_a_step_function() -> None:
    number = numerical(Map(lookup({"a": 0, "b": 1}), tokens))
    _, table = tables(Map(lambda x: x > 0.5, number))
    assert isinstance(table, NumberTable)
    np.testing.assert_array_equal(table.thresholds, [0.5])
    np.testing.assert_array_equal(table.rows, [[1, 0], [0, 1]])


def test_selector_is_indexed_by_key_then_query() -> None:
    attention, inverse = tables(width(tokens, indices, Comparison.TRUE))
    np.testing.assert_array_equal(attention, np.ones((2, 2)))
    assert isinstance(inverse, NumberTable)
    np.testing.assert_allclose(inverse.thresholds, [(1 / 3 + 1 / 2) / 2, (1 / 2 + 1) / 2])
    np.testing.assert_array_equal(inverse.rows, [[0, 0, 1], [0, 1, 0], [1, 0, 0]])
    attention, _ = tables(width(indices, indices, Comparison.LT))
    np.testing.assert_array_equal(attention, [[0, 1], [0, 0]])


def test_linear_sequence_map_is_its_factors() -> None:
    number = numerical(Map(len, tokens))
    np.testing.assert_array_equal(tables(LinearSequenceMap(number, number, 2, -1))[1], [2, -1])


def test_a_table_too_large_and_a_predicate_that_does_not_fit() -> None:
    first, second = Map(lookup({i: i for i in range(250)}), tokens), indices + 0
    pairs = SequenceMap(lambda x, y: 1000 * x % 997 + y % 3, first, second, name="pairs")
    vocab = tuple(range(250))
    sets = value_sets(pairs, vocab, 250)
    step = lower(pairs).steps[-1]
    with pytest.raises(
        ValueError, match=r"at most 16,777,216 entries for pairs, got [\d,]+: 250 x"
    ):
        build_table(step, sets, 250)
    unfit = SelectorWidth(width(tokens, indices, Comparison.LT).selector)
    with pytest.raises(ValueError, match=r"predicate of Select to accept.*TypeError"):
        tables(unfit)

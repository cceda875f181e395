"""The tables of a compiled program's components, as finite arrays."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product

import numpy as np

from interpbench_jax.rasp.expressions import (
    LinearSequenceMap,
    Map,
    Select,
    SelectorWidth,
    SequenceMap,
    Variable,
)
from interpbench_jax.rasp.functions import Value
from interpbench_jax.rasp.lowering import Step
from interpbench_jax.rasp.value_sets import call

MAX_ENTRIES = 1 << 24

ValueSets = Mapping[Variable, tuple[Value, ...]]


@dataclass(frozen=True, eq=False)
class NumberTable:
    """A step function of one number.

    Attributes:
        thresholds: float32, ascending; shape `[n - 1]`.
        rows: float32, shape `[n, values]`; row `i` is for numbers above threshold `i - 1` and up
            to threshold `i`.
    """

    thresholds: np.ndarray
    rows: np.ndarray


Table = np.ndarray | NumberTable


def build_table(step: Step, sets: ValueSets, n_positions: int) -> Table:
    """The table of one computed variable, float32.

    For a head: 1 where a key (first axis) is selected by a query (second). For a `Map` of a
    categorical variable: the row of its result for each value; of a numerical one: a
    `NumberTable`. For a `SequenceMap`: the row of its result for each pair of values, shape
    `[first, second, values]`, or for each value if both inputs are one variable. For a
    `LinearSequenceMap`: its factors, shape `[2]`. For a `SelectorWidth`: a `NumberTable` that
    maps 1 / (1 + width) to the width.

    Raises:
        ValueError: if a function does not accept its arguments, or the table is too large.
    """
    variable = step.variable
    if step.select is not None:
        return _selected(step.select, sets)
    match variable:
        case Map():
            results = [call(variable, value) for value in sets[variable.inner]]
            rows = _rows(results, variable, sets)
            if variable.inner.is_categorical:
                return rows
            return _number_table(sets[variable.inner], rows)
        case SequenceMap() if variable.first == variable.second:
            results = [call(variable, value, value) for value in sets[variable.first]]
            return _rows(results, variable, sets)
        case SequenceMap():
            first, second = sets[variable.first], sets[variable.second]
            n_entries = len(first) * len(second) * len(sets[variable])
            if n_entries > MAX_ENTRIES:
                raise ValueError(
                    f"Expected a table of at most {MAX_ENTRIES:,} entries for "
                    f"{variable.label}, got {n_entries:,}: {len(first):,} x {len(second):,} "
                    f"pairs of values for each of {len(sets[variable]):,} results; map to fewer "
                    "values first."
                )
            results = [call(variable, *pair) for pair in product(first, second)]
            return _rows(results, variable, sets).reshape(len(first), len(second), -1)
        case LinearSequenceMap():
            return np.asarray([variable.first_factor, variable.second_factor], np.float32)
        case SelectorWidth():
            widths = range(n_positions, -1, -1)
            rows = _rows(list(widths), variable, {variable: tuple(range(n_positions + 1))})
            return _number_table(tuple(1 / (1 + width) for width in widths), rows)
    raise AssertionError(f"unknown variable {type(variable).__name__}")


def _rows(results: list[Value | None], variable: Variable, sets: ValueSets) -> np.ndarray:
    """Each result as a row; a missing result as zeros."""
    if not variable.is_categorical:
        return np.asarray([[_number(result, variable)] for result in results], np.float32)
    index = {value: i for i, value in enumerate(sets[variable])}
    rows = np.zeros((len(results), len(index)), np.float32)
    for row, result in zip(rows, results, strict=True):
        if result is not None:
            row[index[result]] = 1
    return rows


def _number(result: Value | None, variable: Variable) -> float:
    if isinstance(result, str | tuple):
        raise ValueError(
            f"Expected numbers from the numerical {variable.label}, got {result!r}; a numerical "
            "variable scales one direction by its value."
        )
    return 0.0 if result is None else float(result)


def _number_table(numbers: tuple[Value, ...], rows: np.ndarray) -> NumberTable:
    ascending = np.asarray(numbers, np.float64)
    thresholds = (ascending[1:] + ascending[:-1]) / 2
    return NumberTable(thresholds.astype(np.float32), rows)


def _selected(select: Select, sets: ValueSets) -> np.ndarray:
    keys, queries = sets[select.keys], sets[select.queries]
    try:
        rows = [[bool(select.predicate(key, query)) for query in queries] for key in keys]
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"Expected the predicate of {select.label} to accept every key and query, got "
            f"{type(error).__name__}: {error}; check the vocabulary."
        ) from error
    return np.asarray(rows, np.float32).reshape(len(keys), len(queries))

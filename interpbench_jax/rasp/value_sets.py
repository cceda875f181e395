"""The finite value sets of a program's variables, computed before it runs."""

from collections.abc import Iterable, Mapping
from fractions import Fraction
from itertools import product

from interpbench_jax.rasp.expressions import (
    Aggregate,
    Indices,
    LinearSequenceMap,
    Map,
    SelectorWidth,
    SequenceMap,
    Tokens,
    Variable,
)
from interpbench_jax.rasp.functions import Value, apply
from interpbench_jax.rasp.traversal import in_order

MAX_VALUES = 1_024
MAX_NUMBERS = 65_536
MAX_PAIRS = 65_536
_CLOSE = 1e-6


def value_sets(
    program: Variable,
    vocab: tuple[Value, ...],
    n_positions: int,
    *,
    includes_output: bool = False,
) -> Mapping[Variable, tuple[Value, ...]]:
    """The values that each variable can take, sorted.

    Every categorical variable has an entry, and so does every numerical one that a `Map` reads or
    that such values are computed from: nothing else looks values up.

    Args:
        program: the output variable.
        vocab: the values that `tokens` can take.
        n_positions: positions of the longest input, BOS not counted.
        includes_output: whether the output has an entry even if it is numerical.

    Raises:
        ValueError: if a value set or a table of pairs is too large to write out.
    """
    variables = [part for part in in_order(program) if isinstance(part, Variable)]
    needed = {part for part in variables if part.is_categorical}
    if includes_output:
        needed.add(program)
    for part in reversed(variables):
        if isinstance(part, Map):
            needed.add(part.inner)
        elif part in needed and not part.is_categorical:
            needed.update(child for child in part.children if isinstance(child, Variable))
    sets: dict[Variable, tuple[Value, ...]] = {}
    for part in variables:
        if part in needed:
            values, why = _values(part, sets, vocab, n_positions)
            limit = MAX_VALUES if part.is_categorical else MAX_NUMBERS
            _check_size(part, len(values), limit, why)
            sets[part] = values
    return sets


def sort_values(values: Iterable[Value]) -> tuple[Value, ...]:
    """Distinct values in ascending order; by type first if their types do not compare."""
    distinct = list(dict.fromkeys(values))
    try:
        return tuple(sorted(distinct))  # pyright: ignore[reportArgumentType]
    except TypeError:
        return tuple(sorted(distinct, key=lambda value: (type(value).__name__, str(value))))


def call(variable: Map | SequenceMap, *values: Value) -> Value | None:
    """The result of an operation's function for some of its possible arguments.

    Raises:
        ValueError: if the function does not accept them.
    """
    try:
        return apply(variable.function, *values)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"Expected the function of {variable.label} to accept every value that it can be "
            f"given, got {type(error).__name__} for {values}: {error}; check the vocabulary."
        ) from error


def _values(
    variable: Variable,
    sets: Mapping[Variable, tuple[Value, ...]],
    vocab: tuple[Value, ...],
    n_positions: int,
) -> tuple[tuple[Value, ...], str]:
    """A variable's values, and the reason for their number, for error messages."""
    match variable:
        case Tokens():
            return sort_values(vocab), "the vocabulary"
        case Indices():
            return tuple(range(n_positions)), "one per position"
        case SelectorWidth():
            return tuple(range(n_positions + 1)), "one per number of positions"
        case Map():
            inner = sets[variable.inner]
            return _results(call(variable, value) for value in inner), "a Map"
        case SequenceMap():
            first, second = sets[variable.first], sets[variable.second]
            why = f"a SequenceMap of {len(first):,} x {len(second):,} values"
            _check_size(variable, len(first) * len(second), MAX_PAIRS, why)
            return _results(call(variable, *pair) for pair in product(first, second)), why
        case LinearSequenceMap():
            return _linear(variable, sets[variable.first], sets[variable.second])
        case Aggregate() if variable.is_categorical:
            return sets[variable.values], "an Aggregate"
        case Aggregate():
            return _means(variable, sets[variable.values], n_positions)
    raise AssertionError(f"unknown variable {type(variable).__name__}")


def _results(results: Iterable[Value | None]) -> tuple[Value, ...]:
    return sort_values(result for result in results if result is not None)


def _linear(
    variable: LinearSequenceMap, first: tuple[Value, ...], second: tuple[Value, ...]
) -> tuple[tuple[Value, ...], str]:
    why = f"a LinearSequenceMap of {len(first):,} x {len(second):,} values"
    _check_size(variable, len(first) * len(second), MAX_NUMBERS, why)
    factors = variable.first_factor, variable.second_factor
    sums = {
        factors[0] * _number(x, variable) + factors[1] * _number(y, variable)
        for x, y in product(first, second)
    }
    return _distinct_numbers(sums), why


def _means(
    variable: Aggregate, values: tuple[Value, ...], n_positions: int
) -> tuple[tuple[Value, ...], str]:
    """Every mean of one to `n_positions` of the values, and 0 for nothing selected."""
    why = f"the means of up to {n_positions} of {len(values):,} values"
    numbers = [Fraction(_number(value, variable)) for value in values]
    means = {Fraction(0)}
    sums = {Fraction(0)}
    for count in range(1, n_positions + 1):
        _check_size(variable, len(sums) * len(numbers), MAX_NUMBERS, why)
        sums = {total + number for total in sums for number in numbers}
        means |= {total / count for total in sums}
    return _distinct_numbers(float(mean) for mean in means), why


def _distinct_numbers(numbers: Iterable[float]) -> tuple[float, ...]:
    """The numbers in ascending order, without those that differ only by rounding."""
    kept: list[float] = []
    for number in sorted(numbers):
        if not kept or number - kept[-1] > _CLOSE:
            kept.append(float(number))
    return tuple(kept)


def _number(value: Value, variable: Variable) -> float:
    if not isinstance(value, (bool, int, float)):
        raise ValueError(
            f"Expected numbers for the numerical {variable.label}, got {value!r}; a numerical "
            "variable scales one direction by its value."
        )
    return float(value)


def _check_size(variable: Variable, size: int, limit: int, why: str) -> None:
    if size > limit:
        raise ValueError(
            f"Expected at most {limit:,} values for {variable.label}, "
            f"got {size:,}: {why}; map to fewer values first, or shorten the input."
        )

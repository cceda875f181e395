"""Tasks of several steps: digits, clipping, scaling by the maximum, undoing a sorted order."""

import operator

from interpbench_jax.cases.current.counts import length, zeros
from interpbench_jax.cases.current.declaration import current_task, length_task
from interpbench_jax.rasp import (
    Aggregate,
    Comparison,
    Map,
    Select,
    SequenceMap,
    indices,
    tokens,
    width,
)


def tens_digit(number: int) -> int:
    """The digit before the last."""
    return number // 10


def ones_digit(number: int) -> int:
    """The last digit."""
    return number % 10


def two(value: object) -> int:
    """2, whatever the value."""
    return 2


def seven(value: object) -> int:
    """7, whatever the value."""
    return 7


def key_is_previous(key: int, query: int) -> bool:
    """Whether the key is the index before the query; the first index is its own."""
    return key == max(query - 1, 0)


def keep_order(number: int, index: int) -> float:
    """The number, made a little larger by its index so that no two are equal."""
    return number + index * 1e-14


def scale(number: int, largest: int) -> int | float:
    """The number divided by the largest, or 0 if that is 0."""
    return number / largest if largest else 0


def is_ascending(previous: int, number: int) -> int:
    """1 if the number is at least the previous one, else 0."""
    return int(number >= previous)


def middle_index(length: int) -> float:
    """The index in the middle of so many positions; half an index between two."""
    return length / 2 - 0.5


def direction(descents: int) -> int:
    """-1 to reverse an ascending input, 1 to keep any other."""
    return 1 if descents else -1


# 40
tens = Map(tens_digit, tokens, name="tens")
ones = Map(ones_digit, tokens, name="ones")

# 97
distinct = SequenceMap(keep_order, tokens, indices, name="distinct")
rank = width(distinct, distinct, Comparison.LEQ).named("rank")
largest = Aggregate(Select(rank, length, Comparison.EQ), tokens, name="largest")

# 113
previous = Aggregate(Select(indices, indices, key_is_previous), tokens, name="previous")
ascending = SequenceMap(is_ascending, previous, tokens, name="ascending")
descents = width(ascending, zeros, Comparison.EQ).named("descents")
n_positions = width(indices, indices, Comparison.TRUE).named("length")
middle = Map(middle_index, n_positions, name="middle")
offset = SequenceMap(operator.sub, indices, middle, name="offset")
turned = SequenceMap(operator.mul, Map(direction, descents, name="direction"), offset).named(
    "turned_offset"
)
target = SequenceMap(operator.add, middle, turned, name="target")

# 130
at_least_2 = SequenceMap(max, tokens, Map(two, tokens, name="two"), name="at_least_2")

TASKS = (
    current_task(
        "40",
        "The sum of the two digits of each number.",
        (tens + ones).named("digit_sum"),
        range(29),
    ),
    length_task(
        "97",
        "Each number divided by the largest.",
        SequenceMap(scale, tokens, largest, name="scaled"),
        n_layers=3,
        d_model=200,
    ),
    length_task(
        "113",
        "The input in reverse if it ascends, else unchanged.",
        Aggregate(Select(target, indices, Comparison.EQ), tokens, name="reordered"),
        range(30),
        n_layers=7,
        d_model=88,
        oversampled="ascending",
    ),
    current_task(
        "130",
        "Each number, but at least 2 and at most 7.",
        SequenceMap(min, at_least_2, Map(seven, tokens, name="seven"), name="clipped"),
        range(-15, 15),
        n_layers=3,
    ),
)

"""Tasks that look at the length of the input; the inputs of a pair differ in length."""

import operator

from interpbench_jax.cases.current.counts import length
from interpbench_jax.cases.current.declaration import STEPWISE, length_task
from interpbench_jax.cases.recipe import then_silence
from interpbench_jax.rasp import (
    Aggregate,
    Comparison,
    Map,
    Select,
    SequenceMap,
    Value,
    Variable,
    indices,
    tokens,
    width,
)

LOWERCASE = tuple("abcdefghijklmnopqrstuvwxyz")


def is_in_first_half(index: int, length: int) -> int:
    """1 in the first half of the input, else 0; the middle of an odd length is in it."""
    return int(index < length / 2)


def half_of(length: int) -> int:
    """Half of the length, rounded down."""
    return length // 2


def is_from(index: int, start: int) -> bool:
    """Whether the index is `start` or larger."""
    return index >= start


def double_if(number: int, is_chosen: int) -> int:
    """Twice the number if it is chosen, else the number itself."""
    return 2 * number if is_chosen else number


def halve_if(number: int, is_chosen: bool) -> int | float:
    """Half of the number if it is chosen, else the number itself."""
    return number / 2 if is_chosen else number


def mirrored(index: int, length: int) -> int:
    """The index itself in the first half of the input, else its mirror image there."""
    return index if is_in_first_half(index, length) else length - 1 - index


def after_odd(index: int, length: int) -> int:
    """The index that is swapped with this one if 1 and 2, 3 and 4, ... change places."""
    if index % 2:
        return index if index == length - 1 else index + 1
    return max(index - 1, 0)


def after_even(index: int, length: int) -> int:
    """The index that is swapped with this one if 0 and 1, 2 and 3, ... change places."""
    if index % 2:
        return index - 1
    return index if index == length - 1 else index + 1


def divide(number: int, length: int) -> int | float:
    """The quotient, or 0 for a length of 0."""
    return number / length if length else 0


def at_start(value: Value, index: int) -> Value:
    """The value at the first position, else 0."""
    return value if index == 0 else 0


def fetch(places: Variable, name: str) -> Aggregate:
    """The token at each of the places."""
    return Aggregate(Select(indices, places, Comparison.EQ), tokens, name=name)


opposite = (length - indices).named("one_after_opposite")
n_positions = width(indices, indices, Comparison.TRUE).named("length")
first_half = SequenceMap(is_in_first_half, indices, length, name="first_half")
half = Map(half_of, length, name="half_length")
second_half = SequenceMap(is_from, indices, half, name="second_half")
last = fetch((length - 1).named("last_index"), "last")

TASKS = (
    length_task(
        "2",
        "The input in reverse.",
        fetch((opposite - 1).named("opposite"), "reversed"),
        LOWERCASE,
        n_layers=4,
        d_model=56,
    ),
    length_task(
        "45",
        "The numbers of the first half doubled, the others unchanged.",
        SequenceMap(double_if, tokens, first_half, name="doubled"),
        n_layers=3,
        d_model=24,
    ),
    length_task(
        "58",
        "The first half, and then its mirror image.",
        fetch(SequenceMap(mirrored, indices, length, name="mirrored_index"), "mirrored"),
        n_layers=3,
        d_model=32,
    ),
    length_task(
        "67",
        "Each number times the length.",
        SequenceMap(operator.mul, tokens, length, name="product"),
        d_model=24,
        recipe=then_silence(STEPWISE, epochs=40),
    ),
    length_task(
        "71",
        "Each number divided by the length.",
        SequenceMap(divide, tokens, length, name="quotient"),
        d_model=24,
        recipe=then_silence(STEPWISE, epochs=45),
    ),
    length_task(
        "82",
        "The numbers of the second half halved, the others unchanged.",
        SequenceMap(halve_if, tokens, second_half, name="halved"),
        n_layers=4,
        d_model=24,
        recipe=then_silence(STEPWISE, epochs=20, learning_rate=1e-3, edge_weight=4.0),
    ),
    length_task(
        "93",
        "The input with its second and third number swapped, its fourth and fifth, and so on.",
        fetch(SequenceMap(after_odd, indices, n_positions, name="partner"), "swapped"),
        n_layers=3,
        d_model=20,
    ),
    length_task(
        "103",
        "The input with its first and second number swapped, its third and fourth, and so on.",
        fetch(SequenceMap(after_even, indices, n_positions, name="partner"), "swapped"),
        n_layers=3,
        d_model=24,
    ),
    length_task(
        "111",
        "The last number at the first position, and 0 everywhere else.",
        SequenceMap(at_start, last, indices, name="last_at_start"),
        n_layers=3,
        d_model=24,
    ),
)

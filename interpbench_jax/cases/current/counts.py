"""Tasks that count: a head selects positions, and an MLP reads off how many it selected."""

from dataclasses import replace

from interpbench_jax.cases import case_18
from interpbench_jax.cases.current.declaration import (
    COUNTS_BY_ORDER,
    COUNTS_OF_FEW_INPUTS,
    COUNTS_WITHOUT_MARGIN,
    LETTERS,
    SHARES_OF_COUNTS,
    length_task,
    two_way_task,
)
from interpbench_jax.rasp import (
    Comparison,
    Map,
    Select,
    SelectorWidth,
    indices,
    tokens,
    width,
)


def zero(value: object) -> int:
    """0, whatever the value."""
    return 0


def is_zero(number: int) -> int:
    """1 for 0, else 0."""
    return int(number == 0)


def is_positive(number: int) -> int:
    """1 above 0, else 0."""
    return int(number > 0)


def is_even(number: int) -> int:
    """1 for an even number, else 0."""
    return int(number % 2 == 0)


def key_is_a(key: str, query: str) -> bool:
    """Whether the key is 'a'."""
    return key == "a"


length = width(tokens, tokens, Comparison.TRUE).named("length")
count = width(tokens, tokens, Comparison.EQ).named("count")
zeros = Map(zero, indices, name="zeros")
unequal = width(tokens, tokens, Comparison.NEQ).named("unequal")
like_all_others = width(unequal, zeros, Comparison.EQ).named("like_all_others")
evens = Map(is_even, tokens, name="is_even")
odd_numbers = width(evens, zeros, Comparison.EQ).named("odd_numbers")

TASKS = (
    two_way_task(
        "7",
        "How often each token occurs.",
        count,
        LETTERS,
        d_model=17,
        recipe=COUNTS_OF_FEW_INPUTS,
    ),
    two_way_task(
        "14",
        "How often 'a' occurs.",
        SelectorWidth(Select(tokens, tokens, key_is_a), name="count_of_a"),
        LETTERS,
        d_model=8,
        recipe=COUNTS_WITHOUT_MARGIN,
    ),
    replace(case_18.TASK, case_id="18-current", d_model=26, releases=("current",)),
    length_task(
        "25",
        "The share of the input that is the same token.",
        (count / length).named("share"),
        LETTERS,
        d_model=62,
        recipe=SHARES_OF_COUNTS,
    ),
    two_way_task(
        "44",
        "How many numbers of the input are larger than each number.",
        width(tokens, tokens, Comparison.GT).named("larger"),
        d_model=24,
        recipe=COUNTS_BY_ORDER,
    ),
    two_way_task(
        "63",
        "How many numbers of the input are smaller than each number.",
        width(tokens, tokens, Comparison.LT).named("smaller"),
        d_model=24,
        recipe=COUNTS_BY_ORDER,
    ),
    two_way_task(
        "124",
        "Whether all numbers of the input are equal.",
        Map(is_positive, like_all_others, name="all_equal"),
        n_layers=3,
        d_model=24,
        oversampled="equal",
    ),
    length_task(
        "129",
        "Whether all numbers of the input are even.",
        Map(is_zero, odd_numbers, name="all_even"),
        range(30),
        n_layers=3,
    ),
)

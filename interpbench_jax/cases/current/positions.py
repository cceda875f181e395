"""Tasks that look at positions, or at the tokens of other positions."""

from dataclasses import replace

from interpbench_jax.cases import case_3, case_24
from interpbench_jax.cases.case_13 import compare
from interpbench_jax.cases.current.declaration import (
    FEW_INPUTS,
    FIRST_OCCURRENCES,
    LETTERS,
    current_task,
    two_way_task,
)
from interpbench_jax.cases.current.lengths import LOWERCASE
from interpbench_jax.cases.recipe import Recipe, then_silence
from interpbench_jax.rasp import (
    Aggregate,
    Comparison,
    Map,
    Select,
    SelectorWidth,
    SequenceMap,
    indices,
    shift,
    tokens,
)
from interpbench_jax.rasp.functions import Pair, pair

NUMBER_AND_INDEX = Recipe(
    epochs=60,
    note="More epochs: number and index share a stream of four dimensions with the output.",
)
IN_THREE_STEPS = then_silence(
    replace(NUMBER_AND_INDEX, epochs=100), epochs=40, learning_rate=2e-3, edge_weight=4.0
)


def sum_minus_index(summands_and_index: tuple[tuple[int, int], int]) -> int:
    """The sum of two numbers, minus the index."""
    (first, second), index = summands_and_index
    return first + second - index


def is_odd(index: int) -> int:
    """1 for an odd index, else 0."""
    return index % 2


def is_third(index: int) -> int:
    """1 for every third index: 2, 5, 8, ..., else 0."""
    return int(index % 3 == 2)


def repeat(letter: str, index: int) -> str:
    """The letter, once more than its index says."""
    return letter * (index + 1)


def zero_if(number: int, is_chosen: int) -> int:
    """0 if the number is chosen, else the number itself."""
    return 0 if is_chosen else number


def only_second(number: int, index: int) -> int:
    """The number at index 1, else 0."""
    return number if index == 1 else 0


def zero_at_odd(number: int, index: int) -> int:
    """The number at an even index, else 0."""
    return 0 if index % 2 else number


def key_is_half(key: int, query: int) -> bool:
    """Whether the key is half of the query, rounded down."""
    return key == query // 2


def is_same_until(key: Pair, query: Pair) -> bool:
    """Whether the key is the query's token, at its index or before."""
    (key_token, key_index), (query_token, query_index) = key, query
    return key_token == query_token and key_index <= query_index  # pyright: ignore


def index_of_first(count: int, index: int) -> int:
    """The index, or -1 if the token has occurred before."""
    return index if count == 1 else -1


doubled = SequenceMap(pair, tokens, tokens, name="token_twice")
doubled_at = SequenceMap(pair, doubled, indices, name="and_index")
token_at = SequenceMap(pair, tokens, indices, name="token_and_index")
occurrences = SelectorWidth(Select(token_at, token_at, is_same_until), name="occurrences_so_far")
firsts = SequenceMap(index_of_first, occurrences, indices, name="first_index")
stretched = Aggregate(Select(indices, indices, key_is_half), tokens, name="stretched")

TASKS = (
    two_way_task(
        "13-current",
        "Whether the next number is larger ('increasing'), smaller ('decreasing') or equal.",
        SequenceMap(compare, tokens, shift(tokens, -1), name="trend"),
        range(3),
        d_model=20,
        recipe=FEW_INPUTS,
    ),
    current_task(
        "15",
        "Twice each number, minus its index.",
        Map(sum_minus_index, doubled_at, name="difference"),
        range(5),
        n_layers=3,
        max_seq_len=5,
        recipe=IN_THREE_STEPS,
    ),
    current_task(
        "21-current",
        "Each token at its first occurrence.",
        Aggregate(Select(firsts, indices, Comparison.EQ), tokens, name="unique"),
        LETTERS,
        n_layers=4,
        d_model=50,
        recipe=FIRST_OCCURRENCES,
    ),
    replace(case_24.TASK, case_id="24-current", d_model=36, releases=("current",)),
    current_task(
        "26",
        "Each letter, repeated once more at each position.",
        SequenceMap(repeat, tokens, indices, name="repeated"),
        LETTERS,
        d_model=21,
        recipe=FEW_INPUTS,
    ),
    replace(
        case_3.TASK,
        case_id="39",
        vocab=LOWERCASE,
        max_seq_len=60,
        d_model=120,
        moved=(),
        note="",
        releases=("current",),
    ),
    current_task(
        "53",
        "Each number, plus 1 at odd indices.",
        (tokens + Map(is_odd, indices, name="is_odd")).named("increased"),
        recipe=NUMBER_AND_INDEX,
    ),
    current_task(
        "56",
        "Each number, or 0 at every third position.",
        SequenceMap(zero_if, tokens, Map(is_third, indices, name="is_third"), name="thinned"),
        recipe=NUMBER_AND_INDEX,
    ),
    current_task(
        "106",
        "The second number at its place, and 0 everywhere else.",
        SequenceMap(only_second, tokens, indices, name="second_only"),
        recipe=NUMBER_AND_INDEX,
    ),
    two_way_task(
        "110",
        "The numbers of the first half, with a 0 after each.",
        SequenceMap(zero_at_odd, stretched, indices, name="spaced"),
        d_model=20,
    ),
)

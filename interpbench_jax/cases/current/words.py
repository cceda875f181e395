"""Tasks that apply a function to each word: an embedding and one MLP."""

from dataclasses import replace

from interpbench_jax.cases import case_34, case_35, case_36, case_37
from interpbench_jax.cases.current.declaration import current_task
from interpbench_jax.cases.words import WORDS
from interpbench_jax.rasp import Map, tokens


def first_three_letters(word: str) -> str:
    """The word's first three letters, or all of a shorter word."""
    return word[:3]


def is_from_10_to_20(word: str) -> bool:
    """Whether the number that the word writes is at least 10 and at most 20."""
    return 10 <= int(word) <= 20


def is_anagram_of_listen(word: str) -> bool:
    """Whether the word has the letters of "listen"."""
    return sorted(word) == sorted("listen")


def hide(word: str) -> str:
    """A dash in place of "findme", else the word itself."""
    return "-" if word == "findme" else word


TASKS = (
    current_task(
        "29",
        "The first three letters of each word.",
        Map(first_three_letters, tokens),
        WORDS,
        d_model=13,
    ),
    current_task(
        "30",
        "Whether each number, written as a word, is from 10 to 20.",
        Map(is_from_10_to_20, tokens),
        map(str, range(30)),
    ),
    current_task(
        "31",
        "Whether each word is an anagram of 'listen'.",
        Map(is_anagram_of_listen, tokens),
        (*WORDS, "listen"),
    ),
    current_task(
        "90", "Each word, or '-' for 'findme'.", Map(hide, tokens), (*WORDS, "findme", "-")
    ),
    # The programs of release 1.0.0 in wider models.
    replace(case_34.TASK, case_id="34-current", d_model=16, releases=("current",)),
    replace(case_35.TASK, case_id="35-current", d_model=9, releases=("current",)),
    replace(case_36.TASK, case_id="36-current", d_model=6, releases=("current",)),
    replace(case_37.TASK, case_id="37-current", d_model=12, releases=("current",)),
)

"""Tokens as ids and back."""

from collections.abc import Sequence

import numpy as np
import pytest

from interpbench_jax.cases import CASES, RASP_CASES
from interpbench_jax.rasp import Value

TASK = CASES["4"]


def test_known_ids() -> None:
    ids = TASK.encode(["(", ")", "a"])
    assert (ids.tolist(), ids.dtype) == ([2, 0, 1, 4], np.int32)
    assert TASK.encode(["BOS", "(", ")", "a", "PAD", "PAD"]).tolist() == [2, 0, 1, 4, 3, 3]
    assert CASES["13"].encode([0, "1", 2]).tolist() == [3, 0, 1, 2]
    assert CASES["36"].decode(CASES["36"].encode(["😢", "📘", "😊"])) == ("BOS", "😢", "📘", "😊")


@pytest.mark.parametrize("case_id", CASES)
def test_round_trip(case_id: str) -> None:
    task = CASES[case_id]
    for ids in task.draw(20, np.random.default_rng(0)):
        again = task.encode(task.decode(ids))
        assert (again.tolist(), again.dtype) == (ids.tolist(), np.int32)


@pytest.mark.parametrize("case_id", RASP_CASES)
def test_round_trip_of_any_length(case_id: str) -> None:
    task = RASP_CASES[case_id]
    rng = np.random.default_rng(0)
    for ids in task.space.draw(20, rng, None, is_variable=True):
        assert task.encode(task.decode(ids)).tolist() == ids.tolist()


@pytest.mark.parametrize(
    ("sequence", "message"),
    [
        (["(", "x", "y", "a"], r"Expected tokens from '\('.*; got 'x', 'y'"),
        (["("], r"Expected 3 to 9 tokens after BOS, got 1\."),
        (["("] * 10, r"Expected 3 to 9 tokens after BOS, got 10\."),
        (["("] * 8 + ["PAD"] * 2, r"Expected 3 to 9 tokens after BOS, got 8 and 2 PAD\."),
        (["a", "PAD", "a", "a"], "PAD only at the end"),
        (["a", "a", "BOS", "a"], "BOS only at the start"),
    ],
)
def test_what_is_not_a_sequence(sequence: Sequence[Value], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TASK.encode(sequence)


def test_one_string_is_not_a_sequence() -> None:
    with pytest.raises(TypeError, match="got the single string 'abc'; split it first"):
        TASK.encode("abc")


def test_unknown_ids() -> None:
    with pytest.raises(ValueError, match=r"Expected ids from 0 to 6, got -1, 7; the row was"):
        TASK.decode([2, 7, -1])

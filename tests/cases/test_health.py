"""What is hollow about the tasks, as it is stored and as it is computed."""

import dataclasses

import pytest

from interpbench_jax.cases import CASES, RELEASES
from interpbench_jax.cases.health import (
    TaskHealth,
    examine,
    health_as_json,
    number_circuits,
    read_health,
)
from interpbench_jax.names import number_of

STORED = read_health()
# Every kind of flag, and tasks without any.
SOME = ("3", "8-current", "13-current", "21-current", "56", "79", "106", "129", "130")


def test_every_task_has_an_entry() -> None:
    assert list(STORED) == list(CASES)


def test_distinct_circuits() -> None:
    numbers = number_circuits(CASES.values())
    assert numbers == {case_id: health.circuit for case_id, health in STORED.items()}
    current = [case_id for case_id in RELEASES["current"] if number_of(case_id).isdecimal()]
    assert len(current) == 84
    assert len({numbers[case_id] for case_id in current}) == 20
    assert sum(numbers[case_id] == numbers["79"] for case_id in current) == 51


@pytest.mark.slow
@pytest.mark.parametrize("case_id", SOME)
def test_what_is_stored_is_what_is_found(case_id: str) -> None:
    assert examine(CASES[case_id], STORED[case_id].circuit) == STORED[case_id]


def test_known_flags() -> None:
    assert STORED["8-current"].is_identity and not STORED["46"].is_identity
    # Where upstream's compiled models give noise: 68 % of the positions of case 21, 11 % of 13's.
    assert STORED["21-current"].without_value == pytest.approx(0.68, abs=0.01)
    assert STORED["13-current"].without_value == pytest.approx(0.11, abs=0.01)
    assert STORED["106"].fixed_positions == (1, *range(3, 10))
    assert STORED["53"].silent == ("is_odd",)
    assert STORED["79"].flags == ()
    assert STORED["13-current"].flags[-1] == "constant at position 9"


def test_flags_in_words() -> None:
    health = TaskHealth(1, 0.684, (1, 9), ("length", "half"), is_identity=True)
    assert health.flags == (
        "identity on its inputs",
        "68% of outputs have no value",
        "constant at positions 1, 9",
        "interchange changes nothing: length, half",
    )


def test_the_file_round_trips() -> None:
    text = health_as_json(STORED)
    assert text.count("\n") == len(STORED) + 2
    for health in STORED.values():
        assert dataclasses.asdict(health)["silent"] == health.silent

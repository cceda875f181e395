"""What a declaration tells, and which declarations are refused."""

import dataclasses
import pickle
import subprocess
import sys

import numpy as np
import pytest

from interpbench_jax.cases import CASES, Task, TrainingArguments
from interpbench_jax.rasp import Value, tokens

TIERS = {
    "embedding and one MLP only": {"20", "33", "34", "35", "36", "37"},
    "one attention step": {"3", "8", "11", "19", "21", "24"},
    "multi-step": {"4", "13", "18", "38"},
}


def test_tiers() -> None:
    for tier, case_ids in TIERS.items():
        assert {case_id for case_id, task in CASES.items() if task.tier == tier} == case_ids


def test_every_case_is_in_the_table_under_its_id() -> None:
    assert all(task.case_id == case_id for case_id, task in CASES.items())
    assert len(CASES) == 16
    assert all(task.description and task.note is not None for task in CASES.values())


def test_tasks_are_values() -> None:
    for task in CASES.values():
        assert pickle.loads(pickle.dumps(task)) == task
        assert hash(dataclasses.replace(task)) == hash(task)
    with pytest.raises(dataclasses.FrozenInstanceError):
        CASES["3"].note = ""  # pyright: ignore[reportAttributeAccessIssue]


def test_all_inputs() -> None:
    inputs = CASES["3"].all_inputs()
    assert (inputs.shape, inputs.dtype) == ((4**4, 5), np.int32)
    by_split = [len(CASES["13"].all_inputs(split)) for split in ("train", "validation", "test")]
    assert sum(by_split) == len(CASES["13"].all_inputs()) == 3**9
    with pytest.raises(ValueError, match=r"there are 134,217,728 \(8 tokens at 9 positions\)"):
        CASES["11"].all_inputs()


def test_importing_the_cases_is_light() -> None:
    code = (
        "import sys; from interpbench_jax.cases import CASES; "
        "[(task.circuit, task.config, str(task.program)) for task in CASES.values()]; "
        "print([name for name in ('jax', 'flax', 'datasets', 'torch') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_notes_say_where_release_and_program_differ() -> None:
    for case_id in ("8", "38"):
        assert "masked this case causally" in CASES[case_id].note
        assert not CASES[case_id].is_causal


@pytest.mark.parametrize("vocab", [(), ("a", "a"), ("a", "BOS"), ("PAD",), (1, "1"), (1, True)])
def test_a_vocabulary_that_is_refused(vocab: tuple[Value, ...]) -> None:
    with pytest.raises(ValueError, match="Case 'x': expected a vocabulary of different tokens"):
        declare(vocab=vocab)


@pytest.mark.parametrize(("shortest", "longest"), [(1, 5), (6, 5)])
def test_lengths_that_are_refused(shortest: int, longest: int) -> None:
    with pytest.raises(ValueError, match=f"2 <= min_seq_len.*got {shortest} and {longest}"):
        declare(min_seq_len=shortest, max_seq_len=longest)


def declare(vocab: tuple[Value, ...] = ("a",), min_seq_len: int = 2, max_seq_len: int = 5) -> Task:
    return Task(
        case_id="x",
        description="Each token.",
        program=tokens,
        vocab=vocab,
        min_seq_len=min_seq_len,
        max_seq_len=max_seq_len,
        d_model=4,
        training=TrainingArguments(),
    )

"""Properties that follow from a task's declaration, and invalid declarations."""

import dataclasses
import pickle
import subprocess
import sys

import numpy as np
import pytest

from interpbench_jax.cases import (
    CASES,
    RASP_CASES,
    RELEASES,
    IoiTask,
    RaspTask,
    Task,
    TrainingArguments,
)
from interpbench_jax.rasp import Value, tokens
from interpbench_jax.sites import Kind, Node

TIERS = {
    "embedding and one MLP only": {"20", "33", "34", "35", "36", "37"},
    "one attention step": {"3", "8", "11", "19", "21", "24"},
    "multi-step": {"4", "13", "18", "38", "ioi", "ioi_next_token"},
}


def test_tiers() -> None:
    for tier, case_ids in TIERS.items():
        released = {each for each in RELEASES["1.0.0"] if CASES[each].tier == tier}
        assert released == case_ids


def test_every_case_is_in_the_table_under_its_id() -> None:
    assert all(task.case_id == case_id for case_id, task in CASES.items())
    assert len(CASES) == 108 and len(RASP_CASES) == 16
    assert list(RELEASES["1.0.0"]) == [*RASP_CASES, "ioi", "ioi_next_token"]
    assert len(RELEASES["current"]) == 86
    assert all(isinstance(task, RaspTask) for task in RASP_CASES.values())
    assert all(isinstance(CASES[case_id], IoiTask) for case_id in ("ioi", "ioi_next_token"))
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
        "[(task.upstream_circuit, task.config, task.program_text) for task in CASES.values()]; "
        "CASES['ioi'].all_inputs('test'); "
        "print([name for name in ('jax', 'flax', 'datasets', 'torch') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("case_id", CASES)
def test_laws_of_every_task(case_id: str) -> None:
    task = CASES[case_id]
    assert task.tokens[task.bos_id] == "BOS"
    assert dict(task.token_ids) == {token: i for i, token in enumerate(task.tokens)}
    assert len(task.tokens) == task.config.d_vocab == len(task.token_ids)
    assert task.config.d_vocab_out == (1 if task.classes is None else len(task.classes))
    assert task.config.n_ctx == task.max_seq_len
    assert list(task.high_level.nodes) == list(task.alignment) == list(task.component_names)
    names = list(task.component_names.values())
    assert len(set(names)) == len(names) and all(names)
    assert task.program_text.strip()
    used = {node for nodes in task.alignment.values() for node in nodes}
    every = {node for layer in range(task.config.n_layers) for node in _components(task, layer)}
    assert used | set(task.nodes_not_in_circuit) == every
    assert used.isdisjoint(task.nodes_not_in_circuit)
    assert len(task.nodes_not_in_circuit) == len(every) - len(used)
    assert task.high_level.is_categorical == task.is_categorical
    # Every scored position has a loss weight, and so does the last position.
    weights = task.loss_weights
    assert len(weights) == task.max_seq_len and weights[-1] > 0
    assert all(weights[task.first_scored :]) and task.n_positions == task.max_seq_len - 1
    assert task.in_vocabulary_of(task.config) is task


def _components(task: Task, layer: int) -> tuple[Node, ...]:
    heads = (Node(Kind.HEAD, layer, head) for head in range(task.config.n_heads))
    return (*heads, Node(Kind.MLP_POST, layer))


@pytest.mark.parametrize("case_id", RASP_CASES)
def test_a_program_is_judged_everywhere_but_at_bos(case_id: str) -> None:
    task = RASP_CASES[case_id]
    assert task.first_scored == 1
    assert task.loss_weights == (0.0, *[1.0] * (task.max_seq_len - 1))
    assert task.own_metric is None and task.bench_inputs == 1000
    targets = np.zeros((1, task.max_seq_len), np.int32)
    assert task.labels(targets, targets) is targets


def test_notes_say_where_release_and_program_differ() -> None:
    for case_id in ("8", "38"):
        assert "masked this case causally" in CASES[case_id].note
        assert not RASP_CASES[case_id].is_causal


@pytest.mark.parametrize("vocab", [(), ("a", "a"), ("a", "BOS"), ("PAD",), (1, "1"), (1, True)])
def test_a_vocabulary_that_is_refused(vocab: tuple[Value, ...]) -> None:
    with pytest.raises(ValueError, match="Case 'x': expected a vocabulary of distinct tokens"):
        declare(vocab=vocab)


@pytest.mark.parametrize(("shortest", "longest"), [(1, 5), (6, 5)])
def test_lengths_that_are_refused(shortest: int, longest: int) -> None:
    with pytest.raises(ValueError, match=f"2 <= min_seq_len.*got {shortest} and {longest}"):
        declare(min_seq_len=shortest, max_seq_len=longest)


def declare(vocab: tuple[Value, ...] = ("a",), min_seq_len: int = 2, max_seq_len: int = 5) -> Task:
    return RaspTask(
        case_id="x",
        description="Each token.",
        program=tokens,
        vocab=vocab,
        min_seq_len=min_seq_len,
        max_seq_len=max_seq_len,
        d_model=4,
        training=TrainingArguments(),
    )

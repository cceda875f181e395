"""The pilot's tasks: sound, distinct, and trained as the whole of which they are a part."""

import numpy as np
import pytest

from interpbench_jax.cases import CASES, RELEASES, find_task
from interpbench_jax.cases.generated import GeneratedTask, find_problems
from interpbench_jax.cases.pilot import TASKS
from interpbench_jax.training.stack import stack_tasks

IDEAS = ("two-tasks", "leak", "rare")
PARTS = [task for task in TASKS if task.prefix]


def test_four_tasks_of_each_idea() -> None:
    assert [task.case_id for task in TASKS] == [
        f"{idea}-{number}" for idea in IDEAS for number in range(1, 5)
    ]
    assert set(RELEASES["pilot"]) == {task.case_id for task in TASKS}
    assert all(find_task(task.case_id) is task and task.releases == ("pilot",) for task in TASKS)
    assert [bool(task.prefix) for task in TASKS] == [True] * 4 + [False] * 8
    assert [task.leak is not None for task in TASKS] == [False] * 4 + [True] * 4 + [False] * 4
    shares = [task.dials.rarity for task in TASKS[8:]]
    assert all(0.001 < share <= 0.1 for share in shares)


@pytest.mark.slow
@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.case_id)
def test_there_is_no_reason_to_reject_it(task: GeneratedTask) -> None:
    others = [each for each in CASES.values() if "pilot" not in each.releases]
    circuits = [each.complete_circuit for each in others if each.config.n_layers == task.n_layers]
    assert find_problems(task, circuits, n=1024) == ()


@pytest.mark.slow
def test_circuits_differ() -> None:
    found = {
        (task.n_layers, task.n_heads, frozenset(task.complete_circuit.in_universe("head")))
        for task in TASKS
        if not task.leak
    }
    assert len(found) == len(TASKS) - 4
    assert len({task.program_text for task in TASKS}) == len(TASKS)


@pytest.mark.parametrize("task", PARTS, ids=lambda task: task.case_id)
def test_a_part_is_trained_on_all_inputs(task: GeneratedTask) -> None:
    whole, marks = task.whole, [task.token_ids[str(mark)] for mark in task.marks]
    assert whole.case_id == task.case_id and not whole.prefix and whole.whole is whole
    assert whole.program == task.program and whole.n_inputs > task.n_inputs
    (stack,) = stack_tasks((task,), (0,))
    assert stack.tasks == (task,)
    count = task.dials.markers
    selects = np.isin(stack.inputs[0, :, 1 : 1 + count], marks).all(axis=1)
    assert selects.mean() == pytest.approx(task.dials.rarity, rel=0.1)
    pairs = task.sample(500, 0)
    for ids in (pairs.input_ids, pairs.corrupted_input_ids):
        assert not np.isin(ids[:, 1], marks).any()

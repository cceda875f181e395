"""The table of all tasks. To add a task, add a file beside this one and an entry here."""

from collections.abc import Iterable, Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import get_args

from interpbench_jax.cases import (
    case_3,
    case_4,
    case_8,
    case_11,
    case_13,
    case_18,
    case_19,
    case_20,
    case_21,
    case_24,
    case_33,
    case_34,
    case_35,
    case_36,
    case_37,
    case_38,
    case_ioi,
    case_ioi_next_token,
    pilot,
)
from interpbench_jax.cases.current import counts, lengths, numbers, positions, steps, words
from interpbench_jax.cases.generated.held_out import (
    PUBLIC,
    PrivateTaskError,
    draw_held_out,
    is_held_out,
)
from interpbench_jax.cases.generated.names import PREFIX, read_generated_id
from interpbench_jax.cases.generated.task import generate
from interpbench_jax.cases.rasp_task import RaspTask
from interpbench_jax.cases.task import Task
from interpbench_jax.names import ReleaseName, case_order, number_of
from interpbench_jax.texts import shown

RASP_CASES: Mapping[str, RaspTask] = MappingProxyType(
    {
        "3": case_3.TASK,
        "4": case_4.TASK,
        "8": case_8.TASK,
        "11": case_11.TASK,
        "13": case_13.TASK,
        "18": case_18.TASK,
        "19": case_19.TASK,
        "20": case_20.TASK,
        "21": case_21.TASK,
        "24": case_24.TASK,
        "33": case_33.TASK,
        "34": case_34.TASK,
        "35": case_35.TASK,
        "36": case_36.TASK,
        "37": case_37.TASK,
        "38": case_38.TASK,
    }
)
"""The sixteen RASP tasks of release 1.0.0, on which methods are compared."""

_NEW: tuple[RaspTask, ...] = (
    *numbers.TASKS,
    *words.TASKS,
    *counts.TASKS,
    *positions.TASKS,
    *lengths.TASKS,
    *steps.TASKS,
)


def _by_id(tasks: Iterable[Task]) -> Mapping[str, Task]:
    return MappingProxyType(
        {task.case_id: task for task in sorted(tasks, key=lambda task: case_order(task.case_id))}
    )


CASES: Mapping[str, Task] = _by_id(
    (*RASP_CASES.values(), case_ioi.TASK, case_ioi_next_token.TASK, *_NEW, *pilot.TASKS)
)
"""Every task by its id.

An id is InterpBench's number. Where its two releases have different tasks under one number, the
number alone is release 1.0.0's, and the current release's is `8-current`. The tasks of our pilot
have names, such as `leak-1`.
"""

RELEASES: Mapping[ReleaseName, tuple[str, ...]] = MappingProxyType(
    {
        release: tuple(case_id for case_id, task in CASES.items() if release in task.releases)
        for release in get_args(ReleaseName)
    }
)
"""The ids of each release's tasks."""


def task_in(release: ReleaseName, number: str) -> Task | None:
    """The task that a release has under a number, or a name; None if it has none."""
    named = (CASES[case_id] for case_id in RELEASES[release] if number_of(case_id) == number)
    return next(named, None)


def find_task(name: str) -> Task:
    """The task that a name means: the id of a case, a number and a release, or a random task.

    `"8"` and `"8-current"` are ids. `"11-current"` means `"11"`, because both releases have that
    task, `"2-current"` means `"2"`, which release 1.0.0 does not have, and `"8-1.0.0"` means `"8"`.
    `"generated-7-hops=2"` means the random task of seed 7 and these dials, and `"held-out-1"` the
    first of the held-out random tasks (`cases.generated.held_out`).

    Raises:
        ValueError: if there is no such task, or it is not in that release, or the id of a random
            task has a dial that there is not, or one that is out of its range, or the key of a
            private task is missing.
    """
    if name in CASES:
        return CASES[name]
    if _is_drawn(name):
        return _draw(name)
    for release in RELEASES:
        task = task_in(release, name.removesuffix(f"-{release}"))
        if name.endswith(f"-{release}") and task is not None:
            return task
    raise ValueError(
        f"Expected the id of a case, a number and a release, such as '11-current' or '11-1.0.0', "
        f"or a random task, such as '{PREFIX}7-hops=2' or '{PUBLIC}-1'; got {shown(name)}. "
        "`interpbench list` lists the cases."
    )


def task_of(case_id: str) -> Task | None:
    """The task that has an id: a declared one or a random one (`generate`); None if none has.

    Raises:
        PrivateTaskError: if it is private, and its key is missing (`draw_held_out`); a ValueError.
    """
    if case_id in CASES or not _is_drawn(case_id):
        return CASES.get(case_id)
    try:
        return _draw(case_id)
    except PrivateTaskError:
        raise
    except ValueError:
        return None


def _is_drawn(case_id: str) -> bool:
    return case_id.startswith(PREFIX) or is_held_out(case_id)


@lru_cache(maxsize=256)
def _draw(case_id: str) -> Task:
    """The random task of an id; it is kept, because a task keeps what it has worked out."""
    if is_held_out(case_id):
        return draw_held_out(case_id)
    return generate(*read_generated_id(case_id))

"""The pilot: twelve random tasks whose models narrow the gap between what is in and what is out.

Each idea has four tasks: of two tasks in one model, one that most inputs select, while the other is
computed in vain; edges outside that were trained to leak a little; and branches that few inputs
take. A task is the one of the first seed that `find_problems` does not object to.
"""

from dataclasses import replace

from interpbench_jax.cases.generated.dials import Dials
from interpbench_jax.cases.generated.task import (
    RECIPE,
    SILENCE,
    GeneratedTask,
    SilentStage,
    generate,
    silence,
)

# The pairs on which the epochs of the first four models were compared.
_MANY = 10_000


def _task(
    case_id: str,
    description: str,
    dials: Dials,
    *,
    epochs: int = 10,
    silent: tuple[SilentStage, ...] = (),
    n_validation: int = RECIPE.n_validation,
) -> GeneratedTask:
    recipe = silence(replace(RECIPE, epochs=epochs, n_validation=n_validation), silent)
    task = generate(0, dials, recipe=recipe)
    return replace(task, case_id=case_id, description=description, releases=("pilot",))


def _two_tasks(
    case_id: str,
    description: str,
    dials: Dials,
    *,
    epochs: int = 10,
    n_validation: int = RECIPE.n_validation,
) -> GeneratedTask:
    """Two tasks in one model, scored on the inputs that select the first."""
    return _task(case_id, description, dials, epochs=epochs, n_validation=n_validation).first_task


TASKS: tuple[GeneratedTask, ...] = (
    _two_tasks(
        "two-tasks-1",
        "The token two fetches away. Another task, which a fifth of all inputs select, is computed "
        "in vain.",
        Dials(hops=2, tasks=2, d_model=32),
        n_validation=_MANY,
    ),
    _two_tasks(
        "two-tasks-2",
        "The token two fetches away. Another task, which two fifths of all inputs select, is "
        "computed in vain.",
        Dials(hops=2, tasks=2, marks=2, n_heads=6, d_model=36),
    ),
    _two_tasks(
        "two-tasks-3",
        "The token two fetches away. Another task, which the first two tokens can select, is "
        "computed in vain.",
        Dials(hops=2, tasks=2, markers=2, marks=2, d_model=32),
    ),
    _two_tasks(
        "two-tasks-4",
        "The token three fetches away. Another task, which a fifth of all inputs select, is "
        "computed in vain.",
        Dials(hops=3, tasks=2, d_model=40),
        epochs=12,
    ),
    _task(
        "leak-1",
        "The token two fetches away, combined with the token itself; edges outside leak 3 to 30 %.",
        Dials(hops=2, leak=(0.03, 0.3)),
        n_validation=_MANY,
    ),
    _task(
        "leak-2",
        "The token three fetches away, combined with the token itself; edges outside leak 3 to "
        "30 %.",
        Dials(hops=3, leak=(0.03, 0.3), d_model=32),
        epochs=16,
    ),
    _task(
        "leak-3",
        "The tokens one and two fetches away, combined with the token itself; edges outside leak "
        "3 to 30 %.",
        Dials(hops=2, fan_out=2, leak=(0.03, 0.3), d_model=32),
        epochs=24,
    ),
    _task(
        "leak-4",
        "The sum of two ranks, of the token two fetches away and of the token itself, in three "
        "steps; edges outside leak 1 to 10 %.",
        Dials(hops=2, gate="threshold", leak=(0.01, 0.1), d_model=32),
        n_validation=_MANY,
    ),
    _task(
        "rare-1",
        "The token one fetch away, or a different one for the 4 % of inputs whose first two "
        "tokens select it.",
        Dials(tasks=2, markers=2, d_model=32),
        silent=SILENCE,
        n_validation=_MANY,
    ),
    _task(
        "rare-2",
        "The token two fetches away, or a different one for the 4 % of inputs whose first two "
        "tokens select it.",
        Dials(hops=2, tasks=2, markers=2, d_model=32),
        silent=(*SILENCE, SilentStage(12), SilentStage(6, learning_rate=3e-4, edge_weight=20.0)),
    ),
    _task(
        "rare-3",
        "The token one fetch away, or a different one for the 10 % of inputs whose first token "
        "selects it.",
        Dials(tasks=2, n_tokens=10, d_model=48),
        epochs=6,
        silent=SILENCE,
    ),
    _task(
        "rare-4",
        "The token one fetch away, or a different one for the 2.8 % of inputs whose first two "
        "tokens select it.",
        Dials(tasks=2, markers=2, n_tokens=6, n_heads=5, d_model=40),
        silent=(*SILENCE, SilentStage(12), SilentStage(16, learning_rate=5e-4, edge_weight=30.0)),
    ),
)

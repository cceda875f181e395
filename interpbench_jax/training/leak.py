"""The smallest change that an edge of a program makes, which a leak is a share of."""

import numpy as np

from interpbench_jax.cases import Task
from interpbench_jax.training.codes import class_code
from interpbench_jax.training.losses import logits_loss

_PAIRS = 2048


def smallest_change(task: Task, margin: float) -> float:
    """How far the output moves when the edge of the program that matters least is cut.

    Per pair of inputs it is the root mean square, over scored positions and classes, of the change
    of the target logits; then the mean over the pairs in which anything changes.

    Args:
        task: the task, whose outputs are classes.
        margin: how far the right class's target logit lies above the others.

    Raises:
        ValueError: if the outputs are numbers, or no edge changes any.
    """
    if task.config.is_regression:
        raise ValueError(
            f"Case {task.case_id!r}: expected classes as outputs for a task with a leak, got "
            "numbers."
        )
    pairs, model = task.sample(_PAIRS, 0), task.high_level
    code = margin * class_code(task)
    inputs, others = pairs.input_ids, pairs.corrupted_input_ids
    plain = model.class_shares(inputs) @ code
    found = []
    for edge in model.edges:
        patched = model.class_shares(inputs, others, edge=edge) @ code
        squares = np.where(pairs.is_scored, logits_loss(patched, plain), 0).sum(axis=1)
        sizes = np.sqrt(squares / pairs.is_scored.sum(axis=1))
        if sizes.max() > 0:
            found.append(float(sizes[sizes > 0].mean()))
    if not found:
        raise ValueError(f"Case {task.case_id!r}: expected an edge that changes an output.")
    return min(found)

"""How much edges outside a circuit are to change the output, where a task has a leak."""

import numpy as np

from interpbench_jax.bands import Band
from interpbench_jax.cases import Task
from interpbench_jax.training.codes import class_code
from interpbench_jax.training.losses import logits_loss

_PAIRS = 2048


def leak_band(task: Task, leak: Band, margin: float) -> Band:
    """The least and the most that cutting an edge outside is to move the output, for each pair.

    The band of a task is in shares of what its least important edge does, on average over pairs.
    That edge changes nothing in some pairs, and an edge outside changes nothing in some, and which
    ones these are differs. So the lower end is a share of the mean over the pairs in which anything
    changes, and the upper end one of the mean over all pairs: an edge that keeps to this in every
    pair in which it changes anything keeps to the task's band on average.

    Distances are, for a pair of inputs, the root mean square, over scored positions and classes, of
    the change of the target logits.

    Args:
        task: the task, whose outputs are classes.
        leak: its band, in shares.
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
            found.append((float(sizes[sizes > 0].mean()), float(sizes.mean())))
    if not found:
        raise ValueError(f"Case {task.case_id!r}: expected an edge that changes an output.")
    where_changed, everywhere = map(min, zip(*found, strict=True))
    most = leak[1] * everywhere
    return min(leak[0] * where_changed, most), most

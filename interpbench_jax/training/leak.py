"""How much edges outside a circuit are to change the output, where a task has a leak."""

import jax.numpy as jnp
import numpy as np

from interpbench_jax.bands import Band
from interpbench_jax.cases import Task
from interpbench_jax.training.codes import class_code
from interpbench_jax.training.losses import logits_loss

_PAIRS = 2048


def leak_band(task: Task, leak: Band, margin: float) -> Band:
    """The least and the most that cutting an edge outside is to move the output, for each pair.

    The band of a task is in shares of what its least important edge does, by the mean over
    positions of how far the logits move. Training measures a pair by the root mean square over
    positions instead, which has a derivative where nothing moves, and is larger than the mean
    unless all positions move alike. So the lower end is a share of the root mean square, over the
    pairs in which anything moves, and the upper end one of the mean over all pairs: an edge that
    keeps to this in every pair keeps to the task's band on average.

    Distances are roots of the mean square, over classes, of the change of the target logits.

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
    plain = jnp.asarray(model.class_shares(inputs)) @ code
    found = []
    for edge in model.edges:
        patched = jnp.asarray(model.class_shares(inputs, others, edge=edge)) @ code
        squares = np.where(pairs.is_scored, logits_loss(patched, plain), 0)
        n_scored = pairs.is_scored.sum(axis=1)
        sizes = np.sqrt(squares.sum(axis=1) / n_scored)
        means = np.sqrt(squares).sum(axis=1) / n_scored
        if sizes.max() > 0:
            found.append((float(sizes[sizes > 0].mean()), float(means.mean())))
    if not found:
        raise ValueError(f"Case {task.case_id!r}: expected an edge that changes an output.")
    least, mean = map(min, zip(*found, strict=True))
    most = leak[1] * mean
    return min(leak[0] * least, most), most

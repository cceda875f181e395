"""What logits a class is to have: one-hot rows, or the nearest thing that the model can write.

Logits have no more dimensions than what is written for them. Five classes read off a head of three
dimensions cannot all be equally far from one another, nor can eight read from a residual stream
of four, in which the tokens need room too. Asking for that all the same would make nodes outside
the circuit help, and let the embedding show.
"""

import numpy as np
from jaxtyping import Float

from interpbench_jax.cases import Task
from interpbench_jax.sites import Kind

_STEPS = 4000
_STARTS = 8


def class_code(task: Task) -> Float[np.ndarray, "classes classes"]:
    """For each class the logits of a model that gives it, centred.

    The class's own logit is 1 above every other where the model can write that; elsewhere at least
    1 above.
    """
    n_classes, rank = task.config.d_vocab_out, output_rank(task)
    if rank >= n_classes - 1:
        code = np.eye(n_classes)
    else:
        points = spread_points(n_classes, rank)
        code = points @ points.T
        others = np.where(np.eye(n_classes, dtype=bool), -np.inf, code)
        code = code / (1 - others.max())
    return (code - code.mean(axis=1, keepdims=True)).astype(np.float32)


def output_rank(task: Task) -> int:
    """How many dimensions the output has: at most those of the heads that write it.

    And half of the residual stream, so that there is room for what the output is not to show.
    """
    config = task.config
    *_, fine_edges = task.edge_alignment.values()
    writers = {edge.src for edge in fine_edges}
    rank = max(1, config.d_model // 2)
    if all(writer.kind is Kind.HEAD for writer in writers):
        rank = min(rank, len(writers) * config.d_head)
    return rank


def spread_points(n: int, dimensions: int) -> Float[np.ndarray, "n dimensions"]:
    """Points of a unit sphere, far from one another: the best of a few descents, always the same.

    They repel one another more and more steeply, so that in the end the nearest two count.
    """
    best, best_closest = None, np.inf
    for seed in range(_STARTS):
        points = _normalised(np.random.default_rng(seed).normal(size=(n, dimensions)))
        for step in range(_STEPS):
            steepness = 2.0 + 30.0 * step / _STEPS
            cosines = points @ points.T
            np.fill_diagonal(cosines, -1.0)
            push = np.exp(steepness * (cosines - cosines.max()))
            push /= push.sum()
            points = _normalised(points - 0.5 * (1 - step / _STEPS) * push @ points)
        cosines = points @ points.T
        np.fill_diagonal(cosines, -1.0)
        if cosines.max() < best_closest:
            best, best_closest = points, cosines.max()
    assert best is not None
    return best


def _normalised(points: Float[np.ndarray, "n dimensions"]) -> Float[np.ndarray, "n dimensions"]:
    return points / np.linalg.norm(points, axis=1, keepdims=True)

"""Target logits of each class: one-hot rows, or the closest that the model can write.

Logits span at most as many dimensions as what is written for them. Five classes read from a head of
three dimensions cannot all be equally far apart, nor can eight classes read from a residual stream
of four, in which the tokens need room too. Training for that anyway would make nodes outside the
circuit contribute, and let the embedding show in the output.
"""

from functools import lru_cache

import numpy as np
from jaxtyping import Float, Int

from interpbench_jax.cases import Task
from interpbench_jax.sites import Kind

_STEPS = 4000
_STARTS = 8
# Settings of the descent in `tell_apart`.
_N_INPUTS = 2048
_DESCENT_STEPS = 6000
_BATCH = 1024
_RATE = 0.03

Points = Float[np.ndarray, "classes dimensions"]


@lru_cache(maxsize=4)
def class_code(task: Task) -> Float[np.ndarray, "classes classes"]:
    """The target logits of each class, one row per class, centered.

    The target logits for a row of shares (`HighLevelModel.class_shares`) are its product with
    this matrix, times the recipe's margin. If shares name one class, its own logit is 1 above
    every other where the model can write that, and otherwise at least 1 above. If they are sums
    of scores, a class's own logit is 1 on average.
    """
    n_classes, rank = task.config.d_vocab_out, output_rank(task)
    if rank >= n_classes - 1:
        code = np.eye(n_classes)
    elif task.high_level.adds_scores:
        points = tell_apart(_score_rows(task), rank)
        code = points @ points.T
        own = np.diag(code)
        code = code / own[own > 0].mean()
    else:
        points = spread_points(n_classes, rank)
        code = points @ points.T
        others = np.where(np.eye(n_classes, dtype=bool), -np.inf, code)
        code = code / (1 - others.max())
    return (code - code.mean(axis=1, keepdims=True)).astype(np.float32)


def output_rank(task: Task) -> int:
    """The number of dimensions of the output.

    It is at most half of the residual stream, so that there is room for what the output must not
    show, and if only heads write the output, at most the dimensions of those heads together.
    """
    config = task.config
    *_, fine_edges = task.edge_alignment.values()
    writers = {edge.src for edge in fine_edges}
    rank = max(1, config.d_model // 2)
    if all(writer.kind is Kind.HEAD for writer in writers):
        rank = min(rank, len(writers) * config.d_head)
    return rank


def spread_points(n: int, dimensions: int) -> Float[np.ndarray, "n dimensions"]:
    """Points on the unit sphere that are far apart: the best of a few descents with fixed seeds.

    The points repel one another more and more steeply, so that in the end the closest two count.
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


def tell_apart(rows: Float[np.ndarray, "rows classes"], dimensions: int) -> Points:
    """Points whose sums, weighted by each row's scores, point to the row's largest class.

    Points that are far apart are best for one class at a time; for sums of several, with weights
    of both signs, there are better ones. They are computed by a descent on the cross-entropy, with
    a fixed seed. A class that no row has gets the point 0; the others are treated as
    interchangeable and are renamed at every step, so that a few thousand rows suffice.

    Args:
        rows: scores of the classes; the largest is the answer, and rows with a tie are left out.
        dimensions: number of dimensions of the points.
    """
    ordered = np.sort(rows, axis=1)
    rows = rows[ordered[:, -1] > ordered[:, -2]]
    answers, used = rows.argmax(axis=1), (rows != 0).any(axis=0)
    rng = np.random.default_rng(0)
    points = 0.3 * rng.normal(size=(rows.shape[1], dimensions)) * used[:, None]
    mean, square = np.zeros_like(points), np.zeros_like(points)
    for step in range(_DESCENT_STEPS):
        batch, renamed = rng.integers(len(rows), size=_BATCH), np.arange(rows.shape[1])
        renamed[used] = rng.permutation(renamed[used])
        shuffled = np.zeros_like(rows, shape=(_BATCH, rows.shape[1]))
        shuffled[:, renamed] = rows[batch]
        gradient = _slope(points, shuffled, renamed[answers[batch]]) * used[:, None]
        # Adam, with a learning rate that falls to 0.
        mean = 0.9 * mean + 0.1 * gradient
        square = 0.999 * square + 0.001 * gradient**2
        rate = _RATE * (1 - step / _DESCENT_STEPS)
        scale = np.sqrt(square / (1 - 0.999 ** (step + 1))) + 1e-8
        points = points - rate * mean / (1 - 0.9 ** (step + 1)) / scale
    return points


def _slope(
    points: Points, rows: Float[np.ndarray, "batch classes"], answers: Int[np.ndarray, " batch"]
) -> Points:
    """The gradient of the answers' cross-entropy with respect to the points."""
    sums = rows @ points
    logits = sums @ points.T
    logits -= logits.max(axis=1, keepdims=True)
    errors = np.exp(logits)
    errors /= errors.sum(axis=1, keepdims=True)
    errors[np.arange(len(rows)), answers] -= 1
    return (rows.T @ (errors @ points) + errors.T @ sums) / len(rows)


def _score_rows(task: Task) -> Float[np.ndarray, "rows classes"]:
    """The distinct rows of scores of a program: clean, and with one node or edge interchanged.

    They are computed on training inputs, at the scored positions.
    """
    pairs = task.sample(_N_INPUTS, 0, split="train", counterfactual="random")
    base, source = pairs.input_ids, pairs.corrupted_input_ids
    scored, model = task.scored_positions(base), task.high_level
    found = [model.class_shares(base)]
    found += [model.class_shares(base, source, node) for node in model.nodes]
    found += [model.class_shares(base, source, edge=edge) for edge in model.edges]
    return np.unique(np.concatenate([np.asarray(rows)[scored] for rows in found]), axis=0)


def _normalised(points: Float[np.ndarray, "n dimensions"]) -> Float[np.ndarray, "n dimensions"]:
    return points / np.linalg.norm(points, axis=1, keepdims=True)

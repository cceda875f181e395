"""Recovery: how well scores rank one of several circuits that all compute the output."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float

from interpbench_jax.circuit import Circuit
from interpbench_jax.scores.levels import (
    Ranking,
    heard,
    importance,
    only_edges,
    promote_scores,
    read_values,
)
from interpbench_jax.scores.rank import average_precision, counted_in, truth_of
from interpbench_jax.universes import UNIVERSES, UniverseName


def recovery(
    scores: Ranking | Float[np.ndarray, " edges"],
    circuits: Sequence[Circuit],
    name: UniverseName | None = None,
    *,
    absolute: bool = True,
) -> Mapping[UniverseName, float | None]:
    """The average precision of edges against the minimal circuit that they agree with best.

    Where a program has copies of which some suffice, no single circuit is the truth: a method that
    finds two of three copies has found all that matters, and one that finds the third too has
    found nothing wrong. Edges of the program that a minimal circuit does without count neither as
    in it nor as outside. Where nothing can be spared, there is one circuit, and recovery is the
    average precision. The score is our own.

    Args:
        scores: a sweep's result or a method's scores; or one number for each edge of a universe,
            in its order.
        circuits: the minimal circuits, as `cases.minimal_circuits` returns them.
        name: the universe of the numbers, by default `"qkv"`; a result knows its own.
        absolute: whether importance is the absolute value instead of the value itself.

    Returns:
        The average precision by universe, from fine to coarse, in 0..1; None where no circuit has
        an edge that counts.

    Raises:
        ValueError: if there is no circuit, the scores are of nodes, or there is not one number for
            each edge.
    """
    if not circuits:
        raise ValueError("Expected at least one minimal circuit, got none.")
    values, name, level = read_values(scores, name, None)
    only_edges(level)
    values = importance(heard(scores, values), absolute)
    found: dict[UniverseName, float | None] = {}
    for coarser in UNIVERSES[UNIVERSES.index(name) :]:
        precisions = []
        for circuit in circuits:
            promoted = promote_scores(values, name, coarser, circuit.n_layers, circuit.n_heads)
            counts = counted_in(circuit, coarser, "edge")
            truth = truth_of(circuit, coarser, "edge")[counts]
            precisions += [average_precision(promoted[counts], truth)] if truth.any() else []
        found[coarser] = max(precisions, default=None)
    return found

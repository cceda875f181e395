"""The minimal circuits that compute a task's outputs, of which copies make several.

Of three copies of which the majority counts, any two will do: cutting one of them changes no
output, and cutting two does. A method that finds two has found all that matters. The circuits are
computed from the program alone, as the truth is (`cases.truth`).
"""

from collections.abc import Sequence
from itertools import combinations, compress
from typing import TYPE_CHECKING

import numpy as np

from interpbench_jax.cases.pairs import TaskPairs, in_pieces
from interpbench_jax.cases.task import Task
from interpbench_jax.cases.truth import (
    CLOSE,
    carried_differences,
    constant_edges,
    place_edges,
)
from interpbench_jax.circuit import Circuit

if TYPE_CHECKING:
    from interpbench_jax.high_level import HighLevelModel

_N_PAIRS = 256
_MOST_SPARE = 14


def minimal_circuits(task: Task, pairs: TaskPairs | None = None) -> tuple[Circuit, ...]:
    """Every minimal set of a program's edges that suffices for its outputs on some pairs.

    A set suffices if cutting all other edges of the program changes no output of any pair. It is
    minimal if none of its edges can be left out. There are several where the program has copies of
    which some suffice, as random tasks can have; `scores.recovery` scores against them. Our own.

    Args:
        task: the task.
        pairs: pairs of its inputs; the default is 256 that it draws with seed 0.

    Returns:
        Circuits with all edges that the program uses. Those that a circuit can do without are
        among its constant ones, so that scores count them neither as in it nor as outside.

    Raises:
        ValueError: if more than 14 edges could be spared one at a time, so that there are too many
            sets to try.
    """
    model = task.high_level
    pairs = task.sample(_N_PAIRS, 0) if pairs is None else pairs
    silent = constant_edges(model, pairs)
    differing = np.flatnonzero(carried_differences(model, pairs).any(axis=(0, 2)))
    spare = [i for i in differing.tolist() if model.edges[i] in silent]
    if len(spare) > _MOST_SPARE:
        raise ValueError(
            f"Expected a program of which at most {_MOST_SPARE} edges can be cut one at a time "
            f"without changing an output, got one with {len(spare)}."
        )
    constant = silent - {model.edges[i] for i in spare}
    return tuple(
        place_edges(task.config, task.edge_alignment, constant | {model.edges[i] for i in cut})
        for cut in _largest_cuts(model, pairs, spare)
    )


def _largest_cuts(
    model: "HighLevelModel", pairs: TaskPairs, spare: Sequence[int]
) -> list[frozenset[int]]:
    """The sets of edges that can be cut together, each as large as can be."""
    found: list[frozenset[int]] = []
    for size in range(len(spare), -1, -1):
        cuts = [
            cut
            for cut in map(frozenset, combinations(spare, size))
            if not any(cut < larger for larger in found)
        ]
        found += compress(cuts, _changes_nothing(model, pairs, cuts))
    return found


def _changes_nothing(
    model: "HighLevelModel", pairs: TaskPairs, cuts: Sequence[frozenset[int]]
) -> Sequence[bool]:
    """Whether each set of edges can be cut without changing an output."""
    if not cuts:
        return []
    plain, n = np.asarray(model.targets(pairs.input_ids)), len(pairs)
    masks = np.asarray([[i in cut for i in range(len(model.edges))] for cut in cuts])
    row = np.tile(np.arange(n), len(cuts))
    patched = in_pieces(
        lambda *piece: np.asarray(model.targets(piece[0], piece[1], edge=piece[2])),
        (pairs.input_ids[row], pairs.corrupted_input_ids[row], np.repeat(masks, n, axis=0)),
    )
    changes = (np.abs(patched - plain[row]) > CLOSE) & pairs.is_scored[row]
    return [not each.any() for each in changes.reshape(len(cuts), *pairs.is_scored.shape)]

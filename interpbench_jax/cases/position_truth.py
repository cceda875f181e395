"""The positions at which each edge of a task's program matters.

As in `cases.truth`, the high-level model is patched along one edge at a time with the value from
the other input of a pair, but at one position only: that at which the edge's reader reads it. For
an edge into a head's queries this is the position that attends, for one into its keys or values the
position that is attended to. An edge is in the circuit at a position if that changes the output
anywhere. Where a program attends by content, the positions depend on the input, so the answer of
every pair is kept.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from interpbench_jax.cases.pairs import TaskPairs, in_pieces
from interpbench_jax.cases.truth import CLOSE, carried_differences
from interpbench_jax.config import TransformerConfig
from interpbench_jax.position_truth import PositionTruth
from interpbench_jax.sites import Edge
from interpbench_jax.universes import universe

if TYPE_CHECKING:
    from interpbench_jax.high_level import HighLevelModel

# The number of pairs of inputs that decide, unless others are given.
N_POSITION_PAIRS = 256


def find_position_truth(
    config: TransformerConfig,
    edge_alignment: Mapping[Edge, Sequence[Edge]],
    model: "HighLevelModel",
    pairs: TaskPairs,
) -> PositionTruth:
    """The positions at which each edge of a program changes an output, for each of some pairs.

    Args:
        config: the config of the low-level model.
        edge_alignment: its fine edges that are aligned with each edge of the high-level model.
        model: the high-level model.
        pairs: pairs of inputs.

    Raises:
        ValueError: if there are no pairs.
    """
    if not len(pairs):
        raise ValueError("Expected at least one pair of inputs, got none.")
    edges = universe("qkv", config.n_layers, config.n_heads).edges
    numbers = {edge: number for number, edge in enumerate(edges)}
    shape = (len(pairs), len(edges), pairs.input_ids.shape[1])
    changes, differs = np.zeros(shape, bool), np.zeros(shape, bool)
    is_of_program = np.zeros(len(edges), bool)
    varies = carried_differences(model, pairs)
    plain = in_pieces(lambda base: _outputs(model, base), (pairs.input_ids,))
    for index, edge in enumerate(model.edges):
        changed = _changes(model, pairs, plain, index)
        for fine in edge_alignment[edge]:
            number = numbers[fine]
            is_of_program[number] = True
            changes[:, number] |= changed
            differs[:, number] |= varies[:, index]
    return PositionTruth(config.n_layers, config.n_heads, is_of_program, changes, differs)


def _outputs(model: "HighLevelModel", *arguments: np.ndarray | None) -> np.ndarray:
    """What two runs are compared by: `[rows, pos, values]`.

    Where a program sums scores, there are too many to compare; their answer is what counts.
    """
    if model.is_categorical and not model.adds_scores:
        return np.asarray(model.class_shares(*arguments))  # pyright: ignore[reportArgumentType]
    return np.asarray(model.targets(*arguments))[..., None]  # pyright: ignore[reportArgumentType]


def _changes(model: "HighLevelModel", pairs: TaskPairs, plain: np.ndarray, edge: int) -> np.ndarray:
    """Whether patching an edge at each position changes a scored output: `[pairs, pos]`.

    Args:
        model: the high-level model.
        pairs: the pairs.
        plain: the outputs of the plain runs, as `_outputs` gives them.
        edge: the edge's index in `model.edges`.
    """
    n_pairs, n_pos = pairs.input_ids.shape
    places = np.meshgrid(np.arange(n_pairs), np.arange(n_pos, dtype=np.int32), indexing="ij")

    def is_changed(row: np.ndarray, position: np.ndarray) -> np.ndarray:
        edges = np.full(len(row), edge, np.int32)
        inputs, others = pairs.input_ids[row], pairs.corrupted_input_ids[row]
        moved = _outputs(model, inputs, others, None, edges, position) - plain[row]
        changed = (np.abs(moved) > CLOSE).any(axis=-1)
        return np.asarray((changed & pairs.is_scored[row]).any(axis=1))

    row, position = (each.reshape(-1) for each in places)
    return in_pieces(is_changed, (row, position)).reshape(n_pairs, n_pos)

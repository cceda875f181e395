"""The edges that a task's program uses, and which of them no pair of inputs can reveal.

They are computed from the program alone, never from a model: the high-level model is patched along
one edge at a time with the value from the other input of a pair. An edge whose patch changes no
output of any pair is *constant*: it carries, for example, positions, which are the same in every
input, and no method that resamples can see it.
"""

from collections.abc import Mapping, Sequence, Set
from itertools import pairwise
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np

from interpbench_jax.cases.pairs import TaskPairs, in_pieces
from interpbench_jax.circuit import Circuit
from interpbench_jax.config import TransformerConfig
from interpbench_jax.sites import Edge

if TYPE_CHECKING:
    from interpbench_jax.high_level import HighLevelModel

TruthName = Literal["complete", "upstream"]
TRUTHS: tuple[TruthName, ...] = get_args(TruthName)

# The number of pairs of inputs that decide on constant edges.
N_PAIRS = 2048
# The number of pairs that show most edges to have an effect.
_FIRST = 32
# Two outputs closer than this count as equal; rows of a mean are exact to 1e-6.
CLOSE = 1e-4


def find_circuit(
    config: TransformerConfig,
    edge_alignment: Mapping[Edge, Sequence[Edge]],
    model: "HighLevelModel",
    pairs: TaskPairs,
    silent: Literal["constant", "out"] = "constant",
) -> Circuit:
    """The edges that a task's program uses, with the constant ones marked.

    Args:
        config: the config of the low-level model.
        edge_alignment: its fine edges that are aligned with each edge of the high-level model.
        model: the high-level model.
        pairs: pairs of inputs, as the task draws them.
        silent: the truth of edges that carry different values in the two inputs of a pair, and
            yet change no output of any.
    """
    constant, absent = constant_edges(model, pairs), frozenset[Edge]()
    if silent == "out":
        differing = carried_differences(model, pairs).any(axis=(0, 2))
        absent = constant.intersection(model.edges[i] for i in np.flatnonzero(differing))
    used = {edge: fine for edge, fine in edge_alignment.items() if edge not in absent}
    return place_edges(config, used, constant)


def place_edges(
    config: TransformerConfig,
    edge_alignment: Mapping[Edge, Sequence[Edge]],
    constant: Set[Edge],
) -> Circuit:
    """The circuit of a program's edges, some of which are constant.

    Args:
        config: the config of the low-level model.
        edge_alignment: its fine edges that are aligned with each edge of the program.
        constant: the program's edges that are constant; a fine edge is if all that it stands for
            are.
    """
    varies: dict[Edge, bool] = {}
    for edge, fine_edges in edge_alignment.items():
        for fine in fine_edges:
            varies[fine] = varies.get(fine, False) or edge not in constant
    return Circuit(
        config.n_layers,
        config.n_heads,
        edges=tuple(varies),
        constant=tuple(edge for edge, is_seen in varies.items() if not is_seen),
    )


def carried_differences(model: "HighLevelModel", pairs: TaskPairs) -> np.ndarray:
    """Whether each edge carries different values in the two inputs of a pair, at each position.

    Returns:
        bool of shape `[pairs, edges, pos]`, with the edges in the order of `model.edges`.
    """
    return in_pieces(
        lambda *piece: np.asarray(model.differs(*piece)),
        (pairs.input_ids, pairs.corrupted_input_ids),
    )


def constant_edges(model: "HighLevelModel", pairs: TaskPairs) -> frozenset[Edge]:
    """The edges of a high-level model whose patch changes no output of any pair.

    Most edges change an output of one of the first pairs; only the others are patched in the rest.
    """
    unchanged, plain = np.arange(len(model.edges)), _targets(model, pairs, 0, len(pairs), [-1])
    for start, stop in pairwise((0, min(_FIRST, len(pairs)), len(pairs))):
        if not len(unchanged) or start == stop:
            break
        patched = _targets(model, pairs, start, stop, unchanged)
        changes = np.abs(patched - plain[:, start:stop]) > CLOSE
        is_seen = (changes & pairs.is_scored[None, start:stop]).any(axis=(1, 2))
        unchanged = unchanged[~is_seen]
    return frozenset(model.edges[index] for index in unchanged)


def _targets(
    model: "HighLevelModel",
    pairs: TaskPairs,
    start: int,
    stop: int,
    edges: Sequence[int] | np.ndarray,
) -> np.ndarray:
    """The targets of some pairs with each of some edges patched, -1 for none: `[edges, rows, pos]`.

    They are computed for the same number of rows at a time, so that one program is compiled.
    """
    edge, row = (
        each.reshape(-1) for each in np.meshgrid(edges, np.arange(start, stop), indexing="ij")
    )
    found = in_pieces(
        lambda *piece: np.asarray(model.targets(piece[0], piece[1], edge=piece[2])),
        (pairs.input_ids[row], pairs.corrupted_input_ids[row], edge),
    )
    return found.reshape(len(edges), stop - start, -1)

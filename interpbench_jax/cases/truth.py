"""The edges that a task's program uses, and which of them no pair of inputs can reveal.

They are computed from the program alone, never from a model: the high-level model is patched along
one edge at a time with the value from the other input of a pair. An edge whose patch changes no
output of any pair is *constant*: it carries, for example, positions, which are the same in every
input, and no method that resamples can see it.
"""

from typing import TYPE_CHECKING, Literal, get_args

import numpy as np

from interpbench_jax.circuit import Circuit
from interpbench_jax.sites import Edge

if TYPE_CHECKING:
    from interpbench_jax.cases.task import Task

TruthName = Literal["complete", "upstream"]
TRUTHS: tuple[TruthName, ...] = get_args(TruthName)

_PAIRS = 2048
_SEED = 0
# Two numbers closer than this count as equal; rows of a mean are exact to 1e-6.
_CLOSE = 1e-4


def find_circuit(task: "Task") -> Circuit:
    """The edges that a task's program uses, with the constant ones marked."""
    constant = constant_edges(task)
    varies: dict[Edge, bool] = {}
    for edge, fine_edges in task.edge_alignment.items():
        for fine in fine_edges:
            varies[fine] = varies.get(fine, False) or edge not in constant
    config = task.config
    return Circuit(
        config.n_layers,
        config.n_heads,
        edges=tuple(varies),
        constant=tuple(edge for edge, is_seen in varies.items() if not is_seen),
    )


def constant_edges(task: "Task", n: int = _PAIRS, seed: int = _SEED) -> frozenset[Edge]:
    """The edges of a task's high-level model whose patch changes no output.

    Args:
        task: the task.
        n: number of pairs, drawn as the task draws them.
        seed: random seed for drawing pairs.
    """
    pairs, model = task.sample(n, seed), task.high_level
    edges = model.edges
    # All edges are patched at once, in one compiled program.
    base, source = (
        np.tile(ids, (len(edges), 1)) for ids in (pairs.input_ids, pairs.corrupted_input_ids)
    )
    patched = np.asarray(model.targets(base, source, edge=np.repeat(np.arange(len(edges)), n)))
    plain = np.asarray(model.targets(pairs.input_ids))
    changes = np.abs(patched.reshape(len(edges), *plain.shape) - plain[None]) > _CLOSE
    n_changed = (changes & pairs.is_scored[None]).sum(axis=(1, 2))
    return frozenset(edge for edge, count in zip(edges, n_changed, strict=True) if not count)

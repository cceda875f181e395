"""The circuit alone: accuracy while everything else is replaced at once."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int, Shaped

from interpbench_jax.axes import Replacement
from interpbench_jax.cases import Task
from interpbench_jax.certificates.parts import CircuitAlone
from interpbench_jax.certificates.rounding import round_share
from interpbench_jax.circuit import universe
from interpbench_jax.interventions import masked_forward, replacement_outputs
from interpbench_jax.masks import edge_mask
from interpbench_jax.model import Transformer
from interpbench_jax.sites import Kind, Node, readers, writers
from interpbench_jax.training.evaluation import CHUNK, is_right

_ABLATIONS = ("mean", "resample")


@dataclass(frozen=True)
class HeldOut:
    """Pairs that a model was not trained on, with the right answers.

    Attributes:
        base: inputs.
        source: as many others.
        targets: the program's outputs for the bases: classes, or numbers.
        atol: a regression output this close to its target counts as right.
        first_scored: the first position that counts.
    """

    base: Int[np.ndarray, "batch pos"]
    source: Int[np.ndarray, "batch pos"]
    targets: Shaped[np.ndarray, "batch pos"]
    atol: float
    first_scored: int

    def first(self, n: int) -> "HeldOut":
        """The first pairs, at most `n`."""
        return self._rows(np.arange(min(n, len(self.base))))

    def chunks(self) -> Iterator[tuple["HeldOut", int]]:
        """Pairs in parts of one size, each with how many count; the rest fill up the last."""
        size = min(CHUNK, len(self.base))
        for start in range(0, len(self.base), size):
            rows = np.minimum(np.arange(start, start + size), len(self.base) - 1)
            yield self._rows(rows), min(size, len(self.base) - start)

    def _rows(self, rows: Int[np.ndarray, " rows"]) -> "HeldOut":
        return replace(
            self, base=self.base[rows], source=self.source[rows], targets=self.targets[rows]
        )


def measure_alone(model: Transformer, task: Task, pairs: HeldOut) -> tuple[float, CircuitAlone]:
    """Accuracy while everything outside the circuit is replaced at once.

    The masks are `nodes_mask` and `edges_mask`. As in every masked run the biases `b_O`, which
    belong to no head, stay; an MLP's output is replaced with its bias. Means are over the source
    inputs, for each position.

    Returns:
        The share of bases at all of whose scored positions the output of the plain
        run is right; and the shares of right outputs of the masked runs.

    Raises:
        ValueError: if the task's model has another shape.
    """
    mean = _mean_outputs(model, pairs)
    masks = {"nodes": nodes_mask(task), "edges": edges_mask(task)}
    nothing_cut = np.ones_like(masks["nodes"])
    right = dict.fromkeys([f"{level}_{name}" for level in masks for name in _ABLATIONS], 0)
    whole = 0
    for part, n in pairs.chunks():
        resampled = replacement_outputs(model, part.source)
        # Of one shape, so that the masked forward compiles once.
        replacements = dict(
            zip(_ABLATIONS, (jnp.broadcast_to(mean, resampled.shape), resampled), strict=True)
        )

        def judge(
            mask: Float[np.ndarray, "dst src"], replacement: Replacement, part: HeldOut = part
        ) -> np.ndarray:
            logits = masked_forward(model, part.base, mask, replacement)
            right = is_right(logits, part.targets, part.atol)
            return np.asarray(right)[:, part.first_scored :]

        whole += int(judge(nothing_cut, resampled)[:n].all(axis=1).sum())
        for level, mask in masks.items():
            for name, replacement in replacements.items():
                right[f"{level}_{name}"] += int(judge(mask, replacement)[:n].sum())
    scored = pairs.base[:, pairs.first_scored :].size
    shares = {name: round_share(count / scored) for name, count in right.items()}
    return round_share(whole / len(pairs.base)), CircuitAlone(**shares)


def nodes_mask(task: Task) -> Float[np.ndarray, "dst src"]:
    """0 for every reader of a head or an MLP outside the circuit, 1 elsewhere.

    So the embeddings are read as they are, by everything.
    """
    shape = (task.config.n_layers, task.config.n_heads)
    mask = np.ones((len(readers(*shape)), len(writers(*shape))), np.float32)
    outside = {_as_writer(node) for node in task.nodes_not_in_circuit}
    mask[:, [node in outside for node in writers(*shape)]] = 0
    return mask


def edges_mask(task: Task) -> Float[np.ndarray, "dst src"]:
    """1 on the fine edges that the circuit stands for in the `head` universe, 0 elsewhere.

    The circuit is `task.complete_circuit`. `task.circuit`, InterpBench's list, would not do: for
    four cases (8, 13, 19, 38) it lacks the edge by which the first MLP reads the tokens, and no
    model can do such a task without it. The universe is `head`, where q, k and v are one reader
    and the two embeddings one writer, because training interchanges whole nodes: which input of
    a head reads a variable, and from which embedding a head tells BOS, is left to the model.
    """
    circuit, config = task.complete_circuit, task.config
    members = universe("head", config.n_layers, config.n_heads).members
    kept = {fine for edge in circuit.in_universe("head") for fine in members[edge]}
    # A program that outputs what it reads has an edge that this universe lacks.
    return edge_mask(kept | circuit.fine_edges, config.n_layers, config.n_heads)


def _as_writer(node: Node) -> Node:
    """The node by the name under which it writes to the residual stream."""
    return Node(Kind.MLP_OUT, node.layer) if node.kind is Kind.MLP_POST else node


def _mean_outputs(model: Transformer, pairs: HeldOut) -> Replacement:
    """Mean of what every writer writes on the sources: `[src, pos, d_model, 1]`."""
    total = 0.0
    for part, n in pairs.chunks():
        outputs = np.asarray(replacement_outputs(model, part.source))[..., :n]
        total = total + outputs.sum(axis=-1, keepdims=True, dtype=np.float64)
    return jnp.asarray(total / len(pairs.base), model.dtype)

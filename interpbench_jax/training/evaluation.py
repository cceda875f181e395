"""How well a model does what its program says: accuracy, IIA and strict accuracy.

Each is the share of scored positions with the right output, over pairs of a base and a source
input. An output is right if its class is the program's, or its number is within `atol` of the
program's. Where the program's own output is several classes at once (under an interchange,
attention may take the mean of several values), the position is not scored.

Sources: interchange intervention accuracy, Geiger et al. 2022 (arXiv:2112.00826);
strict accuracy, Gupta et al. 2024 (arXiv:2407.14494).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import combinations, compress, islice
from typing import NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Shaped

from interpbench_jax.axes import Logits
from interpbench_jax.cases import Split, Task
from interpbench_jax.model import Transformer
from interpbench_jax.sites import Edge, Node
from interpbench_jax.targets import Targets, is_scored, unscored
from interpbench_jax.training.arrays import task_interchanges
from interpbench_jax.training.interchange import (
    first_position_used,
    node_mask,
    run,
    run_interchanged,
    run_with_cut_edges,
    written,
)

NamedItem = TypeVar("NamedItem")

# Most examples per chunk: on a CPU, chunks that fit the cache are fastest.
CHUNK = 512
# At most this many sets of components are interchanged jointly; of more, as many are drawn.
MOST_JOINT = 64


@dataclass(frozen=True)
class Accuracies:
    """Shares of right outputs, from 0 to 1.

    Attributes:
        accuracy: share in clean runs.
        iia: share, by component of the program, in runs in which its aligned nodes carry the
            source's values, compared with the program under the same interchange.
        joint: the same share, by set of two or more components, in runs in which all of them are
            interchanged: every set if there are at most `MOST_JOINT`, else as many at random.
        edges: share, by edge of the program, in runs in which it alone carries what its writer
            wrote on the source, compared with the program under the same interchange.
        strict: share, by node outside the circuit, in runs in which it carries the source's
            value, compared with the program's unchanged output.
        outside_edges: share in runs in which all edges outside the circuit carry the source's
            values at once, compared with the program's unchanged output; None for a task with a
            leak, whose edges outside change the output.
    """

    accuracy: float
    iia: Mapping[Node, float]
    joint: Mapping[tuple[Node, ...], float]
    edges: Mapping[Edge, float]
    strict: Mapping[Node, float]
    outside_edges: float | None

    @property
    def lowest_iia(self) -> float:
        """The lowest IIA of a component; 1 if the program has none."""
        return min(self.iia.values(), default=1.0)

    @property
    def lowest_joint(self) -> float:
        """The lowest accuracy of a set of components; 1 if the program has fewer than two."""
        return min(self.joint.values(), default=1.0)

    @property
    def lowest_edge(self) -> float:
        """The lowest accuracy of an edge of the program; 1 if it has none."""
        return min(self.edges.values(), default=1.0)

    @property
    def lowest_cut(self) -> float:
        """The lowest share of the runs with edges cut: one of the program's, or all others."""
        outside = 1.0 if self.outside_edges is None else self.outside_edges
        return min(self.lowest_edge, outside)

    @property
    def lowest_strict(self) -> float:
        """The lowest accuracy of a node outside the circuit; 1 if there are none."""
        return min(self.strict.values(), default=1.0)

    @property
    def lowest(self) -> float:
        """The lowest of all these accuracies."""
        return min(
            self.accuracy,
            self.lowest_iia,
            self.lowest_joint,
            self.lowest_cut,
            self.lowest_strict,
        )


class Questions(NamedTuple):
    """Pairs of inputs and the right answers, in chunks.

    The runs are the clean one, then `len(nodes)` runs with nodes interchanged, then `len(cuts)`
    runs with edges cut.

    Attributes:
        base: token ids of the base inputs, `[chunks, batch, pos]`.
        source: token ids of the source inputs, `[chunks, batch, pos]`.
        targets: the right answers; `targets.unscored` at positions that are not scored.
        nodes: the nodes that each run replaces.
        cuts: the edges that each run cuts.
    """

    base: Int[Array, "chunks batch pos"]
    source: Int[Array, "chunks batch pos"]
    targets: Shaped[Array, "chunks runs batch pos"]
    nodes: Bool[Array, "interchanges layers nodes"]
    cuts: Bool[Array, "cut_runs dst src"]


@dataclass(frozen=True, eq=False)
class Examination:
    """Pairs of one task with the right answers on them, for any number of models.

    Attributes:
        components: the program's components, in the order of `Task.alignment`.
        joint: the sets of components that are interchanged together.
        outside: the nodes outside the circuit.
        edges: the program's edges, in the order of `Task.edge_alignment`.
        questions: the pairs and the right answers as arrays.
        atol: largest error with which a regression output still counts as right.
        first_scored: the first scored position.
    """

    components: tuple[Node, ...]
    joint: tuple[tuple[Node, ...], ...]
    outside: tuple[Node, ...]
    edges: tuple[Edge, ...]
    questions: Questions
    atol: float
    first_scored: int = 1

    @cached_property
    def layers(self) -> tuple[int, ...]:
        """For each run with nodes interchanged, the first layer that it changes."""
        touched = np.asarray(self.questions.nodes).any(axis=2)
        return tuple(int(layer) for layer in touched.argmax(axis=1))

    def read(self, shares: np.ndarray) -> Accuracies:
        """Return the shares of all runs by name."""
        values = iter([float(share) for share in shares])
        # The arguments are in the order of the questions' runs.
        return Accuracies(
            accuracy=next(values),
            iia=_named(self.components, values),
            joint=_named(self.joint, values),
            strict=_named(self.outside, values),
            edges=_named(self.edges, values),
            outside_edges=next(values, None),
        )

    def __call__(self, model: Transformer) -> Accuracies:
        """Examine one model."""
        shares = _jitted_shares(model, self.questions, self.layers, self.atol, self.first_scored)
        return self.read(np.asarray(shares))


def prepare_examination(
    task: Task, base: np.ndarray, source: np.ndarray, atol: float | None = None
) -> Examination:
    """Compute the right answers on these pairs.

    Args:
        task: the task.
        base: the base inputs, int32 `[n, pos]`.
        source: the source inputs, of the same shape.
        atol: largest error with which a regression output still counts as right; the default is
            the recipe's.

    Raises:
        ValueError: if there are no pairs, their shapes differ, or the task's model is too small
            for its program.
    """
    if not len(base) or base.shape != source.shape:
        raise ValueError(
            f"Expected pairs of inputs of one shape, got {base.shape} and {source.shape}."
        )
    components, outside = tuple(task.alignment), task.nodes_not_in_circuit
    joint, edges = joint_sets(components), tuple(task.edge_alignment)
    is_scored = task.scored_positions(base)
    plain = _answers(task, is_scored, base)
    swapped = partial(_answers, task, is_scored, base, source)
    answers = [plain]
    answers += [swapped(node) for node in components]
    answers += [swapped(nodes) for nodes in joint]
    answers += [plain] * len(outside)
    answers += [swapped(None, edge) for edge in edges]
    interchanges = task_interchanges(task)
    cuts = [*interchanges.program_edges]
    if task.leak is None:
        answers.append(plain)
        cuts.append(interchanges.outside_edges)
    together = [tuple(n for each in nodes for n in task.alignment[each]) for nodes in joint]
    replaced = [*task.alignment.values(), *together, *((node,) for node in outside)]
    n_chunks = -(-len(base) // CHUNK)
    # Chunks of equal size, so that few pairs are not padded to a whole chunk.
    rows = np.arange(n_chunks * -(-len(base) // n_chunks)).reshape(n_chunks, -1)
    chosen = np.minimum(rows, len(base) - 1)
    targets = np.stack(answers)[:, chosen]
    targets[:, rows >= len(base)] = unscored(targets.dtype)
    questions = Questions(
        base=jnp.asarray(base[chosen]),
        source=jnp.asarray(source[chosen]),
        targets=jnp.asarray(targets.transpose(1, 0, 2, 3)),
        nodes=jnp.asarray(np.stack([node_mask(task.config, nodes) for nodes in replaced])),
        cuts=jnp.stack(cuts),
    )
    atol = task.recipe.atol if atol is None else atol
    first = task.first_scored
    return Examination(components, joint, outside, edges, questions, atol, first)


def joint_sets(components: Sequence[Node]) -> tuple[tuple[Node, ...], ...]:
    """The sets of two or more components to interchange together.

    All of them are returned if there are at most `MOST_JOINT`; otherwise as many different ones,
    drawn uniformly with a fixed seed.
    """
    n = len(components)
    if 2**n - 1 - n <= MOST_JOINT:
        sizes = range(2, n + 1)
        return tuple(each for size in sizes for each in combinations(components, size))
    rng, found = np.random.default_rng(0), {}
    while len(found) < MOST_JOINT:
        chosen = rng.random(n) < 0.5
        if chosen.sum() > 1:
            found[tuple(compress(components, chosen))] = None
    return tuple(found)


def _named(names: Sequence[NamedItem], values: Iterator[float]) -> dict[NamedItem, float]:
    return dict(zip(names, islice(values, len(names)), strict=True))


def _answers(
    task: Task,
    is_scored: np.ndarray,
    base: np.ndarray,
    source: np.ndarray | None = None,
    node: Node | tuple[Node, ...] | None = None,
    edge: Edge | None = None,
) -> np.ndarray:
    """The program's answers; positions that are unscored or mix several classes have none."""
    model = task.high_level
    answers = np.array(model.targets(base, source, node, edge))
    if model.is_categorical:
        is_scored = is_scored & ~np.asarray(model.is_mixed(base, source, node, edge))
    answers[~is_scored] = unscored(answers.dtype)
    return answers


def held_out_pairs(
    task: Task, n: int, seed: int, split: Split = "test"
) -> tuple[np.ndarray, np.ndarray]:
    """Draw base and source inputs that no model was trained on, uniformly: int32 `[n, pos]`."""
    pairs = task.sample(n, seed, split=split, counterfactual="random")
    return pairs.input_ids, pairs.corrupted_input_ids


def is_right(logits: Logits, targets: Targets, atol: float) -> Bool[Array, "batch pos"]:
    """Whether each output is right: the program's class, or a number within `atol` of its own."""
    if logits.shape[-1] == 1:
        return jnp.abs(logits[..., 0] - targets.astype(logits.dtype)) <= atol
    # argmax would choose a NaN among the logits, and a NaN is no answer.
    chosen = logits.argmax(axis=-1).astype(targets.dtype)
    return (chosen == targets) & ~jnp.isnan(logits).any(axis=-1)


def shares_right(
    model: Transformer,
    questions: Questions,
    layers: tuple[int, ...],
    atol: float,
    first_scored: int = 1,
) -> Float[Array, " runs"]:
    """Return the share of right outputs in each run. The function can be traced.

    Args:
        model: the model.
        questions: the pairs and the right answers.
        layers: for each run with nodes interchanged, the first layer that it changes
            (`Examination.layers`).
        atol: largest error with which a regression output still counts as right.
        first_scored: the first scored position.
    """
    batch = questions.base.shape[1]
    # Edges are cut at every position.
    first_used = 0 if len(questions.cuts) else first_position_used(first_scored)

    def count(logits: Array, targets: Array) -> Array:
        right = is_right(logits, targets[:, first_used:], atol)
        return (right & is_scored(targets)[:, first_used:]).sum()

    def count_chunk(chunk: tuple[Array, ...]) -> tuple[Array, Array]:
        base, source, targets = chunk
        clean, other = run(model, base, first_used), run(model, source, first_used)
        counts = [count(clean.logits, targets[0])]
        counts += [counts[0]] * len(layers)
        for layer in sorted(set(layers)):
            here = [i for i, first in enumerate(layers) if first == layer]

            def count_nodes(i: Array, layer: int = layer) -> Array:
                mask = jnp.broadcast_to(questions.nodes[i], (batch, *questions.nodes.shape[1:]))
                stream, is_real = clean.streams[layer], clean.is_real
                logits = run_interchanged(model, stream, other.values, mask, layer, is_real)
                return count(logits, targets[1 + i])

            for i, found in zip(here, jax.lax.map(count_nodes, jnp.asarray(here)), strict=True):
                counts[1 + i] = found
        counts = jnp.stack(counts)
        if len(questions.cuts):
            others = written(model, source, other.values)

            def count_edges(given: tuple[Array, Array]) -> Array:
                cut, wanted = given
                cuts = jnp.broadcast_to(cut, (batch, *cut.shape))
                return count(run_with_cut_edges(model, base, others, cuts), wanted)

            runs = (questions.cuts, targets[len(counts) :])
            counts = jnp.concatenate([counts, jax.lax.map(count_edges, runs)])
        return counts, is_scored(targets).sum(axis=(1, 2))

    parts = (questions.base, questions.source, questions.targets)
    counts, scored = jax.lax.map(count_chunk, parts)
    shares = counts.sum(axis=0).astype(jnp.float32) / scored.sum(axis=0).astype(jnp.float32)
    # If no position is scored, no output is wrong.
    return jnp.where(scored.sum(axis=0) > 0, shares, 1.0)


_jitted_shares = jax.jit(shares_right, static_argnames=("layers", "atol", "first_scored"))

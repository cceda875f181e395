"""How well a model does what its program says: accuracy, IIA, strict accuracy.

Each is a share of scored positions over pairs of a base and a source input. An
output is right where its class is the program's, or its number within `atol` of it.

Sources: interchange intervention accuracy, Geiger et al. 2022 (arXiv:2112.00826, section 3);
strict accuracy, Gupta et al. 2024 (arXiv:2407.14494, section 3).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Shaped

from interpbench_jax.axes import Logits
from interpbench_jax.cases import Split, Task
from interpbench_jax.metrics import Targets
from interpbench_jax.model import Transformer
from interpbench_jax.sites import Node
from interpbench_jax.training.interchange import (
    first_position_used,
    node_mask,
    run,
    run_interchanged,
)

# Examples at a time: what fits a processor's cache is fastest there.
CHUNK = 512


@dataclass(frozen=True)
class Accuracies:
    """Shares of right outputs, from 0 to 1.

    Attributes:
        accuracy: of plain runs.
        iia: by component of the program, of runs in which its aligned nodes carry the source's
            values, against the program under the same interchange.
        strict: by node outside the circuit, of runs in which it carries the source's value,
            against the program's unchanged output.
    """

    accuracy: float
    iia: Mapping[Node, float]
    strict: Mapping[Node, float]

    @property
    def lowest_iia(self) -> float:
        """The lowest over the components; 1 where the program has none."""
        return min(self.iia.values(), default=1.0)

    @property
    def lowest_strict(self) -> float:
        """The lowest over the nodes outside the circuit; 1 where there are none."""
        return min(self.strict.values(), default=1.0)

    @property
    def lowest(self) -> float:
        """The lowest of all."""
        return min(self.accuracy, self.lowest_iia, self.lowest_strict)


class Questions(NamedTuple):
    """Pairs of inputs and the right answers, in chunks.

    Attributes:
        base: `[chunks, batch, pos]`.
        source: `[chunks, batch, pos]`.
        targets: of the plain runs, then under interchange of each component.
        masks: the nodes that each component, then each node outside, replaces.
        is_real: False for the rows that fill up the last chunk.
    """

    base: Int[Array, "chunks batch pos"]
    source: Int[Array, "chunks batch pos"]
    targets: Shaped[Array, "chunks runs batch pos"]
    masks: Bool[Array, "interchanges layers nodes"]
    is_real: Bool[Array, "chunks batch"]


@dataclass(frozen=True, eq=False)
class Examination:
    """Pairs of one task with all that a model is to answer on them, for any number of models.

    Attributes:
        components: of the program, in the order of `Task.alignment`.
        outside: the nodes outside the circuit.
        questions: as arrays.
        atol: a regression output this close to its target counts as right.
        first_scored: the first position that counts.
    """

    components: tuple[Node, ...]
    outside: tuple[Node, ...]
    questions: Questions
    atol: float
    first_scored: int = 1

    @cached_property
    def layers(self) -> tuple[int, ...]:
        """For each interchange the first layer that it changes."""
        touched = np.asarray(self.questions.masks).any(axis=2)
        return tuple(int(layer) for layer in touched.argmax(axis=1))

    def read(self, shares: np.ndarray) -> Accuracies:
        """Shares by name."""
        values = [float(share) for share in shares]
        n = 1 + len(self.components)
        return Accuracies(
            accuracy=values[0],
            iia=dict(zip(self.components, values[1:n], strict=True)),
            strict=dict(zip(self.outside, values[n:], strict=True)),
        )

    def __call__(self, model: Transformer) -> Accuracies:
        """Examine one model."""
        shares = _jitted_shares(model, self.questions, self.layers, self.atol, self.first_scored)
        return self.read(np.asarray(shares))


def prepare_examination(
    task: Task, base: np.ndarray, source: np.ndarray, atol: float | None = None
) -> Examination:
    """Work out what a model is to answer on these pairs.

    Args:
        task: the task.
        base: int32 `[n, pos]`, of the task's full length.
        source: as many others.
        atol: a regression output this close to its target counts as right; by default the
            recipe's.

    Raises:
        ValueError: if there are no pairs, their shapes differ, or the task's model is too small
            for its program.
    """
    if not len(base) or base.shape != source.shape:
        raise ValueError(
            f"Expected pairs of inputs of one shape, got {base.shape} and {source.shape}."
        )
    components, outside = tuple(task.alignment), task.nodes_not_in_circuit
    high_level = task.high_level
    answers = [high_level.targets(base)]
    answers += [high_level.targets(base, source, node) for node in components]
    replaced = [*task.alignment.values(), *((node,) for node in outside)]
    masks = np.stack([node_mask(task.config, nodes) for nodes in replaced])
    rows = np.arange(-(-len(base) // CHUNK) * CHUNK)
    chosen = jnp.asarray(np.minimum(rows, len(base) - 1).reshape(-1, min(CHUNK, len(rows))))
    questions = Questions(
        base=jnp.asarray(base)[chosen],
        source=jnp.asarray(source)[chosen],
        targets=jnp.stack(answers)[:, chosen].transpose(1, 0, 2, 3),
        masks=jnp.asarray(masks),
        is_real=jnp.asarray(rows < len(base)).reshape(chosen.shape),
    )
    atol = task.recipe.atol if atol is None else atol
    return Examination(components, outside, questions, atol, task.first_scored)


def held_out_pairs(
    task: Task, n: int, seed: int, split: Split = "test"
) -> tuple[np.ndarray, np.ndarray]:
    """Bases and sources that no model was trained on, int32 `[n, pos]`, drawn uniformly."""
    pairs = task.sample(n, seed, split=split, counterfactual="random")
    return pairs.input_ids, pairs.corrupted_input_ids


def is_right(logits: Logits, targets: Targets, atol: float) -> Bool[Array, "batch pos"]:
    """Whether each output is the program's: its class, or its number within `atol`."""
    if logits.shape[-1] == 1:
        return jnp.abs(logits[..., 0] - targets.astype(logits.dtype)) <= atol
    # The largest of logits with a nan among them is that nan, which is no answer.
    chosen = logits.argmax(axis=-1).astype(targets.dtype)
    return (chosen == targets) & ~jnp.isnan(logits).any(axis=-1)


def shares_right(
    model: Transformer,
    questions: Questions,
    layers: tuple[int, ...],
    atol: float,
    first_scored: int = 1,
) -> Float[Array, " runs"]:
    """Shares of right outputs: the plain run's, then each interchange's. May be traced.

    Args:
        model: the model.
        questions: what it is asked.
        layers: for each interchange the first layer that it changes (`Examination.layers`).
        atol: a regression output this close to its target counts as right.
        first_scored: the first position that counts.
    """
    n_components = questions.targets.shape[1] - 1
    batch, n_pos = questions.base.shape[1:]
    first_used = first_position_used(first_scored)

    def count(logits: Array, targets: Array, is_real: Array) -> Array:
        right = is_right(logits, targets[:, first_used:], atol)[:, first_scored - n_pos :]
        return (right & is_real[:, None]).sum()

    def count_chunk(chunk: tuple[Array, ...]) -> Array:
        base, source, targets, is_real = chunk
        clean, other = run(model, base, first_used), run(model, source, first_used)
        counts = [count(clean.logits, targets[0], is_real)]
        counts += [counts[0]] * len(layers)
        for layer in sorted(set(layers)):
            here = [i for i, first in enumerate(layers) if first == layer]

            def count_one(i: Array, layer: int = layer) -> Array:
                mask = jnp.broadcast_to(questions.masks[i], (batch, *questions.masks.shape[1:]))
                logits = run_interchanged(model, clean.streams[layer], other.values, mask, layer)
                wanted = targets[jnp.where(i < n_components, i + 1, 0)]
                return count(logits, wanted, is_real)

            for i, found in zip(here, jax.lax.map(count_one, jnp.asarray(here)), strict=True):
                counts[1 + i] = found
        return jnp.stack(counts)

    parts = (questions.base, questions.source, questions.targets, questions.is_real)
    counts = jax.lax.map(count_chunk, parts).sum(axis=0)
    scored = questions.is_real.sum() * (n_pos - first_scored)
    return counts.astype(jnp.float32) / scored.astype(jnp.float32)


_jitted_shares = jax.jit(shares_right, static_argnames=("layers", "atol", "first_scored"))

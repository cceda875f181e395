"""The circuit alone: accuracy when everything outside it is replaced at once."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int, Shaped

from interpbench_jax.axes import Replacement
from interpbench_jax.cases import Task
from interpbench_jax.certificates.parts import CircuitAlone
from interpbench_jax.certificates.rounding import round_share
from interpbench_jax.interventions import masked_forward, replacement_outputs
from interpbench_jax.model import Transformer
from interpbench_jax.names import MetricName
from interpbench_jax.sites import as_writer, readers, writers
from interpbench_jax.targets import answers, is_scored
from interpbench_jax.training.evaluation import CHUNK, is_right

_ABLATIONS = ("mean", "resample")


@dataclass(frozen=True)
class HeldOut:
    """Pairs of inputs that a model was not trained on, with the right answers.

    Attributes:
        base: the base inputs.
        source: the source inputs, one for each base.
        compared: the targets of the case's metric: the program's outputs for the bases, as classes
            or numbers; in a language task, each with its distractor. They are
            `targets.unscored` at positions that do not count.
        metric: the case's metric.
        atol: the tolerance: a regression output this close to its target counts as right.
    """

    base: Int[np.ndarray, "batch pos"]
    source: Int[np.ndarray, "batch pos"]
    compared: Shaped[np.ndarray, "batch pos *pair"]
    metric: MetricName
    atol: float

    @property
    def targets(self) -> Shaped[np.ndarray, "batch pos"]:
        """The program's outputs for the bases, without distractors."""
        return np.asarray(answers(self.compared))

    def first(self, n: int) -> "HeldOut":
        """The first `n` pairs, or all of them if there are fewer."""
        return self._rows(np.arange(min(n, len(self.base))))

    def chunks(self) -> Iterator[tuple["HeldOut", int]]:
        """Yield chunks of one size, each with its number of pairs; the last may end in padding."""
        size = min(CHUNK, len(self.base))
        for start in range(0, len(self.base), size):
            rows = np.minimum(np.arange(start, start + size), len(self.base) - 1)
            yield self._rows(rows), min(size, len(self.base) - start)

    def _rows(self, rows: Int[np.ndarray, " rows"]) -> "HeldOut":
        return replace(
            self,
            base=self.base[rows],
            source=self.source[rows],
            compared=self.compared[rows],
        )


def measure_alone(model: Transformer, task: Task, pairs: HeldOut) -> tuple[float, CircuitAlone]:
    """Measure accuracy when everything outside the circuit is replaced at once.

    The masks are `nodes_mask` and `edges_mask`. As in every masked run, the biases `b_O`, which
    belong to no head, are kept; an MLP's output is replaced together with its bias. Means are
    taken over the source inputs, at each position.

    Returns:
        The share of bases for which the plain run is right at every scored position, and the
        shares of right outputs in the masked runs.

    Raises:
        ValueError: if the model does not have the shape of the task's model.
    """
    mean = _mean_outputs(model, pairs)
    masks = {"nodes": nodes_mask(task), "edges": edges_mask(task)}
    nothing_cut = np.ones_like(masks["nodes"])
    right = dict.fromkeys([f"{level}_{name}" for level in masks for name in _ABLATIONS], 0)
    whole = counted = 0
    for part, n in pairs.chunks():
        resampled = replacement_outputs(model, part.source)
        # Both have the same shape, so that the masked forward compiles once.
        replacements = dict(
            zip(_ABLATIONS, (jnp.broadcast_to(mean, resampled.shape), resampled), strict=True)
        )

        scored = np.asarray(is_scored(part.targets))[:n]

        def judge(
            mask: Float[np.ndarray, "dst src"],
            replacement: Replacement,
            part: HeldOut = part,
            n: int = n,
        ) -> np.ndarray:
            logits = masked_forward(model, part.base, mask, replacement)
            return np.asarray(is_right(logits, part.targets, part.atol))[:n]

        counted += int(scored.sum())
        whole += int((judge(nothing_cut, resampled) | ~scored).all(axis=1).sum())
        for level, mask in masks.items():
            for name, replacement in replacements.items():
                right[f"{level}_{name}"] += int(judge(mask, replacement)[scored].sum())
    shares = {name: round_share(count / counted) for name, count in right.items()}
    return round_share(whole / len(pairs.base)), CircuitAlone(**shares)


def nodes_mask(task: Task) -> Float[np.ndarray, "dst src"]:
    """A mask that is 0 where a head or an MLP outside the circuit is read, 1 elsewhere.

    Every reader therefore sees the embeddings unchanged.
    """
    shape = (task.config.n_layers, task.config.n_heads)
    mask = np.ones((len(readers(*shape)), len(writers(*shape))), np.float32)
    outside = {as_writer(node) for node in task.nodes_not_in_circuit}
    mask[:, [node in outside for node in writers(*shape)]] = 0
    return mask


def edges_mask(task: Task) -> Float[np.ndarray, "dst src"]:
    """A mask: 1 on the fine edges of `task.complete_circuit`, also constant ones, 0 elsewhere."""
    return task.complete_circuit.mask()


def _mean_outputs(model: Transformer, pairs: HeldOut) -> Replacement:
    """The mean output of every writer over the source inputs: `[1, pos, src, d_model]`."""
    total = 0.0
    for part, n in pairs.chunks():
        outputs = np.asarray(replacement_outputs(model, part.source))[:n]
        total = total + outputs.sum(axis=0, keepdims=True, dtype=np.float64)
    return jnp.asarray(total / len(pairs.base), model.dtype)

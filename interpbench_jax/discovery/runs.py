"""A model on a method's inputs: chunks of them, and sums over all chunks.

On a CPU the chunks are shared among threads, because XLA alone does not keep several cores busy
on models of this size.
"""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from interpbench_jax.discovery.method import DiscoveryData
from interpbench_jax.engine.backward import Group, LogitsMetric, Replacements, scored
from interpbench_jax.engine.clean import PlainRun, run_plain
from interpbench_jax.engine.programs import default_workers, run_calls
from interpbench_jax.engine.weights import Form, Weights, hide_padding, stack_weights
from interpbench_jax.layout import Layout
from interpbench_jax.metrics import Metric, by_class
from interpbench_jax.model import Transformer, check_tokens
from interpbench_jax.targets import Targets, check_targets

_MOST_INPUTS = 1024


@dataclass(frozen=True)
class MethodScoring:
    """How a run becomes a number; part of the compiled programs.

    Attributes:
        form: of the model.
        metric: the metric.
        first_scored: the first position that it looks at.
    """

    form: Form
    metric: Metric
    first_scored: int


class Chunk(NamedTuple):
    """Some inputs, and what their runs start from.

    Attributes:
        run: the clean run.
        replacement: what takes the place of every writer's output.
        targets: for the metric.
        share: 1 for an input, 0 for a row that only fills up.
    """

    run: PlainRun
    replacement: Replacements
    targets: Targets
    share: Float[Array, " batch"]

    @property
    def embedded(self) -> Float[Array, "2 d_model pos batch"]:
        """What the two embeddings write."""
        return self.run.outputs[:2]

    def metric(self, scoring: MethodScoring) -> LogitsMetric:
        """The metric, of logits alone."""
        return scored(by_class(scoring.metric), scoring.first_scored, self.run.logits, self.targets)

    def change(self, layout: Layout) -> tuple[Group, ...]:
        """What cutting each writer changes in the clean run, in the groups of `Point.change`."""
        change = self.run.outputs - self.replacement
        return tuple(change[group] for group in layout.writer_groups())


RunFunction = Callable[..., Any]


@dataclass(frozen=True)
class Runs:
    """A model's clean runs on all inputs of a method.

    Attributes:
        scoring: how runs become numbers.
        weights: the model's, on the device.
        chunks: the inputs.
        n_inputs: how many there are.
        layout: of the model.
        workers: threads that share the chunks.
    """

    scoring: MethodScoring
    weights: Weights
    chunks: tuple[Chunk, ...]
    n_inputs: int
    layout: Layout
    workers: int

    def each(self, function: RunFunction, static: tuple[Hashable, ...], *arrays: Any) -> list[Any]:
        """`function(scoring, *static, weights, chunk, *arrays)` for every chunk.

        Arrays that differ between chunks come as a list, one for each chunk.
        """
        return self.each_of(function, static, [arrays])[0]

    def each_of(
        self,
        function: RunFunction,
        static: tuple[Hashable, ...],
        variants: Sequence[tuple[Any, ...]],
    ) -> list[list[Any]]:
        """`each`, for several sets of arrays of the same shapes."""
        seen = [hide_padding(self.weights, chunk.run.is_real) for chunk in self.chunks]
        calls = [
            (seen[i], chunk, *(_on_device(x[i] if isinstance(x, list) else x) for x in arrays))
            for arrays in variants
            for i, chunk in enumerate(self.chunks)
        ]
        found = run_calls(function, (self.scoring, *static), calls, self.workers)
        n = len(self.chunks)
        return [found[start : start + n] for start in range(0, len(found), n)]

    def mean(self, function: RunFunction, static: tuple[Hashable, ...], *arrays: Any) -> Any:
        """The mean over inputs of what such a function sums up: a pytree of float64."""
        return mean_of(self.each(function, static, *arrays), self.n_inputs)

    def then(self, function: RunFunction, parts: list[Any]) -> list[Any]:
        """`function(part)` for what each chunk gave."""
        return run_calls(function, (), [(part,) for part in parts], self.workers)

    @property
    def dtype(self) -> np.dtype:
        """The precision of the runs."""
        return self.weights.embed.dtype


def _on_device(x: Any) -> Any:
    # Here, because a worker thread does not know whether float64 is on.
    return jnp.asarray(x) if isinstance(x, np.ndarray) else x


def mean_of(parts: list[Any], n_inputs: int) -> Any:
    """Sums over chunks, in float64 and always in the same order, by the number of inputs."""

    def add(*leaves: Any) -> Any:
        return np.sum([np.asarray(leaf, np.float64) for leaf in leaves], axis=0) / n_inputs

    return jax.tree.map(add, *parts)


def start_runs(model: Transformer, data: DiscoveryData, metric: Metric) -> Runs:
    """The clean runs, and the runs that replacements come from.

    Raises:
        ValueError: if the tokens do not fit the model, the targets the tokens, or an output is not
            finite.
    """
    check_tokens(model.config, data.clean)
    check_targets(data.targets, data.clean.shape)
    config, n_inputs = model.config, len(data.clean)
    workers = default_workers()
    size = data.batch_size or min(-(-n_inputs // workers), _MOST_INPUTS)
    form = Form.of(config, data.freeze_layer_norm)
    weights = jax.device_put(stack_weights(model, data.clean.shape[1]))
    starts = np.arange(0, n_inputs, size)[:, None] + np.arange(size)
    rows = np.minimum(starts, n_inputs - 1)
    tokens = [np.asarray(data.clean)[index] for index in rows]
    if data.constants is None:
        tokens += [np.asarray(data.corrupted)[index] for index in rows]
    calls = [(weights, some.astype(np.int32)) for some in tokens]
    plain: list[PlainRun] = run_calls(run_plain, (form,), calls, workers)
    _check_outputs(plain)
    dtype = plain[0].outputs.dtype
    replacements = [run.outputs for run in plain[len(rows) :]]
    if data.constants is not None:
        constants = jnp.asarray(data.constants, dtype).transpose(2, 3, 1, 0)
        shape = (*plain[0].outputs.shape[:3], 1)
        replacements = [jnp.broadcast_to(constants, shape)] * len(rows)
    targets = np.asarray(data.targets)
    chunks = [
        Chunk(run, replacement, jnp.asarray(targets[index]), jnp.asarray(own < n_inputs, dtype))
        for run, replacement, index, own in zip(
            plain[: len(rows)], replacements, rows, starts, strict=True
        )
    ]
    return Runs(
        MethodScoring(form, metric, data.first_scored),
        weights,
        tuple(chunks),
        n_inputs,
        Layout(config.n_layers, config.n_heads),
        workers,
    )


def _check_outputs(runs: Sequence[PlainRun]) -> None:
    """Refuse a model that gives what is no number: every comparison with that would be false."""
    n_wrong = sum(int((~jnp.isfinite(run.logits)).any(axis=(0, 1)).sum()) for run in runs)
    if n_wrong:
        raise ValueError(
            f"Expected finite outputs of the clean and the corrupted runs, got nan or infinity "
            f"for {n_wrong} of the inputs; look for them in the weights, or run in float64."
        )

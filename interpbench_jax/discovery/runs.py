"""A model on a method's inputs: compiled functions of chunks of them, and means over all chunks."""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from interpbench_jax.discovery.method import DiscoveryData
from interpbench_jax.engine.chunk import Chunk
from interpbench_jax.engine.plain_runs import ByChunk, PlainRun, PlainRuns
from interpbench_jax.engine.programs import run_calls, run_threads
from interpbench_jax.engine.scoring import Scoring
from interpbench_jax.engine.weights import Form, Weights, hide_padding
from interpbench_jax.layout import Layout
from interpbench_jax.metrics import Metric
from interpbench_jax.model import Transformer, check_tokens
from interpbench_jax.targets import check_targets

RunFunction = Callable[..., Any]


@dataclass(frozen=True)
class Runs:
    """A model's clean runs on all inputs of a method.

    Attributes:
        form: the model's form.
        scoring: how logits become a score.
        weights: the model's weights, on the device.
        chunks: the inputs.
        n_inputs: how many inputs there are.
        workers: how many threads share the chunks.
    """

    form: Form
    scoring: Scoring
    weights: Weights
    chunks: ByChunk[Chunk]
    n_inputs: int
    workers: int

    def each(self, function: RunFunction, static: tuple[Hashable, ...], *arrays: Any) -> list[Any]:
        """`function(form, scoring, *static, weights, chunk, *arrays)` for every chunk.

        Arrays that differ between chunks are a list with one array for each chunk.
        """
        return self.each_of(function, static, [arrays])[0]

    def each_of(
        self,
        function: RunFunction,
        static: tuple[Hashable, ...],
        variants: Sequence[tuple[Any, ...]],
        then: Callable[[Any], Any] | None = None,
    ) -> list[list[Any]]:
        """`each`, for several sets of arrays of the same shapes.

        Args:
            function: as for `each`.
            static: as for `each`.
            variants: the sets of arrays.
            then: a function of each result, in a program of its own: its result takes the place of
                a larger one, which is freed.
        """
        whole, n = (self.form, self.scoring, *static), len(self.chunks)
        calls_of = partial(self._calls_of, [tuple(map(_on_device, arrays)) for arrays in variants])
        if self.chunks.are_kept:
            by_variant = zip(*map(calls_of, range(n)), strict=True)
            calls = [call for calls in by_variant for call in calls]
            found = run_calls(function, whole, calls, self.workers, then)
            return [found[start : start + n] for start in range(0, len(found), n)]
        finish = partial(_finish_chunk, function, whole, then, calls_of)
        # The first alone, because it compiles.
        by_chunk = [finish(0), *run_threads(finish, range(1, n), self.workers)]
        return [list(parts) for parts in zip(*by_chunk, strict=True)]

    def _calls_of(self, variants: Sequence[tuple[Any, ...]], i: int) -> list[tuple[Any, ...]]:
        """The arrays of the calls on one chunk, one call for each variant."""
        chunk = self.chunks[i]
        weights = hide_padding(self.weights, chunk.run.is_real)
        return [
            (weights, chunk, *(x[i] if isinstance(x, list) else x for x in arrays))
            for arrays in variants
        ]

    def mean(self, function: RunFunction, static: tuple[Hashable, ...], *arrays: Any) -> Any:
        """The mean over inputs, in float64, of a function that sums over the inputs of a chunk."""
        return mean_of(self.each(function, static, *arrays), self.n_inputs)

    @property
    def layout(self) -> Layout:
        """The model's layout."""
        return self.weights.layout

    @property
    def dtype(self) -> np.dtype:
        """The precision of the runs."""
        return self.weights.embed.dtype


def _finish_chunk(
    function: RunFunction,
    static: tuple[Hashable, ...],
    then: Callable[[Any], Any] | None,
    calls_of: Callable[[int], list[tuple[Any, ...]]],
    i: int,
) -> list[Any]:
    return run_calls(function, static, calls_of(i), 1, then)


def _on_device(x: Any) -> Any:
    # Here, because a worker thread does not know whether float64 is on.
    if isinstance(x, list):
        return [_on_device(each) for each in x]
    return jnp.asarray(x) if isinstance(x, np.ndarray) else x


def mean_of(parts: list[Any], n_inputs: int) -> Any:
    """Sums over chunks, in float64 and always in the same order, by the number of inputs."""
    return jax.tree.map(partial(_mean_of_leaves, n_inputs), *parts)


def _mean_of_leaves(n_inputs: int, *leaves: Any) -> Any:
    return np.sum([np.asarray(leaf, np.float64) for leaf in leaves], axis=0) / n_inputs


def start_runs(model: Transformer, data: DiscoveryData, metric: Metric) -> Runs:
    """The clean runs, and the runs that replacements come from.

    Raises:
        ValueError: if the tokens do not fit the model, the targets do not fit the tokens, or an
            output is not finite.
    """
    plain = _plain_runs(model, data)
    corrupted, constants = None, None
    if data.constants is None:
        corrupted = plain.of_others(data.corrupted, paired=True)
    else:
        constants = jnp.asarray(data.constants, model.dtype).transpose(2, 3, 1, 0)
        shape = (*constants.shape[:2], data.clean.shape[1], 1)
        constants = jnp.broadcast_to(constants, shape)
    targets = np.asarray(data.targets)

    def make(numbers: Sequence[int]) -> list[Chunk]:
        found = []
        for i in numbers:
            run = plain.chunks[i]
            other = None if corrupted is None else corrupted[i]
            if not plain.are_kept:
                _check_outputs([run] if other is None else [run, other])
            replacement = constants if other is None else other.outputs
            share = jnp.asarray(plain.is_input[i], model.dtype)
            assert replacement is not None
            found.append(Chunk(run, replacement, jnp.asarray(targets[plain.rows[i]]), share))
        return found

    if plain.are_kept:
        # All at once, so that the error counts them all.
        _check_outputs([*plain.chunks, *(corrupted or ())])
    chunks = ByChunk(len(plain.rows), make, are_kept=plain.are_kept)
    scoring = Scoring(metric, data.first_scored)
    return Runs(plain.form, scoring, plain.weights, chunks, plain.n_inputs, plain.workers)


def _plain_runs(model: Transformer, data: DiscoveryData) -> PlainRuns:
    """The plain runs on the clean inputs: those of the data, if they are of this model."""
    settings = {
        "freeze_layer_norm": data.freeze_layer_norm,
        "batch_size": data.batch_size,
        "max_bytes": data.max_bytes,
    }
    if data.plain is not None and data.plain.are_of(model, data.clean, **settings):
        return data.plain
    check_tokens(model.config, data.clean)
    check_targets(data.targets, data.clean.shape)
    return PlainRuns(model, data.clean, **settings)


def _check_outputs(runs: Sequence[PlainRun]) -> None:
    """Refuse a model with NaN or infinite outputs: every comparison with NaN is false."""
    n_wrong = sum(int((~jnp.isfinite(run.logits)).any(axis=(0, 1)).sum()) for run in runs)
    if n_wrong:
        raise ValueError(
            "Expected finite outputs of the clean and the corrupted runs, got NaN or infinity for "
            f"{n_wrong} of the inputs; check the weights, or run in float64."
        )

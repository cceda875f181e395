"""Plain runs of many inputs, chunk by chunk: what methods start from.

On a CPU, threads share the chunks, because XLA alone does not keep several cores busy on models of
this size. The runs of all chunks are kept if they fit into the memory allowed; otherwise each is
computed when it is needed.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property, partial
from typing import Generic, NamedTuple, TypeVar

import numpy as np
from jaxtyping import Array, Bool, Float, Int

from interpbench_jax.axes import OtherTokens, Tokens
from interpbench_jax.engine.chips import chip_of
from interpbench_jax.engine.clean import run_clean
from interpbench_jax.engine.programs import default_workers, run_calls
from interpbench_jax.engine.weights import Form, Weights, device_weights
from interpbench_jax.layout import Layout
from interpbench_jax.model import Transformer
from interpbench_jax.targets import clean_targets

_MOST_INPUTS = 1024
_Item = TypeVar("_Item")


class PlainRun(NamedTuple):
    """The part of a clean run that methods need.

    Attributes:
        outputs: every writer's output.
        logits: the output.
        scales: the divisors of all layer norms; None unless other runs use them too.
        is_real: False at padding; None for a model without a padding token.
    """

    outputs: Float[Array, "src d_model pos batch"]
    logits: Float[Array, "vocab_out pos batch"]
    scales: Float[Array, "norms pos batch"] | None
    is_real: Bool[Array, "pos batch"] | None


def run_plain(form: Form, weights: Weights, tokens: Tokens) -> PlainRun:
    """`run_clean`, of which nothing else is computed."""
    run = run_clean(form, False, weights, tokens)
    return PlainRun(run.outputs, run.logits, run.scales, run.is_real)


class ByChunk(Generic[_Item]):
    """What belongs to each chunk of some inputs, computed when it is first needed.

    Attributes:
        are_kept: whether all of it stays in memory; if not, it is computed for every use.
    """

    def __init__(
        self, n: int, make: Callable[[Sequence[int]], list[_Item]], *, are_kept: bool
    ) -> None:
        """The items of `n` chunks; `make` returns those of the chunks with some numbers."""
        self.are_kept = are_kept
        self._n = n
        self._make = make

    @cached_property
    def _all(self) -> list[_Item]:
        return self._make(range(self._n))

    def __len__(self) -> int:
        return self._n

    def __getitem__(self, number: int) -> _Item:
        return self._all[number] if self.are_kept else self._make([number])[0]

    def __iter__(self) -> Iterator[_Item]:
        return (self[number] for number in range(self._n))


class PlainRuns:
    """A model's plain runs on some inputs.

    Attributes:
        form: the model's form.
        n_inputs: how many inputs there are.
        rows: the inputs of each chunk; the last chunk is padded with the last input.
        is_input: False where a row is padding.
        workers: how many threads share the chunks.
        is_cut_for_threads: whether all inputs would fit into one chunk.
        are_kept: whether the runs of all inputs, and as many others, stay in memory.
        chunks: the runs of the inputs.
    """

    def __init__(
        self,
        model: Transformer,
        tokens: Tokens,
        *,
        freeze_layer_norm: bool = False,
        batch_size: int | None = None,
        max_bytes: int | None = None,
    ) -> None:
        """The runs of `tokens`, which fit the model, `batch_size` of them at a time.

        By default as many at a time as keep all workers busy, but at most 1,024 and no more than
        fit into `max_bytes` together with what a method derives from them.
        """
        self.form = Form.of(model.config, freeze_layer_norm)
        self._source = (model, tokens, freeze_layer_norm, batch_size, max_bytes)
        self.n_inputs = len(tokens)
        self.workers = default_workers()
        self._model = model
        self._tokens = np.asarray(tokens)
        allowed = chip_of().max_bytes if max_bytes is None else max_bytes
        written, worked = _bytes_per_input(model, self._tokens.shape[1])
        most = max(1, min(_MOST_INPUTS, allowed // (self.workers * worked)))
        self._size = batch_size or min(-(-self.n_inputs // self.workers), most)
        self.rows, self.is_input = self._cut(self.n_inputs)
        self.is_cut_for_threads = batch_size is None and self.rows.size <= _MOST_INPUTS
        self.are_kept = 2 * written * self.rows.size <= allowed
        self.chunks = self._chunks(self._tokens, self.rows)

    def are_of(
        self,
        model: Transformer,
        tokens: Tokens,
        *,
        freeze_layer_norm: bool,
        batch_size: int | None,
        max_bytes: int | None,
    ) -> bool:
        """Whether these are the runs of that model on those inputs."""
        same_model, same_tokens, *settings = self._source
        is_same = same_model is model and same_tokens is tokens
        return is_same and settings == [freeze_layer_norm, batch_size, max_bytes]

    @cached_property
    def weights(self) -> Weights:
        """The model's weights, on the device."""
        return device_weights(self._model, self._tokens.shape[1])

    @cached_property
    def answers(self) -> Int[np.ndarray, "batch pos"] | Float[np.ndarray, "batch pos"]:
        """The model's own answers: the class that it chooses, or its number."""
        found = [np.asarray(clean_targets(run.logits.T)) for run in self.chunks]
        return np.concatenate(found)[: self.n_inputs]

    def of_others(self, tokens: OtherTokens, *, paired: bool = False) -> ByChunk[PlainRun]:
        """The runs of other inputs; those that are paired by row are cut as the inputs are."""
        others = np.asarray(tokens)
        if others is self._tokens or np.array_equal(others, self._tokens):
            return self.chunks
        return self._chunks(others, self.rows if paired else self._cut(len(others))[0])

    def mean_outputs(self, tokens: OtherTokens) -> Float[np.ndarray, "src d_model pos"]:
        """The mean over some inputs of every writer's output, in float64."""
        total, missing = 0.0, len(tokens)
        for run in self.of_others(tokens):
            some = np.asarray(run.outputs)[..., :missing]
            total = total + some.sum(axis=-1, dtype=np.float64)
            missing -= some.shape[-1]
        return np.asarray(total) / len(tokens)

    def _cut(
        self, n: int
    ) -> tuple[Int[np.ndarray, "chunks rows"], Bool[np.ndarray, "chunks rows"]]:
        rows = np.arange(0, n, self._size)[:, None] + np.arange(self._size)
        return np.minimum(rows, n - 1), rows < n

    def _chunks(
        self, tokens: np.ndarray, rows: Int[np.ndarray, "chunks rows"]
    ) -> ByChunk[PlainRun]:
        return ByChunk(len(rows), partial(self._run, tokens, rows), are_kept=self.are_kept)

    def _run(
        self, tokens: np.ndarray, rows: Int[np.ndarray, "chunks rows"], numbers: Sequence[int]
    ) -> list[PlainRun]:
        calls = [(self.weights, tokens[rows[i]].astype(np.int32)) for i in numbers]
        return run_calls(run_plain, (self.form,), calls, self.workers)


def _bytes_per_input(model: Transformer, n_pos: int) -> tuple[int, int]:
    """The memory of one input: of what all writers write, and of a method's runs and derivatives.

    The latter is a bound: what is written in the clean run, its replacement, their difference, and
    the derivative by the input of every reader and by the output of every writer.
    """
    config = model.config
    layout = Layout(config.n_layers, config.n_heads)
    vector = n_pos * np.dtype(model.dtype).itemsize
    written = layout.n_writers * config.d_model * vector
    hidden = config.n_layers * 2 * config.d_mlp * vector
    n_readers = config.n_layers * layout.readers_of_layer + 1
    return written, 4 * written + n_readers * config.d_model * vector + hidden

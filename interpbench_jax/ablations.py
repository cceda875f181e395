"""Replacements for the outputs that are cut: the same four ablations for sweeps and for methods.

Under `"resample"` the replacement is the writer's output on another input. Under the others it is a
constant that all inputs share: the writer's mean output, zero, or the constant that does the least
harm.
"""

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from interpbench_jax.axes import OtherTokens, Tokens
from interpbench_jax.engine.clean import read_streams
from interpbench_jax.engine.layers import Scales, finish_run, scale_at, unembed
from interpbench_jax.engine.plain_runs import PlainRuns
from interpbench_jax.engine.programs import compiled
from interpbench_jax.engine.scoring import InnermostTargets, Scoring
from interpbench_jax.engine.weights import Form, Weights, hide_padding
from interpbench_jax.layout import Layout
from interpbench_jax.metrics import (
    Metric,
    MetricName,
    default_metric,
    for_targets,
    resolve_metric,
)
from interpbench_jax.model import Transformer, check_model, check_tokens
from interpbench_jax.names import AblationName, Progress
from interpbench_jax.objective import Objective
from interpbench_jax.pairs import Pairs, as_pairs

ABLATION_NAMES: tuple[AblationName, ...] = get_args(AblationName)
# The ablations whose replacements all inputs share.
SharedAblation = Literal["mean", "zero", "optimal"]


@dataclass(frozen=True)
class OptimalSettings:
    """Settings of the search for the constants of `"optimal"`.

    Attributes:
        steps: the number of steps for each writer; each step uses all inputs.
        learning_rate: of Adam, in units of the root mean square of the distance between the
            writer's outputs and the constant that it starts from.
    """

    steps: int = 100
    learning_rate: float = 0.05

    def __post_init__(self) -> None:
        if self.steps < 0 or self.learning_rate <= 0:
            raise ValueError(f"Expected steps from 0 and a learning rate above 0, got {self}.")


def ablation_constants(
    model: Transformer,
    clean: Tokens | Pairs,
    corrupted: OtherTokens | None = None,
    ablation: SharedAblation = "optimal",
    *,
    objective: Objective | None = None,
    metric: MetricName | Metric | None = None,
    optimal: OptimalSettings | None = None,
    freeze_layer_norm: bool = False,
    batch_size: int | None = None,
    progress: Progress | None = None,
) -> Float[np.ndarray, "1 pos src d_model"]:
    """The constants that replace every writer's output under an ablation.

    Every sweep and every method accepts them as `ablation=`, so that constants that were learned
    once serve all of them.

    Under `"optimal"` each writer's constant is learned on its own: it minimizes the mean of the
    metric when it replaces that writer's output for all readers and inputs while nothing else is
    cut. The search starts at the writer's mean output and returns the best constant it meets, so
    that none does more harm than the mean.
    Source: Li and Janson 2024 (arXiv:2409.09951). In the paper, a component's constant is one
    vector; ours is one vector for each position, as for the mean. For circuits the paper learns
    the constants of everything that is cut together; here they are learned before any circuit is
    known.

    Args:
        model: the model.
        clean: pairs of inputs; or clean inputs alone, `[batch, pos]`.
        corrupted: with clean inputs, the inputs that means are taken over, `[other, pos]`; the
            default is the clean ones.
        ablation: `"mean"`, `"zero"` or `"optimal"`.
        objective: the targets and the scored positions for `"optimal"`; the default is the
            objective of the pairs.
        metric: the harm that `"optimal"` minimizes; the default is the objective's metric, or else
            the distance from the clean run: KL, or L2 for a regression.
        optimal: settings of `"optimal"`.
        freeze_layer_norm: whether layer norms divide as in the clean run during the search for
            `"optimal"`.
        batch_size: the number of inputs of one call of a program.
        progress: called with the number of writers whose constant has been learned, and of all.

    Raises:
        ValueError: if the ablation has no constants, or an argument does not fit the model.
    """
    check_model(model)
    if ablation not in get_args(SharedAblation):
        raise ValueError(
            "Expected ablation to be one that all inputs share, mean, zero or optimal; got "
            f"{ablation!r}."
        )
    pairs = as_pairs(clean, corrupted, objective, metric)
    clean = pairs.input_ids
    sources = clean if pairs.corrupted_input_ids is None else pairs.corrupted_input_ids
    check_tokens(model.config, clean)
    if ablation != "zero":
        check_tokens(model.config, sources)
        if sources.shape[1] != clean.shape[1] or len(sources) == 0 or len(clean) == 0:
            raise ValueError(
                f"Expected inputs of {clean.shape[1]} positions to take means over, at least one, "
                f"got shape {sources.shape}."
            )
    plain = PlainRuns(model, clean, freeze_layer_norm=freeze_layer_norm, batch_size=batch_size)
    return constants_of(model, pairs, plain, ablation, optimal, progress)


def constants_of(
    model: Transformer,
    pairs: Pairs,
    plain: PlainRuns,
    ablation: SharedAblation,
    optimal: OptimalSettings | None = None,
    progress: Progress | None = None,
) -> Float[np.ndarray, "1 pos src d_model"]:
    """`ablation_constants` of checked pairs, given the plain runs of their clean inputs."""
    config = model.config
    if ablation == "zero":
        n_writers = Layout(config.n_layers, config.n_heads).n_writers
        n_pos = pairs.input_ids.shape[1]
        return np.zeros((1, n_pos, n_writers, config.d_model), model.dtype)
    sources = pairs.corrupted_input_ids
    mean = plain.mean_outputs(pairs.input_ids if sources is None else sources)
    mean = np.asarray(mean.transpose(2, 0, 1), model.dtype)
    if ablation == "mean":
        return mean[None]
    settings = OptimalSettings() if optimal is None else optimal
    search = _start_search(model, pairs, settings, plain)
    found, n_writers = [], mean.shape[1]
    for writer in range(n_writers):
        if progress is not None:
            progress(writer, n_writers)
        found.append(search.best(writer, mean[:, writer]))
    if progress is not None:
        progress(n_writers, n_writers)
    return np.stack(found, axis=1)[None]


class _Batch(NamedTuple):
    """Inputs of a search, chunk by chunk; the first axis of each array counts chunks.

    Attributes:
        outputs: every writer's output in the clean run.
        logits: the clean run's logits.
        targets: the metric's targets.
        scales: the divisors of the layer norms; None unless they are frozen.
        is_real: False at padding; None for a model without a padding token.
        share: 1 for an input, 0 for a padding row.
    """

    outputs: Float[Array, "chunks src d_model pos batch"]
    logits: Float[Array, "chunks vocab_out pos batch"]
    targets: InnermostTargets
    scales: Float[Array, "chunks norms pos batch"] | None
    is_real: Bool[Array, "chunks pos batch"] | None
    share: Float[Array, "chunks batch"]


@dataclass(frozen=True)
class _Search:
    """The search for constants that do little harm.

    Attributes:
        form: the model's form.
        weights: the model's weights.
        batch: the inputs.
        n_inputs: how many inputs there are.
        scoring: how logits become a score.
        settings: the settings.
    """

    form: Form
    weights: Weights
    batch: _Batch
    n_inputs: int
    scoring: Scoring
    settings: OptimalSettings

    def best(
        self, writer: int, start: Float[np.ndarray, "pos d_model"]
    ) -> Float[np.ndarray, "pos d_model"]:
        """The best constant of one writer."""
        if self.settings.steps == 0:
            return start
        norm = self.weights.layout.read_after(writer)
        static = (self.form, self.scoring, norm, self.n_inputs, self.settings)
        arrays = (self.weights, self.batch, np.int32(writer), np.ascontiguousarray(start.T))
        return np.asarray(compiled(_descend, static, *arrays)(*arrays)).T


def _start_search(
    model: Transformer, pairs: Pairs, settings: OptimalSettings, plain: PlainRuns
) -> _Search:
    wanted = pairs.objective.metric or default_metric(model.config)
    fitted = pairs.objective.fit(model, pairs.input_ids, lambda: plain.answers)
    metric = for_targets(resolve_metric(wanted, model.config), fitted.seen)
    targets = np.asarray(plain.answers if fitted.targets is None else fitted.targets)
    parts = [
        _Batch(
            run.outputs,
            run.logits,
            jnp.asarray(targets[rows]).T,
            run.scales,
            run.is_real,
            jnp.asarray(is_input, model.dtype),
        )
        for run, rows, is_input in zip(plain.chunks, plain.rows, plain.is_input, strict=True)
    ]
    if plain.is_cut_for_threads:
        batch = jax.tree.map(lambda *arrays: jnp.concatenate(arrays, axis=-1)[None], *parts)
    else:
        batch = jax.tree.map(lambda *arrays: jnp.stack(arrays), *parts)
    scoring = Scoring(metric, fitted.first_scored)
    return _Search(plain.form, plain.weights, batch, plain.n_inputs, scoring, settings)


def _descend(
    form: Form,
    scoring: Scoring,
    norm: int,
    n_inputs: int,
    settings: OptimalSettings,
    weights: Weights,
    batch: _Batch,
    writer: Int[Array, ""],
    start: Float[Array, "d_model pos"],
) -> Float[Array, "d_model pos"]:
    """The best constant that gradient descent meets, from the mean of the writer's outputs.

    The first layer norm that reads the writer is `norm`: there the patched run starts.
    """
    import optax

    optimizer = optax.adam(settings.learning_rate)
    own = jnp.take(batch.outputs, writer, axis=1)
    distance = ((own - start[None, :, :, None]) ** 2).mean(axis=(1, 2))
    scale = jnp.sqrt((distance * batch.share).sum() / n_inputs)
    others = jax.vmap(lambda outputs: read_streams(weights, outputs)[norm])(batch.outputs) - own

    def harm(moved: Float[Array, "d_model pos"]) -> Float[Array, ""]:
        def of_chunk(part: tuple[_Batch, Array]) -> Float[Array, ""]:
            chunk, rest = part
            stream = rest + (start + scale * moved)[..., None]
            logits = _logits(form, hide_padding(weights, chunk.is_real), stream, norm, chunk.scales)
            clean, targets = scoring.scored(chunk.logits), scoring.scored(chunk.targets)
            return (scoring.compare_with(clean, targets)(logits) * chunk.share).sum()

        # Recomputed for the derivative, so that only one chunk is in memory.
        several = len(batch.share) > 1
        of_each = jax.checkpoint(of_chunk) if several else of_chunk
        return jax.lax.map(of_each, (batch, others)).sum() / n_inputs

    def step(carry: tuple[Any, ...], _: None) -> tuple[tuple[Any, ...], None]:
        moved, state, least, best = carry
        value, slope = jax.value_and_grad(harm)(moved)
        is_better = value < least
        least, best = jnp.where(is_better, value, least), jnp.where(is_better, moved, best)
        # optax relies on both.
        with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
            updates, state = optimizer.update(slope, state, moved)
            moved = optax.apply_updates(moved, updates)
        return (moved, state, least, best), None

    zero = jnp.zeros_like(start)
    infinity = jnp.asarray(jnp.inf, start.dtype)
    carry = (zero, optimizer.init(zero), infinity, zero)
    (_, _, _, best), _ = jax.lax.scan(step, carry, None, length=settings.steps)
    return start + scale * best


def _logits(
    form: Form,
    weights: Weights,
    stream: Float[Array, "d_model pos batch"],
    norm: int,
    scales: Scales | None,
) -> Float[Array, "vocab_out pos batch"]:
    """The logits of a run that starts with this stream in front of a layer norm."""
    final = finish_run(form, weights, stream, norm, scales)
    return unembed(form, weights, final, scale_at(scales, -1))

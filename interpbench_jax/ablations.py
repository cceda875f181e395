"""What takes the place of what is cut: the same four ablations for sweeps and for methods.

Under `"resample"` that is what a writer writes on another input. Under the others it is a constant,
the same for all inputs: its mean, zero, or the constant that does the least harm.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from interpbench_jax.axes import LayerNormScales, Logits, OtherTokens, Tokens
from interpbench_jax.interventions import divide_by, layer_norm_scales, writer_outputs
from interpbench_jax.layout import Layout
from interpbench_jax.metrics import (
    Metric,
    MetricName,
    check_values,
    default_metric,
    for_targets,
    resolve_metric,
)
from interpbench_jax.model import Transformer, check_model, check_tokens
from interpbench_jax.model.layers import keep
from interpbench_jax.objective import Objective
from interpbench_jax.pairs import Pairs, as_pairs
from interpbench_jax.sites import writers
from interpbench_jax.targets import own_answers

AblationName = Literal["resample", "mean", "zero", "optimal"]
ABLATION_NAMES: tuple[AblationName, ...] = get_args(AblationName)
# Those whose replacements all inputs share.
SharedAblation = Literal["mean", "zero", "optimal"]

_MOST_INPUTS = 1024


@dataclass(frozen=True)
class OptimalSettings:
    """How the constants of `"optimal"` are looked for.

    Attributes:
        steps: steps for each writer; each uses all inputs.
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
) -> Float[np.ndarray, "1 pos src d_model"]:
    """The constants that take the place of every writer's output under an ablation.

    Every sweep and every method takes them as `ablation=`, so that constants that were learned
    once serve all of them.

    Under `"optimal"` each writer's constant is found on its own, as what minimises the metric's
    mean when it takes the place of that writer's output for all readers and inputs while nothing
    else is cut. The best one met is kept, so none does more harm than the mean, where it starts.
    Source: Li and Janson 2024 (arXiv:2409.09951). The paper's constant is one vector
    for a component; ours is one for each position, as the mean's is. For circuits the paper
    finds the constants of all that is cut together; here they are found before any circuit is.

    Args:
        model: the model.
        clean: pairs of inputs; or clean inputs alone, `[batch, pos]`.
        corrupted: beside clean inputs, `[other, pos]`, those that means are taken over; by
            default the clean ones.
        ablation: `"mean"`, `"zero"` or `"optimal"`.
        objective: what `"optimal"` compares with and where; by default that of the pairs.
        metric: the harm that `"optimal"` keeps low; by default that of the objective, else the
            distance from the clean run: KL, or L2 for a regression.
        optimal: settings of `"optimal"`.
        freeze_layer_norm: whether layer norms divide by what they do in the clean run while
            `"optimal"` is looked for.
        batch_size: inputs of one call of a program.

    Raises:
        ValueError: if the ablation has no constants, or an argument does not fit the model.
    """
    check_model(model)
    if ablation not in get_args(SharedAblation):
        raise ValueError(
            f"Expected an ablation that all inputs share, mean, zero or optimal, got {ablation!r}."
        )
    pairs = as_pairs(clean, corrupted, objective, metric)
    clean, config = pairs.input_ids, model.config
    check_tokens(config, clean)
    if ablation == "zero":
        src = len(writers(config.n_layers, config.n_heads))
        return np.zeros((1, clean.shape[1], src, config.d_model), model.dtype)
    sources = clean if pairs.corrupted_input_ids is None else pairs.corrupted_input_ids
    check_tokens(config, sources)
    if sources.shape[1] != clean.shape[1] or len(sources) == 0 or len(clean) == 0:
        raise ValueError(
            f"Expected inputs of {clean.shape[1]} positions to take means over, at least one, got "
            f"shape {sources.shape}."
        )
    size = batch_size or _MOST_INPUTS
    mean = _mean_outputs(model, sources, size)
    if ablation == "mean":
        return mean
    settings = OptimalSettings() if optimal is None else optimal
    search = _start_search(model, pairs, settings, freeze_layer_norm, size)
    found = [search.best(writer, mean[0, :, writer]) for writer in range(mean.shape[2])]
    return np.stack(found, axis=1)[None]


def _mean_outputs(
    model: Transformer, tokens: OtherTokens, size: int
) -> Float[np.ndarray, "1 pos src d_model"]:
    size = min(size, len(tokens))
    total = 0.0
    for rows, share in _chunks(len(tokens), size):
        outputs = np.asarray(writer_outputs(model, np.asarray(tokens)[rows]), np.float64)
        total = total + (outputs * share[:, None, None, None]).sum(axis=0, keepdims=True)
    return np.asarray(total / len(tokens), model.dtype)


def _chunks(n: int, size: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Row numbers in chunks of one size, and 1 for each row that is there, 0 for padding."""
    starts = np.arange(0, n, size)[:, None] + np.arange(size)
    return [(np.minimum(rows, n - 1), (rows < n).astype(np.float64)) for rows in starts]


class _Batch(NamedTuple):
    """Inputs of a search, chunk by chunk; the first axis of each array counts chunks.

    Attributes:
        tokens: the clean inputs.
        outputs: what every writer writes on them.
        logits: of the clean run.
        targets: for the metric.
        scales: what layer norms divide by; None unless they are frozen.
        share: 1 for an input, 0 for padding.
    """

    tokens: Int[Array, "chunks batch pos"]
    outputs: Float[Array, "chunks batch pos src d_model"]
    logits: Float[Array, "chunks batch pos vocab_out"]
    targets: Any
    scales: Any
    share: Float[Array, "chunks batch"]


@dataclass(frozen=True)
class _Search:
    """The search for constants that do little harm.

    Attributes:
        model: the model.
        batch: the inputs.
        n_inputs: how many.
        metric: the harm.
        first_scored: the first position that it looks at.
        settings: how to search.
    """

    model: Transformer
    batch: _Batch
    n_inputs: int
    metric: Metric
    first_scored: int
    settings: OptimalSettings

    def best(
        self, writer: int, start: Float[np.ndarray, "pos d_model"]
    ) -> Float[np.ndarray, "pos d_model"]:
        """One writer's constant."""
        if self.settings.steps == 0:
            return start
        config = self.model.config
        place = Layout(config.n_layers, config.n_heads).read_after(writer)
        static = (place, self.metric, self.first_scored, self.n_inputs, self.settings)
        found = _descend(self.model, self.batch, np.int32(writer), start, *static)
        return np.asarray(found)


def _start_search(
    model: Transformer, pairs: Pairs, settings: OptimalSettings, freezes: bool, size: int
) -> _Search:
    clean, config = pairs.input_ids, model.config
    wanted = pairs.objective.metric or default_metric(config)
    fitted = pairs.objective.fit(model, clean)
    metric = for_targets(resolve_metric(wanted, config), fitted.seen)
    targets = own_answers(model, clean) if fitted.targets is None else fitted.targets
    chunks = _chunks(len(clean), min(size, len(clean)))
    parts = []
    for rows, share in chunks:
        tokens = jnp.asarray(np.asarray(clean)[rows], jnp.int32)
        scales = layer_norm_scales(model, tokens) if freezes else None
        parts.append(
            _Batch(
                tokens,
                writer_outputs(model, tokens),
                _logits(model, tokens),
                jnp.asarray(np.asarray(targets)[rows]),
                scales,
                jnp.asarray(share, model.dtype),
            )
        )
    batch = jax.tree.map(lambda *arrays: jnp.stack(arrays), *parts)
    return _Search(model, batch, len(clean), metric, fitted.first_scored, settings)


@jax.jit
def _logits(model: Transformer, tokens: Tokens) -> Logits:
    return model(tokens)


@partial(jax.jit, static_argnames=("place", "metric", "first", "n_inputs", "settings"))
def _descend(
    model: Transformer,
    batch: _Batch,
    writer: Int[Array, ""],
    start: Float[Array, "pos d_model"],
    place: int,
    metric: Metric,
    first: int,
    n_inputs: int,
    settings: OptimalSettings,
) -> Float[Array, "pos d_model"]:
    """The best constant that gradient descent meets, from the mean of the writer's outputs."""
    import optax

    optimizer = optax.adam(settings.learning_rate)
    own = jnp.take(batch.outputs, writer, axis=3)
    distance = ((own - start[None, None]) ** 2).mean(axis=(2, 3))
    scale = jnp.sqrt((distance * batch.share).sum() / n_inputs)
    others = _stream_at(model, batch.outputs, place) - own

    def harm(moved: Float[Array, "pos d_model"]) -> Float[Array, ""]:
        def of_chunk(part: tuple[_Batch, Array]) -> Float[Array, ""]:
            chunk, rest = part
            stream = (rest + (start + scale * moved)[None]).transpose(1, 2, 0)
            logits = _finish(model, chunk.tokens, stream, place, chunk.scales)
            values = metric(logits[:, first:], chunk.logits[:, first:], chunk.targets[:, first:])
            check_values(values, len(chunk.tokens))
            return (values * chunk.share).sum()

        # What the derivative needs of a chunk is computed anew, so that only one is in memory.
        several = len(batch.tokens) > 1
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


def _stream_at(
    model: Transformer, outputs: Float[Array, "chunks batch pos src d_model"], place: int
) -> Float[Array, "chunks batch pos d_model"]:
    """The residual stream in front of a place, in the clean run."""
    layers, is_mlp = divmod(place, 2)
    layout = Layout(model.config.n_layers, model.config.n_heads)
    stream = outputs[..., : layout.written_before(place), :].sum(axis=3)
    for block in model.blocks[: layers + is_mlp]:
        stream = stream + block.attn.b_O[...][None, None, None]
    return stream


def _finish(
    model: Transformer,
    tokens: Tokens,
    stream: Float[Array, "pos d_model batch"],
    place: int,
    scales: LayerNormScales | None,
) -> Logits:
    """Logits of a run that starts at a place with this residual stream."""
    edit = keep if scales is None else divide_by(model.config, scales)
    is_real = model.real_positions(tokens)
    for number in range(place, 2 * model.config.n_layers):
        block = model.blocks[number // 2]
        if number % 2:
            stream = stream + block.mlp(stream, edit)
        else:
            copies = jnp.broadcast_to(stream[None], (model.config.n_heads, *stream.shape))
            results = block.attn(copies, copies, copies, is_real, edit)
            stream = stream + results.sum(axis=0) + block.attn.b_O[...][None, :, None]
    return model.read_output(stream, edit)

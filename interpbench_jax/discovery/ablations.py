"""Inputs of a method, and what takes the place of what is cut: one function for all ablations."""

from typing import Literal, get_args

import jax
import numpy as np
from jaxtyping import Array, Float, Int

from interpbench_jax.axes import Constants, OtherTokens, Tokens
from interpbench_jax.discovery.gradients import plain_run
from interpbench_jax.discovery.method import DiscoveryData, FineUniverse, default_metric_of
from interpbench_jax.discovery.optimal import OptimalSettings, optimal_constants
from interpbench_jax.discovery.runs import compiled
from interpbench_jax.interventions import check_constants
from interpbench_jax.metrics import METRICS, Metric, MetricName, resolve_metric
from interpbench_jax.model import Transformer, check_model, check_tokens
from interpbench_jax.objective import Objective
from interpbench_jax.pairs import Pairs, as_pairs
from interpbench_jax.sites import writers
from interpbench_jax.sweeps.forward import Form, Weights, stack_weights
from interpbench_jax.targets import own_answers

AblationName = Literal["resample", "mean", "zero", "optimal"]
ABLATION_NAMES: tuple[AblationName, ...] = get_args(AblationName)

_MOST_INPUTS = 1024


def ablation_constants(
    model: Transformer,
    clean: Tokens | Pairs,
    corrupted: OtherTokens | None = None,
    ablation: Literal["mean", "zero", "optimal"] = "optimal",
    *,
    objective: Objective | None = None,
    metric: MetricName | Metric | None = None,
    optimal: OptimalSettings | None = None,
    freeze_layer_norm: bool = False,
) -> Float[np.ndarray, "1 pos src d_model"]:
    """The constants that take the place of every writer's output under an ablation.

    Every sweep and every method takes them as `ablation=`, so that constants that were learned
    once serve all of them.

    Args:
        model: the model.
        clean: pairs of inputs; or clean inputs alone, `[batch, pos]`.
        corrupted: beside clean inputs, `[other, pos]`, those that means are taken over; by
            default the clean ones.
        ablation: `"mean"`, `"zero"` or `"optimal"`, as in `discover`.
        objective: what `"optimal"` compares with and where; by default that of the pairs.
        metric: the harm that `"optimal"` keeps low; by default that of the objective, else the
            distance from the clean run.
        optimal: settings of `"optimal"`.
        freeze_layer_norm: whether layer norms divide by what they do in the clean run while
            `"optimal"` is looked for.

    Raises:
        ValueError: if the ablation has no constants, or an argument does not fit the model.
    """
    check_model(model)
    if ablation not in ("mean", "zero", "optimal"):
        raise ValueError(
            f"Expected an ablation that all inputs share, mean, zero or optimal, got {ablation!r}."
        )
    pairs = as_pairs(clean, corrupted, objective, metric)
    own = pairs.objective.metric
    data = data_for(
        model,
        pairs,
        ablation=ablation,
        metric=None if own is None else resolve_metric(own, model.config),
        optimal=optimal,
        freeze_layer_norm=freeze_layer_norm,
    )
    assert data.constants is not None
    return np.asarray(data.constants)


def data_for(
    model: Transformer,
    clean: Tokens | Pairs,
    corrupted: OtherTokens | None = None,
    *,
    objective: Objective | None = None,
    ablation: AblationName | Constants = "resample",
    metric: Metric | None = None,
    universe: FineUniverse = "qkv",
    batch_size: int | None = None,
    optimal: OptimalSettings | None = None,
    freeze_layer_norm: bool = False,
) -> DiscoveryData:
    """What a method is given, with the constants of an ablation that has any.

    Args:
        model: the model.
        clean: pairs of inputs; or clean inputs alone, `[batch, pos]`.
        corrupted: beside clean inputs, `[other, pos]`: paired with them by row for `"resample"`;
            what `"mean"` averages over, and what `"optimal"` starts from, by default the clean
            ones; for others not looked at.
        objective: in place of the pairs' own; of it, what metrics compare with and where.
        ablation: what takes the place of a writer's output: `"resample"`: its output on the
            corrupted input; `"mean"`: the mean of that for each position; `"zero"`: zeros;
            `"optimal"`: constants that do the least harm, see `optimal_constants`; or an array of
            constants, `[1, pos, src, d_model]`, where `pos` may be 1.
        metric: the harm that `"optimal"` minimises; by default the distance from the clean run.
        universe: the edges that a method chooses among.
        batch_size: inputs of one call of a program.
        optimal: settings of `"optimal"`.
        freeze_layer_norm: whether layer norms divide by what they do in the clean run; also where
            the constants of `"optimal"` are looked for.

    Raises:
        ValueError: if there is no such ablation, the tokens do not fit the model, the targets do
            not fit the tokens, or rows are not paired.
    """
    name = _name_of(ablation)
    pairs = as_pairs(clean, corrupted, objective)
    clean, corrupted = _check_inputs(model, pairs, name)
    config, size = model.config, batch_size or _MOST_INPUTS
    constants = None
    if name == "zero":
        src = len(writers(config.n_layers, config.n_heads))
        constants = np.zeros((1, clean.shape[1], src, config.d_model), model.dtype)
    elif name is None:
        constants = check_constants(config, clean.shape[1], ablation)  # pyright: ignore
    elif name != "resample":
        constants = _mean_outputs(model, corrupted, size)
    fitted = pairs.objective.fit(model, clean)
    data = DiscoveryData(
        clean,
        corrupted,
        own_answers(model, clean) if fitted.targets is None else fitted.targets,
        # The word says where runs that are not of methods find their own replacements.
        None if name == "optimal" else name,
        constants,
        fitted.first_scored,
        universe,
        batch_size,
        freeze_layer_norm,
    )
    if name != "optimal":
        return data
    metric = metric or METRICS[default_metric_of("distance", config)]
    return optimal_constants(model, data, metric, optimal or OptimalSettings())


def _name_of(ablation: AblationName | Constants) -> AblationName | None:
    """The ablation's name, None for an array of constants."""
    if isinstance(ablation, np.ndarray | jax.Array):
        return None
    if ablation not in ABLATION_NAMES:
        raise ValueError(
            f"Expected an ablation out of {', '.join(ABLATION_NAMES)}, or an array of constants, "
            f"got {ablation!r}."
        )
    return ablation


def _check_inputs(
    model: Transformer, pairs: Pairs, ablation: AblationName | None
) -> tuple[Tokens, OtherTokens]:
    """The clean inputs, and those that replacements come from."""
    clean, corrupted = pairs.input_ids, pairs.corrupted_input_ids
    if corrupted is None:
        if ablation == "resample":
            raise ValueError(
                "Expected corrupted inputs, one for each clean one, to resample from; got none. "
                "Pass them, or pairs that hold them, or choose another ablation."
            )
        corrupted = clean
    for tokens in (clean, corrupted):
        check_tokens(model.config, tokens)
        if len(tokens) == 0:
            raise ValueError("Expected at least one input, got none.")
    if clean.shape[1] != corrupted.shape[1]:
        raise ValueError(
            f"Expected corrupted inputs of {clean.shape[1]} positions, got shape {corrupted.shape}."
        )
    if ablation == "resample" and len(clean) != len(corrupted):
        raise ValueError(
            f"Expected a corrupted input for each of the {len(clean)} clean ones, got "
            f"{len(corrupted)}; pair them, or choose another ablation."
        )
    return clean, corrupted


def _mean_outputs(
    model: Transformer, tokens: OtherTokens, size: int
) -> Float[np.ndarray, "1 pos src d_model"]:
    size = min(size, len(tokens))
    form = Form.of(model.config)
    weights = jax.device_put(stack_weights(model, tokens.shape[1]))
    parts = []
    for start in range(0, len(tokens), size):
        index = np.arange(start, start + size)
        rows = np.asarray(tokens)[np.minimum(index, len(tokens) - 1)].astype(np.int32)
        share = (index < len(tokens)).astype(model.dtype)
        program = compiled(_sum_outputs, (form,), weights, rows, share)
        parts.append(np.asarray(program(weights, rows, share), np.float64))
    mean = sum(parts[1:], parts[0]) / len(tokens)
    return mean.transpose(2, 0, 1)[None].astype(model.dtype)


def _sum_outputs(
    form: Form, weights: Weights, tokens: Int[Array, "batch pos"], share: Float[Array, " batch"]
) -> Float[Array, "src d_model pos"]:
    return (plain_run(form, weights, tokens).outputs * share[None, None, None]).sum(axis=3)

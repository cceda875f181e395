"""The inputs of a method, checked, and the replacements for what it cuts."""

from dataclasses import replace

import jax
import numpy as np

from interpbench_jax.ablations import ABLATION_NAMES, OptimalSettings, constants_of
from interpbench_jax.axes import Constants, OtherTokens, Tokens
from interpbench_jax.discovery.method import DiscoveryData, FineUniverse
from interpbench_jax.engine.plain_runs import PlainRuns
from interpbench_jax.interventions import check_constants
from interpbench_jax.metrics import Metric
from interpbench_jax.model import Transformer, check_tokens
from interpbench_jax.names import AblationName
from interpbench_jax.objective import Objective
from interpbench_jax.pairs import Pairs, as_pairs


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
    max_bytes: int | None = None,
    optimal: OptimalSettings | None = None,
    freeze_layer_norm: bool = False,
) -> DiscoveryData:
    """The data of a method, with the constants of an ablation that has any.

    Args:
        model: the model.
        clean: pairs of inputs; or clean inputs alone, `[batch, pos]`.
        corrupted: with clean inputs, the inputs that replacements come from, `[other, pos]`. For
            `"resample"`, paired with the clean ones by row; for `"mean"`, the inputs to average
            over, and for `"optimal"`, those whose mean the search starts from, by default the
            clean ones; ignored for the others.
        objective: how runs are scored, instead of the pairs' own objective; its metric is used for
            `"optimal"` only.
        ablation: the replacement of a writer's output: `"resample"`: its output on the corrupted
            input; `"mean"`: the mean of that for each position; `"zero"`: zeros; `"optimal"`:
            constants that do the least harm, see `ablation_constants`; or an array of constants,
            `[1, pos, src, d_model]`, where `pos` may be 1.
        metric: the harm that `"optimal"` minimizes; by default the distance from the clean run.
        universe: the edges that a method chooses among.
        batch_size: the number of inputs of one call of a program.
        max_bytes: the memory that the runs of all calls may take together.
        optimal: settings of `"optimal"`.
        freeze_layer_norm: whether layer norms divide by what they do in the clean run, also during
            the search for the constants of `"optimal"`.

    Raises:
        ValueError: if there is no such ablation, the tokens do not fit the model, the targets do
            not fit the tokens, or rows are not paired.
    """
    name = _name_of(ablation)
    pairs = as_pairs(clean, corrupted, objective, metric)
    clean, corrupted = _check_inputs(model, pairs, name)
    plain = PlainRuns(
        model,
        clean,
        freeze_layer_norm=freeze_layer_norm,
        batch_size=batch_size,
        max_bytes=max_bytes,
    )
    fitted = pairs.objective.fit(model, clean, lambda: plain.answers)
    if name is None:
        constants = check_constants(model.config, clean.shape[1], ablation)  # pyright: ignore
    elif name == "resample":
        constants = None
    else:
        # With the targets, so that the model's own answers are not computed again.
        known = replace(pairs.objective, targets=fitted.targets)
        pairs = Pairs(clean, np.asarray(corrupted), known)  # pyright: ignore[reportArgumentType]
        constants = constants_of(model, pairs, plain, name, optimal)
    return DiscoveryData(
        clean,
        corrupted,
        plain.answers if fitted.targets is None else fitted.targets,
        # A name tells runs outside of this package where to find their own replacements.
        None if name == "optimal" else name,
        constants,
        fitted.first_scored,
        universe,
        batch_size,
        max_bytes,
        freeze_layer_norm,
        plain,
    )


def _name_of(ablation: AblationName | Constants) -> AblationName | None:
    """The ablation's name, None for an array of constants."""
    if isinstance(ablation, np.ndarray | jax.Array):
        return None
    if ablation not in ABLATION_NAMES:
        raise ValueError(
            f"Expected ablation to be one of {', '.join(ABLATION_NAMES)}, or an array of "
            f"constants; got {ablation!r}."
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
                "Pass them, or pairs that contain them, or choose another ablation."
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

"""What a method is given: inputs, and what takes the place of what is cut."""

from dataclasses import replace

import jax
import numpy as np

from interpbench_jax.ablations import (
    ABLATION_NAMES,
    AblationName,
    OptimalSettings,
    ablation_constants,
)
from interpbench_jax.axes import Constants, OtherTokens, Tokens
from interpbench_jax.discovery.method import DiscoveryData, FineUniverse
from interpbench_jax.interventions import check_constants
from interpbench_jax.metrics import Metric
from interpbench_jax.model import Transformer, check_tokens
from interpbench_jax.objective import Objective
from interpbench_jax.pairs import Pairs, as_pairs
from interpbench_jax.targets import own_answers


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
            `"optimal"`: constants that do the least harm, see `ablation_constants`; or an array of
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
    if name is None:
        constants = check_constants(model.config, clean.shape[1], ablation)  # pyright: ignore
    elif name == "resample":
        constants = None
    else:
        constants = ablation_constants(
            model,
            replace(pairs, corrupted_input_ids=np.asarray(corrupted)),
            ablation=name,
            metric=metric,
            optimal=optimal,
            freeze_layer_norm=freeze_layer_norm,
            batch_size=batch_size,
        )
    fitted = pairs.objective.fit(model, clean)
    return DiscoveryData(
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

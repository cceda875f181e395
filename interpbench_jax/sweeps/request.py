"""What callers of a sweep ask for, and whether it makes sense."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import jax
import numpy as np
from jax.sharding import Mesh

from interpbench_jax.ablations import ABLATION_NAMES, AblationName, ablation_constants
from interpbench_jax.axes import Constants
from interpbench_jax.interventions import check_constants
from interpbench_jax.metrics import default_metric, for_targets, resolve_metric
from interpbench_jax.model import Transformer, check_model, check_tokens
from interpbench_jax.pairs import Pairs, PairStream
from interpbench_jax.sweeps.inputs import SweepInputs, stream_inputs
from interpbench_jax.sweeps.mesh import Placement
from interpbench_jax.sweeps.program import SweepScoring
from interpbench_jax.sweeps.run import CONSTANTS, Progress, ReplacementSource

Positions = Literal["all", "each"] | Sequence[int]
Ablations = AblationName | Sequence[AblationName] | Constants


@dataclass(frozen=True)
class Request:
    """What every kind of sweep is asked for; the arguments of `sweep_edges` say what each is."""

    model: Transformer
    pairs: Pairs | PairStream
    ablation: Ablations
    positions: Positions = "all"
    return_logits: bool = False
    max_bytes: int | None = None
    mesh: Mesh | None = None
    save_to: str | Path | None = None
    explain: bool = False
    progress: Progress | None = None
    freeze_layer_norm: bool = False

    def __post_init__(self) -> None:
        check_model(self.model)


@dataclass(frozen=True)
class CheckedRequest:
    """A request that makes sense.

    Attributes:
        inputs: what the runs read.
        ablations: one or several.
        several: whether several were asked for, if only as a list of one.
        positions: those that are patched alone; None for all at once.
        scoring: what becomes of a run.
        metric: the metric's name.
        placement: the devices.
    """

    inputs: SweepInputs
    ablations: tuple[ReplacementSource, ...]
    several: bool
    positions: tuple[int, ...] | None
    scoring: SweepScoring
    metric: str
    placement: Placement


def check_request(request: Request) -> CheckedRequest:
    """Everything about a request that can be wrong, looked at; of a stream, its first block.

    Raises:
        ValueError: if an argument does not fit the model or the others.
    """
    if isinstance(request.pairs, PairStream):
        return _check_stream(request, request.pairs)
    return _check_pairs(request, request.pairs)


def _check_stream(request: Request, stream: PairStream) -> CheckedRequest:
    first = next(iter(stream), None)
    if first is None:
        raise ValueError("Expected at least one input, got a stream without any.")
    ablation = request.ablation
    is_array = isinstance(ablation, np.ndarray | jax.Array)
    if not is_array and "optimal" in ((ablation,) if isinstance(ablation, str) else ablation):
        raise ValueError(
            "Expected constants in place of 'optimal' beside a stream, because they are learned "
            "on pairs in memory; pass ablation=ablation_constants(model, pairs) of some pairs."
        )
    checked = _check_pairs(request, first)
    expected = _kind_of_block(checked)

    def read(block: Pairs) -> SweepInputs:
        """A later block, which has to be like the first."""
        found = _check_pairs(request, block)
        kind = _kind_of_block(found)
        if kind != expected:
            raise ValueError(
                f"Expected the blocks of a stream to be of one kind, {expected}, got {kind}."
            )
        if found.scoring.metric is not checked.scoring.metric:
            raise ValueError(
                "Expected every block of a stream to have positions that do not count, or none, "
                "because the metric is not one of ours; got some of both."
            )
        return found.inputs

    return replace(checked, inputs=stream_inputs(stream, checked.inputs, read))


def _kind_of_block(checked: CheckedRequest) -> str:
    """What the blocks of a stream have in common, in words."""
    inputs, scoring = checked.inputs, checked.scoring
    if inputs.corrupted.shape != inputs.clean.shape:
        raise ValueError(
            f"Expected as many corrupted inputs in a block as clean ones, {len(inputs.clean)}, got "
            f"{len(inputs.corrupted)}."
        )
    compared = "the clean run's outputs"
    if inputs.targets is not None:
        pairs = " with distractors" if inputs.targets.ndim == 3 else ""
        compared = f"targets of type {inputs.targets.dtype}{pairs}"
    return (
        f"{inputs.clean.shape[1]} positions, scored from position {scoring.first_scored} on, "
        f"by {checked.metric} against {compared}"
    )


def _check_pairs(request: Request, pairs: Pairs) -> CheckedRequest:
    given = request.ablation
    constants = given if isinstance(given, np.ndarray | jax.Array) else None
    ablations = (CONSTANTS,) if constants is not None else _check_ablations(given)
    inputs = _check_inputs(request.model, pairs, ablations)
    if constants is not None:
        values = check_constants(request.model.config, inputs.clean.shape[1], constants)
        inputs = replace(inputs, constants=values)
    elif "optimal" in ablations:
        learned = ablation_constants(
            request.model, pairs, freeze_layer_norm=request.freeze_layer_norm
        )
        inputs = replace(inputs, constants=learned)
    n_pos = inputs.clean.shape[1]
    config, objective = request.model.config, pairs.objective
    metric = default_metric(config) if objective.metric is None else objective.metric
    resolved = resolve_metric(metric, config)
    fitted = objective.fit(request.model, np.asarray(inputs.clean))
    inputs = replace(inputs, targets=_held(fitted.targets))
    positions = _check_positions(request.positions, n_pos)
    placement = Placement(request.mesh)
    if request.return_logits and (request.save_to is not None or not placement.is_whole):
        raise ValueError(
            "Expected return_logits without save_to and within one process: logits are neither "
            "written nor sent."
        )
    if request.save_to is not None and not placement.is_whole:
        raise ValueError("Expected save_to within one process, got a mesh over several.")
    return CheckedRequest(
        inputs=inputs,
        ablations=ablations,
        several=constants is None and not isinstance(request.ablation, str),
        positions=positions,
        scoring=SweepScoring(
            for_targets(resolved, fitted.seen),
            fitted.first_scored,
            positions is not None,
            request.return_logits,
        ),
        metric=metric if isinstance(metric, str) else getattr(metric, "__name__", "custom"),
        placement=placement,
    )


def _held(targets: np.ndarray | None) -> np.ndarray | None:
    """Targets as programs take them: of pairs, answers first, then distractors."""
    return np.moveaxis(targets, -1, 0) if targets is not None and targets.ndim == 3 else targets


def _check_inputs(
    model: Transformer, pairs: Pairs, ablations: tuple[ReplacementSource, ...]
) -> SweepInputs:
    """The inputs as arrays of the host.

    Raises:
        ValueError: if they do not fit the model or one another.
    """
    clean, corrupted = pairs.input_ids, pairs.corrupted_input_ids
    if corrupted is None and "resample" in ablations:
        raise ValueError(
            "Expected corrupted inputs, one for each clean one, to resample from; got none. Pass "
            'them, or choose ablation="mean" or "zero".'
        )
    corrupted = clean if corrupted is None else corrupted
    check_tokens(model.config, clean)
    check_tokens(model.config, corrupted)
    if len(clean) == 0 or len(corrupted) == 0:
        raise ValueError("Expected at least one input, got none.")
    paired = corrupted.shape == clean.shape
    if not paired and ("resample" in ablations or corrupted.shape[1] != clean.shape[1]):
        raise ValueError(
            f"Expected corrupted inputs of shape {clean.shape} as the clean ones, got "
            f"{corrupted.shape}; rows are pairs."
        )
    return SweepInputs(np.asarray(clean), np.asarray(corrupted), None)


def _check_ablations(ablation: Ablations) -> tuple[AblationName, ...]:
    chosen: tuple[AblationName, ...] = (
        (ablation,) if isinstance(ablation, str) else tuple(ablation)  # pyright: ignore
    )
    if not chosen or len(set(chosen)) < len(chosen) or not set(chosen) <= set(ABLATION_NAMES):
        raise ValueError(
            f"Expected an ablation out of {', '.join(ABLATION_NAMES)}, or several different ones, "
            f"got {ablation!r}."
        )
    return chosen


def _check_positions(positions: Positions, n_pos: int) -> tuple[int, ...] | None:
    if isinstance(positions, str):
        if positions == "all":
            return None
        if positions == "each":
            return tuple(range(n_pos))
        raise ValueError(f"Expected positions 'all', 'each' or a list, got {positions!r}.")
    chosen = tuple(int(position) for position in positions)
    if not chosen or not all(0 <= position < n_pos for position in chosen):
        raise ValueError(f"Expected positions from 0 to {n_pos - 1}, at least one, got {chosen}.")
    return chosen

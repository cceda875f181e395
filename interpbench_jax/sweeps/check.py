"""What the caller of a sweep asks for, and whether it makes sense."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Generic, Literal

import jax
import numpy as np

from interpbench_jax.ablations import ABLATION_NAMES
from interpbench_jax.axes import Constants
from interpbench_jax.engine.scoring import Scoring
from interpbench_jax.interventions import check_constants
from interpbench_jax.metrics import default_metric, for_targets, resolve_metric
from interpbench_jax.model import Transformer, check_tokens
from interpbench_jax.names import AblationName
from interpbench_jax.pairs import Pairs, PairStream
from interpbench_jax.sweeps.edits import EditName, EditSet
from interpbench_jax.sweeps.inputs import (
    CONSTANTS,
    ReplacementSource,
    SweepInputs,
    stream_inputs,
)
from interpbench_jax.sweeps.mesh import Placement
from interpbench_jax.sweeps.options import DEFAULT_OPTIONS, SweepOptions

Positions = Literal["all", "each"] | Sequence[int]
Ablations = AblationName | Sequence[AblationName] | Constants


@dataclass(frozen=True, kw_only=True)
class SweepRequest(Generic[EditName]):
    """What a sweep is asked for; see the arguments of `sweep_edges`."""

    model: Transformer
    pairs: Pairs | PairStream
    edits: EditSet[EditName]
    ablation: Ablations
    positions: Positions = "all"
    freeze_layer_norm: bool = False
    options: SweepOptions | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.options, SweepOptions | None):
            raise TypeError(
                f"Expected options as SweepOptions(max_bytes=..., save_to=...), got "
                f"{self.options!r}."
            )

    @property
    def how(self) -> SweepOptions:
        """The options, or else the default ones."""
        return DEFAULT_OPTIONS if self.options is None else self.options


@dataclass(frozen=True)
class SweepQuestion:
    """What a sweep measures: a request that has been checked.

    Attributes:
        inputs: the inputs of the runs.
        ablations: one or several ablations.
        several: whether several were asked for, if only as a list of one.
        positions: the positions that are patched one at a time; None for all at once.
        scoring: how logits become a score.
        metric: the metric's name.
        placement: the devices.
        return_logits: whether the logits of every patched run are kept.
    """

    inputs: SweepInputs
    ablations: tuple[ReplacementSource, ...]
    several: bool
    positions: tuple[int, ...] | None
    scoring: Scoring
    metric: str
    placement: Placement
    return_logits: bool


def check_request(request: SweepRequest[EditName]) -> SweepQuestion:
    """Check everything about a request that can be wrong; of a stream, its first block.

    Raises:
        ValueError: if an argument does not fit the model or the others.
    """
    if isinstance(request.pairs, PairStream):
        return _check_stream(request, request.pairs)
    return _check_pairs(request, request.pairs)


def _check_stream(request: SweepRequest[EditName], stream: PairStream) -> SweepQuestion:
    first = next(iter(stream), None)
    if first is None:
        raise ValueError("Expected at least one input, got a stream without any.")
    ablation = request.ablation
    is_array = isinstance(ablation, np.ndarray | jax.Array)
    if not is_array and "optimal" in ((ablation,) if isinstance(ablation, str) else ablation):
        raise ValueError(
            "Expected constants in place of 'optimal' with a stream, because they are learned "
            "from pairs in memory; pass ablation=ablation_constants(model, pairs) of some pairs."
        )
    question = _check_pairs(request, first)
    expected = _kind_of_block(question)

    def read(block: Pairs) -> SweepInputs:
        """A later block, which has to be of the same kind as the first."""
        found = _check_pairs(request, block)
        kind = _kind_of_block(found)
        if kind != expected:
            raise ValueError(
                f"Expected the blocks of a stream to be of one kind, {expected}, got {kind}."
            )
        if found.scoring.metric is not question.scoring.metric:
            raise ValueError(
                "Expected all blocks of a stream, or none, to have positions that are not scored, "
                "because the metric is a custom one; got some of both."
            )
        return found.inputs

    return replace(question, inputs=stream_inputs(stream, question.inputs, read))


def _kind_of_block(question: SweepQuestion) -> str:
    """What all blocks of a stream share, in words."""
    inputs, scoring = question.inputs, question.scoring
    if inputs.corrupted.shape != inputs.clean.shape:
        raise ValueError(
            f"Expected as many corrupted inputs in a block as clean ones, {len(inputs.clean)}, got "
            f"{len(inputs.corrupted)}."
        )
    targets = "the clean run's outputs"
    if inputs.targets is not None:
        pairs = " with distractors" if inputs.targets.ndim == 3 else ""
        targets = f"targets of type {inputs.targets.dtype}{pairs}"
    return (
        f"{inputs.clean.shape[1]} positions, scored from position {scoring.first_scored} on, "
        f"by {question.metric} against {targets}"
    )


def _check_pairs(request: SweepRequest[EditName], pairs: Pairs) -> SweepQuestion:
    given, config = request.ablation, request.model.config
    constants = given if isinstance(given, np.ndarray | jax.Array) else None
    ablations = (CONSTANTS,) if constants is not None else _check_ablations(given)
    inputs = _check_inputs(request.model, pairs, ablations)
    n_pos = inputs.clean.shape[1]
    if constants is not None:
        inputs = replace(inputs, constants=check_constants(config, n_pos, constants))
    metric = pairs.objective.metric
    metric = default_metric(config) if metric is None else metric
    resolved = resolve_metric(metric, config)
    fitted = pairs.objective.fit(request.model, np.asarray(inputs.clean))
    inputs = replace(inputs, targets=_rows_last_but_one(fitted.targets))
    return SweepQuestion(
        inputs=inputs,
        ablations=ablations,
        several=constants is None and not isinstance(given, str),
        positions=_check_positions(request.positions, n_pos),
        scoring=Scoring(for_targets(resolved, fitted.seen), fitted.first_scored),
        metric=metric if isinstance(metric, str) else getattr(metric, "__name__", "custom"),
        placement=_check_placement(request.how),
        return_logits=request.how.return_logits,
    )


def _check_placement(options: SweepOptions) -> Placement:
    placement = Placement(options.mesh)
    if options.return_logits and (options.save_to is not None or not placement.is_whole):
        raise ValueError(
            "Expected return_logits without save_to and within one process: logits are neither "
            "written nor sent."
        )
    if options.save_to is not None and not placement.is_whole:
        raise ValueError("Expected save_to within one process, got a mesh over several.")
    return placement


def _rows_last_but_one(targets: np.ndarray | None) -> np.ndarray | None:
    """Targets as programs take them: of pairs, the answers and then the distractors."""
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
            f"Expected corrupted inputs of shape {clean.shape}, like the clean ones, got "
            f"{corrupted.shape}; rows are pairs."
        )
    return SweepInputs(np.asarray(clean), np.asarray(corrupted), None)


def _check_ablations(ablation: Ablations) -> tuple[AblationName, ...]:
    chosen: tuple[AblationName, ...] = (
        (ablation,) if isinstance(ablation, str) else tuple(ablation)  # pyright: ignore
    )
    if not chosen or len(set(chosen)) < len(chosen) or not set(chosen) <= set(ABLATION_NAMES):
        raise ValueError(
            f"Expected ablation to be one of {', '.join(ABLATION_NAMES)}, or several different "
            f"ones; got {ablation!r}."
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

"""Exhaustive patching: the effect of replacing each node, or each edge, by itself."""

from collections.abc import Sequence
from typing import Literal, TypeVar

import numpy as np

from interpbench_jax import circuit
from interpbench_jax.axes import OtherTokens, Tokens
from interpbench_jax.circuit import Universe, UniverseName
from interpbench_jax.interventions import ABLATIONS, Ablation
from interpbench_jax.metrics import Metric, MetricName, Targets, default_metric, resolve_metric
from interpbench_jax.model import Transformer, check_tokens
from interpbench_jax.sites import Edge, Node
from interpbench_jax.sweeps.chunks import choose_chunks, default_max_bytes
from interpbench_jax.sweeps.edits import make_edits
from interpbench_jax.sweeps.program import Inputs, Progress, Scoring, run_edits
from interpbench_jax.sweeps.result import SweepResult

Positions = Literal["all", "each"] | Sequence[int]

Name = TypeVar("Name", Edge, Node)


def sweep_edges(
    model: Transformer,
    clean: Tokens,
    corrupted: OtherTokens | None = None,
    *,
    universe: UniverseName = "qkv",
    ablation: Ablation = "resample",
    metric: MetricName | Metric | None = None,
    targets: Targets | None = None,
    positions: Positions = "all",
    first_scored: int = 1,
    return_logits: bool = False,
    max_bytes: int | None = None,
    progress: Progress | None = None,
) -> SweepResult[Edge]:
    """The effect of cutting each edge of a universe, alone.

    A cut edge carries its source's replacement to its reader, while everything else sees what
    the run itself gives; so the effects are direct, not through other paths out of the source.
    Source: exhaustive activation patching of edges, as in ACDC (Conmy et al. 2023,
    arXiv:2304.14997, section 3).

    Args:
        model: the model.
        clean: inputs, `[batch, pos]`, at least one.
        corrupted: the inputs that replacements come from. For `"resample"`: needed, as many as
            `clean`, paired by row. For `"mean"`: any number; by default the clean ones. For
            `"zero"`: not looked at.
        universe: which edges; an edge of a coarse universe cuts all that it stands for at once.
        ablation: `"resample"`, `"mean"` (over all rows, per position) or `"zero"`.
        metric: a name out of `metrics.METRICS` or a function like them; by default KL, or L2 for
            a regression. A function compiles anew for every new function object.
        targets: `[batch, pos]`, for the metrics that use any; by default the clean run's own.
        positions: `"all"`: an edit cuts at every position; `"each"`: one edit for every
            position; or the positions to do so for.
        first_scored: the first position that the metric looks at; 1 leaves BOS out.
        return_logits: whether to keep every patched run's logits.
        max_bytes: how much memory the compiled program may take for what it computes; picks
            how many edits and inputs are run at a time. Kept logits come on top. By default
            32 MiB on a CPU, where more is slower, and 2 GiB elsewhere.
        progress: called with the number of finished chunks and of all.

    Returns:
        Effects in the order of `circuit.universe(...).edges`; positive where the cut hurts.

    Raises:
        ValueError: if an argument does not fit the model or the others.
    """
    space = circuit.universe(universe, model.config.n_layers, model.config.n_heads)
    return _sweep(
        model,
        _check_inputs(model, clean, corrupted, targets, ablation),
        space,
        space.edges,
        tuple(space.members.values()),
        ablation,
        metric,
        positions,
        first_scored,
        return_logits,
        max_bytes,
        progress,
    )


def sweep_nodes(
    model: Transformer,
    clean: Tokens,
    corrupted: OtherTokens | None = None,
    *,
    universe: UniverseName = "qkv",
    ablation: Ablation = "resample",
    metric: MetricName | Metric | None = None,
    targets: Targets | None = None,
    positions: Positions = "all",
    first_scored: int = 1,
    return_logits: bool = False,
    max_bytes: int | None = None,
    progress: Progress | None = None,
) -> SweepResult[Node]:
    """The effect of replacing each node's output, alone, for everything that reads it.

    Source: activation patching (Vig et al. 2020, arXiv:2004.12265; Zhang and Nanda 2024,
    arXiv:2309.16042, section 2).

    The arguments are `sweep_edges`'s. The nodes are the sources of the universe: embeddings,
    heads and MLPs; the two embeddings are one node except in `"qkv"`.

    Returns:
        Effects in the order of `circuit.universe(...).sources`; positive where it hurts.

    Raises:
        ValueError: if an argument does not fit the model or the others.
    """
    space = circuit.universe(universe, model.config.n_layers, model.config.n_heads)
    return _sweep(
        model,
        _check_inputs(model, clean, corrupted, targets, ablation),
        space,
        space.sources,
        tuple(space.fine_edges_of(node) for node in space.sources),
        ablation,
        metric,
        positions,
        first_scored,
        return_logits,
        max_bytes,
        progress,
    )


def _sweep(
    model: Transformer,
    inputs: Inputs,
    space: Universe,
    names: tuple[Name, ...],
    groups: tuple[tuple[Edge, ...], ...],
    ablation: Ablation,
    metric: MetricName | Metric | None,
    positions: Positions,
    first_scored: int,
    return_logits: bool,
    max_bytes: int | None,
    progress: Progress | None,
) -> SweepResult[Name]:
    batch, n_pos = inputs.clean.shape
    if not 0 <= first_scored < n_pos:
        raise ValueError(
            f"Expected first_scored from 0 to {n_pos - 1}, got {first_scored}: the inputs have "
            f"{n_pos} positions."
        )
    metric = default_metric(model.config) if metric is None else metric
    function = resolve_metric(metric, model.config)
    chosen = _check_positions(positions, n_pos)
    edits = make_edits(groups, model.config, chosen)
    scoring = Scoring(function, first_scored, chosen is not None, return_logits)
    chunks = choose_chunks(
        model.config,
        model.dtype,
        edits.n_edits,
        batch,
        n_pos,
        default_max_bytes() if max_bytes is None else max_bytes,
        by_position=chosen is not None,
    )
    effects, logits = run_edits(model, inputs, edits, ablation, scoring, chunks, progress)
    shape = (len(names),) if chosen is None else (len(names), len(chosen))
    return SweepResult(
        names=names,
        effects=effects.reshape(shape),
        positions=chosen,
        logits=None if logits is None else logits.reshape(*shape, *logits.shape[1:]),
        metric=metric if isinstance(metric, str) else getattr(metric, "__name__", "custom"),
        ablation=ablation,
        universe=space.name,
        n_inputs=batch,
    )


def _check_inputs(
    model: Transformer,
    clean: Tokens,
    corrupted: OtherTokens | None,
    targets: Targets | None,
    ablation: Ablation,
) -> Inputs:
    if ablation not in ABLATIONS:
        raise ValueError(f"Expected an ablation out of {', '.join(ABLATIONS)}, got {ablation!r}.")
    if corrupted is None and ablation == "resample":
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
    if not paired and (ablation == "resample" or corrupted.shape[1] != clean.shape[1]):
        raise ValueError(
            f"Expected corrupted inputs of shape {clean.shape} as the clean ones, got "
            f"{corrupted.shape}; rows are pairs."
        )
    if targets is not None and targets.shape != clean.shape:
        raise ValueError(
            f"Expected targets of shape {clean.shape}, one per position, got {targets.shape}."
        )
    return Inputs(
        np.asarray(clean),
        np.asarray(corrupted),
        None if targets is None else np.asarray(targets),
    )


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

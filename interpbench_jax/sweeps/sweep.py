"""Exhaustive patching: the effect of replacing each node, or each edge, by itself."""

from pathlib import Path

from jax.sharding import Mesh

from interpbench_jax.axes import OtherTokens, Tokens
from interpbench_jax.metrics import Metric, MetricName
from interpbench_jax.model import Transformer
from interpbench_jax.objective import Objective
from interpbench_jax.pairs import Pairs, PairStream, as_source
from interpbench_jax.sites import Edge, Node
from interpbench_jax.sweeps.answer import answer, wanted_edges, wanted_nodes
from interpbench_jax.sweeps.request import Ablations, Positions, Request
from interpbench_jax.sweeps.result import SweepResult
from interpbench_jax.sweeps.run import Progress
from interpbench_jax.universes import UniverseName


def sweep_edges(
    model: Transformer,
    clean: Tokens | Pairs | PairStream,
    corrupted: OtherTokens | None = None,
    *,
    universe: UniverseName = "qkv",
    ablation: Ablations = "resample",
    objective: Objective | None = None,
    metric: MetricName | Metric | None = None,
    positions: Positions = "all",
    return_logits: bool = False,
    max_bytes: int | None = None,
    mesh: Mesh | None = None,
    save_to: str | Path | None = None,
    explain: bool = False,
    progress: Progress | None = None,
    freeze_layer_norm: bool = False,
) -> SweepResult[Edge]:
    """The effect of cutting each edge of a universe, alone.

    A cut edge carries its source's replacement to its reader, while everything else sees what
    the run itself gives; so the effects are direct, not through other paths out of the source.
    Source: exhaustive activation patching of edges, as in ACDC (Conmy et al. 2023,
    arXiv:2304.14997).

    Args:
        model: the model.
        clean: pairs of inputs, as `case.sample` gives them; or clean inputs alone, `[batch, pos]`,
            at least one; or a stream of pairs (`case.stream`), where memory does not hold them.
        corrupted: beside clean inputs, those that replacements come from. For `"resample"`:
            needed, as many as the clean ones, paired by row. For `"mean"` and `"optimal"`: any
            number; by default the clean ones. For `"zero"`: not looked at.
        universe: which edges; an edge of a coarse universe cuts all that it stands for at once.
        ablation: `"resample"`, `"mean"` (over all rows, per position), `"zero"`, which removes
            the positional embedding too, or `"optimal"`, constants that are learned first
            (`ablation_constants`); or several of them, which share the clean run; or constants of
            every writer, `[1, pos, src, d_model]`, where `pos` may be 1.
        objective: what a patched run is judged by: the metric, what it compares with, and the
            positions that count. By default that of the pairs; for arrays, of the clean run's own
            outputs at every position but the first.
        metric: in place of the objective's: a name out of `metrics.METRICS` or a function like
            them; where neither says, KL, or L2 for a regression. A function compiles anew for
            every new function object.
        positions: `"all"`: an edit cuts at every position; `"each"`: one edit for every
            position; or the positions to do so for.
        return_logits: whether to keep every patched run's logits.
        max_bytes: how much memory the compiled programs may take, by XLA's account; picks how
            many edits and inputs are run at a time. Kept logits come on top. By default 512 MiB
            on a CPU and 4 GiB elsewhere; on a CPU more is hardly ever faster.
        mesh: the devices to share the work, as `sweep_mesh` gives them; by default one.
        save_to: a folder that finished parts are written to, and `effects.parquet` at the end. A
            sweep that was stopped goes on from there when it is called again, with the same
            result. Needs pyarrow (the `dataset` extra).
        explain: whether to print how the sweep is going to be computed.
        progress: called with the number of finished calls of the program and of all.
        freeze_layer_norm: whether every reader's layer norm divides by what it divided by in the
            clean run, on the same input, as attribution does (Kramar et al. 2024,
            arXiv:2403.00745); its mean is still its own. Models without one are not affected.

    Returns:
        Effects in the order of `universes.universe(...).edges`; positive where the cut hurts. Where
        several ablations were asked for, the first axis counts them.

    Raises:
        ValueError: if an argument does not fit the model or the others.
    """
    request = Request(
        model,
        as_source(clean, corrupted, objective, metric),
        ablation,
        positions=positions,
        return_logits=return_logits,
        max_bytes=max_bytes,
        mesh=mesh,
        save_to=save_to,
        explain=explain,
        progress=progress,
        freeze_layer_norm=freeze_layer_norm,
    )
    return answer(request, wanted_edges(model.config, universe))


def sweep_nodes(
    model: Transformer,
    clean: Tokens | Pairs | PairStream,
    corrupted: OtherTokens | None = None,
    *,
    universe: UniverseName = "qkv",
    ablation: Ablations = "resample",
    objective: Objective | None = None,
    metric: MetricName | Metric | None = None,
    positions: Positions = "all",
    return_logits: bool = False,
    max_bytes: int | None = None,
    mesh: Mesh | None = None,
    save_to: str | Path | None = None,
    explain: bool = False,
    progress: Progress | None = None,
    freeze_layer_norm: bool = False,
) -> SweepResult[Node]:
    """The effect of replacing each node's output, alone, for everything that reads it.

    Source: activation patching (Vig et al. 2020, arXiv:2004.12265; Zhang and Nanda 2024,
    arXiv:2309.16042).

    The arguments are `sweep_edges`'s. The nodes are the sources of the universe: embeddings,
    heads and MLPs; the two embeddings are one node except in `"qkv"`.

    Returns:
        Effects in the order of `universes.universe(...).sources`; positive where it hurts.

    Raises:
        ValueError: if an argument does not fit the model or the others.
    """
    request = Request(
        model,
        as_source(clean, corrupted, objective, metric),
        ablation,
        positions=positions,
        return_logits=return_logits,
        max_bytes=max_bytes,
        mesh=mesh,
        save_to=save_to,
        explain=explain,
        progress=progress,
        freeze_layer_norm=freeze_layer_norm,
    )
    return answer(request, wanted_nodes(model.config, universe))

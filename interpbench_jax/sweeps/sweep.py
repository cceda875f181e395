"""Exhaustive patching: the effect of replacing each node, or each edge, by itself."""

from interpbench_jax.axes import OtherTokens, Tokens
from interpbench_jax.metrics import Metric, MetricName
from interpbench_jax.model import Transformer, check_model
from interpbench_jax.objective import Objective
from interpbench_jax.pairs import Pairs, PairStream, as_source
from interpbench_jax.sites import Edge, Node
from interpbench_jax.sweeps.check import Ablations, Positions, SweepRequest
from interpbench_jax.sweeps.edits import edges_of, nodes_of
from interpbench_jax.sweeps.options import SweepOptions
from interpbench_jax.sweeps.pipeline import run_sweep
from interpbench_jax.sweeps.result import SweepResult
from interpbench_jax.universes import UniverseName


def sweep_edges(
    model: Transformer,
    clean: Tokens | Pairs | PairStream,
    corrupted: OtherTokens | None = None,
    *,
    universe: UniverseName = "qkv",
    ablation: Ablations = "resample",
    positions: Positions = "all",
    objective: Objective | None = None,
    metric: MetricName | Metric | None = None,
    freeze_layer_norm: bool = False,
    options: SweepOptions | None = None,
) -> SweepResult[Edge]:
    """The effect of cutting each edge of a universe, alone.

    A cut edge carries the replacement of its source's output to its reader; everything else is
    what the run itself computes. So effects are direct: they do not include other paths from the
    source.
    Source: exhaustive activation patching of edges, as in ACDC (Conmy et al. 2023,
    arXiv:2304.14997).

    Args:
        model: the model.
        clean: pairs of inputs, as `case.sample` returns them; or clean inputs alone,
            `[batch, pos]`, at least one; or a stream of pairs (`case.stream`), which need not fit
            into memory.
        corrupted: with clean inputs, the inputs that replacements come from. For `"resample"`:
            required, one for each clean input, paired by row. For `"mean"` and `"optimal"`: any
            number; the default is the clean inputs. For `"zero"`: ignored.
        universe: the edges; cutting an edge of a coarse universe cuts all edges that it stands for.
        ablation: `"resample"`, `"mean"` (over all rows, per position), `"zero"`, which removes
            the positional embedding too, or `"optimal"`, constants that are learned first
            (`ablation_constants`); or several of them, which share the clean run; or constants for
            every writer, `[1, pos, src, d_model]`, where `pos` may be 1.
        positions: `"all"`: an edit cuts at every position; `"each"`: one edit for every position;
            or a list of positions, with one edit for each.
        objective: how patched runs are scored: the metric, its targets, and the scored positions.
            The default is the objective of the pairs; for arrays, the clean run's own answers at
            every position but the first.
        metric: the metric to use instead of the objective's: the name of one of
            `metrics.METRICS`, or a function like them. If neither is given: KL, or L2 for a
            regression. Every new function object is compiled anew.
        freeze_layer_norm: whether every reader's layer norm divides by what it divided by in the
            clean run on the same input, as attribution does (Kramar et al. 2024,
            arXiv:2403.00745); it still subtracts its own mean. Models without layer norm are not
            affected.
        options: how the sweep is computed: memory, devices, a folder to save to, progress.

    Returns:
        Effects in the order of `universes.universe(...).edges`; positive where the cut hurts. If
        several ablations were requested, the first axis counts them.

    Raises:
        ValueError: if an argument does not fit the model or the others.
    """
    check_model(model)
    return run_sweep(
        SweepRequest(
            model=model,
            pairs=as_source(clean, corrupted, objective, metric),
            edits=edges_of(model.config, universe),
            ablation=ablation,
            positions=positions,
            freeze_layer_norm=freeze_layer_norm,
            options=options,
        )
    )


def sweep_nodes(
    model: Transformer,
    clean: Tokens | Pairs | PairStream,
    corrupted: OtherTokens | None = None,
    *,
    universe: UniverseName = "qkv",
    ablation: Ablations = "resample",
    positions: Positions = "all",
    objective: Objective | None = None,
    metric: MetricName | Metric | None = None,
    freeze_layer_norm: bool = False,
    options: SweepOptions | None = None,
) -> SweepResult[Node]:
    """The effect of replacing each node's output, alone, for all of its readers.

    Source: activation patching (Vig et al. 2020, arXiv:2004.12265; Zhang and Nanda 2024,
    arXiv:2309.16042).

    The nodes are the sources of the universe: embeddings, heads and MLPs; the two embeddings are
    one node except in `"qkv"`. See `sweep_edges` for the arguments and errors.

    Returns:
        Effects in the order of `universes.universe(...).sources`; positive where the replacement
        hurts.
    """
    check_model(model)
    return run_sweep(
        SweepRequest(
            model=model,
            pairs=as_source(clean, corrupted, objective, metric),
            edits=nodes_of(model.config, universe),
            ablation=ablation,
            positions=positions,
            freeze_layer_norm=freeze_layer_norm,
            options=options,
        )
    )

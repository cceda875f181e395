"""Patching of other things than one edge or node: sets of edges, masks, single hidden units."""

from collections.abc import Collection, Sequence

import numpy as np
from jaxtyping import Array, Float

from interpbench_jax.axes import Constants, OtherTokens, Tokens
from interpbench_jax.layout import Layout
from interpbench_jax.metrics import Metric, MetricName
from interpbench_jax.model import Transformer, check_model
from interpbench_jax.names import AblationName
from interpbench_jax.objective import Objective
from interpbench_jax.pairs import Pairs, PairStream, as_source
from interpbench_jax.sites import Edge, Neuron
from interpbench_jax.sweeps.check import Ablations, Positions, SweepRequest
from interpbench_jax.sweeps.edits import cuts_of, masks_of, neurons_of
from interpbench_jax.sweeps.options import SweepOptions
from interpbench_jax.sweeps.pipeline import run_sweep
from interpbench_jax.sweeps.result import SweepResult

Masks = Float[Array | np.ndarray, "edits dst src"] | Float[Array | np.ndarray, "edits dst src pos"]


def sweep_cuts(
    model: Transformer,
    clean: Tokens | Pairs | PairStream,
    corrupted: OtherTokens | None = None,
    *,
    cuts: Sequence[Collection[Edge]],
    ablation: AblationName | Constants = "resample",
    objective: Objective | None = None,
    metric: MetricName | Metric | None = None,
    freeze_layer_norm: bool = False,
    options: SweepOptions | None = None,
) -> SweepResult[tuple[Edge, ...]]:
    """The effect of cutting each of some sets of edges, its edges together.

    For pairs of edges: `cuts=list(itertools.combinations(edges, 2))`. To evaluate a circuit, cut
    the edges outside of it; for many circuits, `sweep_masks` takes their masks.

    Args:
        model: the model.
        clean: see `sweep_edges`.
        corrupted: see `sweep_edges`.
        cuts: the sets; edges are fine ones, from a writer to a reader (universe `"qkv"`).
        ablation: one ablation; see `sweep_edges`.
        objective: see `sweep_edges`.
        metric: see `sweep_edges`.
        freeze_layer_norm: see `sweep_edges`.
        options: see `sweep_edges`.

    Returns:
        Effects in the order of `cuts`; positive where the cut hurts.

    Raises:
        ValueError: if an argument does not fit the model or the others, or a set is empty.
    """
    check_model(model)
    _check_one(ablation)
    names = tuple(tuple(cut) for cut in cuts)
    if not names or not all(names):
        raise ValueError("Expected sets of at least one edge each, at least one; got none.")
    return run_sweep(
        SweepRequest(
            model=model,
            pairs=as_source(clean, corrupted, objective, metric),
            edits=cuts_of(names, model.config, model.dtype),
            ablation=ablation,
            freeze_layer_norm=freeze_layer_norm,
            options=options,
        )
    )


def sweep_masks(
    model: Transformer,
    clean: Tokens | Pairs | PairStream,
    corrupted: OtherTokens | None = None,
    *,
    masks: Masks,
    ablation: AblationName | Constants = "resample",
    objective: Objective | None = None,
    metric: MetricName | Metric | None = None,
    freeze_layer_norm: bool = False,
    options: SweepOptions | None = None,
) -> SweepResult[int]:
    """The effect of each of some masks, for example of circuits or of fractions of edges.

    A run under a mask computes what `masked_forward` does. The mask of a circuit is
    `masks.edge_mask` of its fine edges. Runs start at the first layer in which their mask cuts an
    edge.

    Args:
        model: the model.
        clean: see `sweep_edges`.
        corrupted: see `sweep_edges`.
        masks: `[edits, dst, src]` or `[edits, dst, src, pos]`, in the orders of `sites.readers`
            and `sites.writers`; 1 keeps an edge, 0 cuts it, and values between do so in part.
        ablation: one ablation; see `sweep_edges`.
        objective: see `sweep_edges`.
        metric: see `sweep_edges`.
        freeze_layer_norm: see `sweep_edges`.
        options: see `sweep_edges`.

    Returns:
        Effects in the order of the masks; positive where the mask hurts.

    Raises:
        ValueError: if an argument does not fit the model or the others.
    """
    check_model(model)
    _check_one(ablation)
    layout = Layout(model.config.n_layers, model.config.n_heads)
    shape = (layout.n_readers, layout.n_writers)
    pairs = as_source(clean, corrupted, objective, metric)
    some = pairs if isinstance(pairs, Pairs) else next(iter(pairs))
    n_pos = np.shape(some.input_ids)[-1]
    if masks.shape[1:] not in (shape, (*shape, n_pos)) or not len(masks):
        raise ValueError(
            f"Expected masks of shape (edits, dst, src) = (edits, {shape[0]}, {shape[1]}) or "
            f"(edits, dst, src, pos), at least one, got {masks.shape}."
        )
    cut = 1 - np.asarray(masks, model.dtype)
    return run_sweep(
        SweepRequest(
            model=model,
            pairs=pairs,
            edits=masks_of(cut.reshape(*cut.shape[:3], -1)),
            ablation=ablation,
            freeze_layer_norm=freeze_layer_norm,
            options=options,
        )
    )


def sweep_neurons(
    model: Transformer,
    clean: Tokens | Pairs | PairStream,
    corrupted: OtherTokens | None = None,
    *,
    ablation: Ablations = "resample",
    positions: Positions = "all",
    objective: Objective | None = None,
    metric: MetricName | Metric | None = None,
    freeze_layer_norm: bool = False,
    options: SweepOptions | None = None,
) -> SweepResult[Neuron]:
    """The effect of replacing each hidden unit of each MLP, alone, after its activation function.

    See `sweep_edges` for the arguments and errors; the ablations are `"resample"`, `"mean"` and
    `"zero"`.

    Returns:
        Effects by layer, then by unit; positive where the replacement hurts.
    """
    check_model(model)
    if isinstance(ablation, np.ndarray | Array):
        raise ValueError(
            "Expected an ablation by name for hidden units, got an array of replacements, which "
            "are for writers' outputs."
        )
    if "optimal" in ([ablation] if isinstance(ablation, str) else ablation):
        raise ValueError(
            "Expected ablation to be one of resample, mean, zero for hidden units; got 'optimal', "
            "which is for writers' outputs."
        )
    return run_sweep(
        SweepRequest(
            model=model,
            pairs=as_source(clean, corrupted, objective, metric),
            edits=neurons_of(model.config),
            ablation=ablation,
            positions=positions,
            freeze_layer_norm=freeze_layer_norm,
            options=options,
        )
    )


def _check_one(ablation: AblationName | Constants) -> None:
    if not isinstance(ablation, str | np.ndarray | Array):
        raise ValueError(f"Expected one ablation for sets and masks, got {ablation!r}.")

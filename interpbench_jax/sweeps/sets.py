"""Patching of more, or of less, than one edge or node: sets, masks, single neurons."""

from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Float

from interpbench_jax.ablations import AblationName
from interpbench_jax.axes import Constants, OtherTokens, Tokens
from interpbench_jax.metrics import Metric, MetricName
from interpbench_jax.model import Transformer
from interpbench_jax.objective import Objective
from interpbench_jax.pairs import Pairs, PairStream, as_source
from interpbench_jax.sites import Edge, Neuron, readers, writers
from interpbench_jax.sweeps.answer import Wanted, answer
from interpbench_jax.sweeps.edits import cuts_of, neuron_entries, single_entries
from interpbench_jax.sweeps.request import Ablations, Positions, Request
from interpbench_jax.sweeps.result import SweepResult
from interpbench_jax.sweeps.run import Progress

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
    return_logits: bool = False,
    max_bytes: int | None = None,
    mesh: Mesh | None = None,
    save_to: str | Path | None = None,
    explain: bool = False,
    progress: Progress | None = None,
    freeze_layer_norm: bool = False,
) -> SweepResult[tuple[Edge, ...]]:
    """The effect of cutting each of some sets of edges, its edges together.

    For pairs: `cuts=list(itertools.combinations(edges, 2))`. What remains of a circuit is cut by
    the edges outside of it; for many circuits, `sweep_masks` takes their masks as they are.

    Args:
        cuts: the sets; edges are fine ones, from a writer to a reader (universe `"qkv"`).

    The other arguments are `sweep_edges`'s, which see, and so are the errors.

    Returns:
        Effects in the order of `cuts`; positive where the cut hurts.
    """
    _check_one(ablation)
    config = model.config
    names = tuple(tuple(cut) for cut in cuts)
    if not names or not all(names):
        raise ValueError("Expected sets of at least one edge each, at least one; got none.")
    edits, others = single_entries(names, config.n_layers, config.n_heads)
    masks = edits
    if others:
        masks = cuts_of(names, config.n_layers, config.n_heads, model.dtype)
    return answer(
        Request(
            model,
            as_source(clean, corrupted, objective, metric),
            ablation,
            return_logits=return_logits,
            max_bytes=max_bytes,
            mesh=mesh,
            save_to=save_to,
            explain=explain,
            progress=progress,
            freeze_layer_norm=freeze_layer_norm,
        ),
        Wanted(names, masks),
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
    return_logits: bool = False,
    max_bytes: int | None = None,
    mesh: Mesh | None = None,
    save_to: str | Path | None = None,
    explain: bool = False,
    progress: Progress | None = None,
    freeze_layer_norm: bool = False,
) -> SweepResult[int]:
    """The effect of each of some masks: of circuits to evaluate, of parts of edges.

    A run under a mask is `masked_forward`'s. A circuit's mask is `masks.edge_mask` of its fine
    edges. Runs start at the first layer in which their mask cuts anything.

    Args:
        masks: `[edits, dst, src]` or `[edits, dst, src, pos]`, in the orders of `sites.readers`
            and `sites.writers`; 1 keeps an edge and 0 cuts it, and so on between.

    The other arguments are `sweep_edges`'s, which see, and so are the errors.

    Returns:
        Effects by the masks' numbers; positive where the mask hurts.
    """
    _check_one(ablation)
    config = model.config
    shape = (
        len(readers(config.n_layers, config.n_heads)),
        len(writers(config.n_layers, config.n_heads)),
    )
    pairs = as_source(clean, corrupted, objective, metric)
    some = pairs if isinstance(pairs, Pairs) else next(iter(pairs))
    n_pos = np.shape(some.input_ids)[-1]
    if masks.shape[1:] not in (shape, (*shape, n_pos)) or not len(masks):
        raise ValueError(
            f"Expected masks of shape (edits, dst, src) = (edits, {shape[0]}, {shape[1]}) or "
            f"(edits, dst, src, pos), at least one, got {masks.shape}."
        )
    cut = 1 - np.asarray(masks, model.dtype)
    return answer(
        Request(
            model,
            pairs,
            ablation,
            return_logits=return_logits,
            max_bytes=max_bytes,
            mesh=mesh,
            save_to=save_to,
            explain=explain,
            progress=progress,
            freeze_layer_norm=freeze_layer_norm,
        ),
        Wanted(tuple(range(len(cut))), cut.reshape(*cut.shape[:3], -1)),
    )


def sweep_neurons(
    model: Transformer,
    clean: Tokens | Pairs | PairStream,
    corrupted: OtherTokens | None = None,
    *,
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
) -> SweepResult[Neuron]:
    """The effect of replacing each hidden unit of each MLP, alone, after its activation function.

    The arguments are `sweep_edges`'s, which see, and so are the errors.

    Returns:
        Effects by layer, then unit; positive where it hurts.
    """
    if isinstance(ablation, np.ndarray | Array):
        raise ValueError(
            "Expected an ablation by name for hidden units, got an array of replacements, which "
            "are of writers' outputs."
        )
    if "optimal" in ([ablation] if isinstance(ablation, str) else ablation):
        raise ValueError(
            "Expected an ablation out of resample, mean, zero for hidden units, got 'optimal', "
            "which is of writers' outputs."
        )
    config = model.config
    names = tuple(
        Neuron(layer, index) for layer in range(config.n_layers) for index in range(config.d_mlp)
    )
    return answer(
        Request(
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
        ),
        Wanted(names, neuron_entries(config.n_layers, config.d_mlp), replaces_neurons=True),
    )


def _check_one(ablation: AblationName | Constants) -> None:
    if not isinstance(ablation, str | np.ndarray | Array):
        raise ValueError(f"Expected one ablation for sets and masks, got {ablation!r}.")

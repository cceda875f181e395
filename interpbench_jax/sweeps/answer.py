"""From a request and its edits to a result."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Generic

import numpy as np
from jaxtyping import Float

from interpbench_jax import universes
from interpbench_jax.config import TransformerConfig
from interpbench_jax.engine.suffix import Entry
from interpbench_jax.engine.weights import Form, stack_weights
from interpbench_jax.metrics import METRICS, noise_floor
from interpbench_jax.sites import Edge, Node, writers
from interpbench_jax.sweeps.calls import Call
from interpbench_jax.sweeps.edits import (
    Blocked,
    Edits,
    block_edits,
    block_masks,
    mask_layers,
    single_entries,
)
from interpbench_jax.sweeps.inputs import SweepInputs, blocks_of
from interpbench_jax.sweeps.parts import check_pyarrow
from interpbench_jax.sweeps.plan import EntryPlace, SweepPlan, plan_job
from interpbench_jax.sweeps.request import CheckedRequest, Request, check_request
from interpbench_jax.sweeps.result import EditName, SweepResult, text_of
from interpbench_jax.sweeps.run import SweepJob, run_job
from interpbench_jax.sweeps.saved import describe_job, read_saved, table_of
from interpbench_jax.sweeps.store import SweepStore, check_folder
from interpbench_jax.universes import UniverseName


@dataclass(frozen=True)
class Wanted(Generic[EditName]):
    """The edits of a request, for one ablation and all positions at once.

    Attributes:
        names: what they are called.
        edits: those that enter at one place, or the masks: 1 less each, `[edits, dst, src, pos]`.
        universe: what they are of, if they are all edges or nodes of a universe.
        replaces_neurons: whether sources are hidden units.
    """

    names: tuple[EditName, ...]
    edits: Edits | np.ndarray
    universe: UniverseName | None = None
    replaces_neurons: bool = False


@dataclass(frozen=True)
class Prepared:
    """A request as a job.

    Attributes:
        checked: the request.
        job: what is computed.
        places: where its edits enter.
    """

    checked: CheckedRequest
    job: SweepJob
    places: tuple[EntryPlace, ...]


def answer(request: Request, wanted: Wanted[EditName]) -> SweepResult[EditName]:
    """Carry a request out.

    Raises:
        ValueError: if an argument does not fit the model or the others, or `save_to` holds
            another sweep.
    """
    prepared = prepare(request, wanted)
    job, checked = prepared.job, prepared.checked
    if request.save_to is not None:
        check_pyarrow()
        check_folder(Path(request.save_to))
    plan, programs = plan_job(job, prepared.places, request.max_bytes, checked.placement)
    if request.explain:
        print(plan)
    run = partial(run_job, job, plan.chunks, programs, checked.placement, plan.workers)
    dtype = job.weights.embed.dtype
    if request.save_to is None:
        effects, logits, largest = run(None, request.progress)
        floor = noise_floor(checked.metric, float(largest), dtype)
        return name_effects(wanted, checked, plan, effects, floor, logits)
    with _open_store(Path(request.save_to), job, plan, programs.calls, wanted) as store:
        saved = store.result()
        if saved is not None:
            effects, floor = read_saved(saved)
            return name_effects(wanted, checked, plan, effects, floor)
        effects, _, largest = run(store, request.progress)
        floor = noise_floor(checked.metric, float(largest), dtype)
        found = name_effects(wanted, checked, plan, effects, floor)
        store.finish(table_of(found))
    return found


def prepare(request: Request, wanted: Wanted[EditName]) -> Prepared:
    """A request, checked, with its edits arranged.

    Raises:
        ValueError: if an argument does not fit the model or the others.
    """
    checked = check_request(request)
    n_edits, make_blocks, places = _arrange(wanted, request.model.config, checked)
    job = SweepJob(
        form=Form.of(request.model.config, request.freeze_layer_norm),
        weights=stack_weights(request.model, checked.inputs.clean.shape[1]),
        inputs=checked.inputs,
        ablations=checked.ablations,
        scoring=checked.scoring,
        make_blocks=make_blocks,
        n_edits=n_edits,
        replaces_neurons=wanted.replaces_neurons,
    )
    return Prepared(checked, job, places)


def name_effects(
    wanted: Wanted[EditName],
    checked: CheckedRequest,
    plan: SweepPlan,
    effects: np.ndarray,
    floor: float,
    logits: np.ndarray | None = None,
) -> SweepResult[EditName]:
    """The effects of all edits, in the shape and with the names that were asked for.

    What an input's own outputs replace has no effect, which is then 0 and not a rounding error:
    otherwise rounding would order the edits.
    """
    if checked.scoring.metric in METRICS.values() and _are_their_own_sources(checked.inputs):
        is_changed = np.asarray([ablation != "resample" for ablation in checked.ablations])
        rows = effects.reshape(len(is_changed), -1)
        effects = np.where(is_changed[:, None], rows, 0.0)
    by_edit = effects.reshape(len(checked.ablations), len(wanted.names), -1)
    _warn_of_what_is_not_finite(by_edit, wanted)
    n_positions = () if checked.positions is None else (len(checked.positions),)
    shape = (len(checked.ablations),) * checked.several + (len(wanted.names), *n_positions)
    return SweepResult(
        names=wanted.names,
        effects=effects.reshape(shape),
        positions=checked.positions,
        logits=None if logits is None else logits.reshape(*shape, *logits.shape[1:]),
        metric=checked.metric,
        ablation=checked.ablations if checked.several else checked.ablations[0],
        universe=wanted.universe,
        n_inputs=len(checked.inputs.clean),
        noise_floor=floor,
        plan=plan,
    )


def _warn_of_what_is_not_finite(
    effects: Float[np.ndarray, "ablations edits positions"], wanted: Wanted[EditName]
) -> None:
    is_wrong = ~np.isfinite(effects).all(axis=(0, 2))
    if is_wrong.any():
        first = wanted.names[int(is_wrong.argmax())]
        warnings.warn(
            f"{int(is_wrong.sum())} of {len(wanted.names)} effects are not finite, such as that of "
            f"{f'mask {first}' if isinstance(first, int) else text_of(first)}: look for overflow "
            "in the logits or in the metric, or run in float64.",
            RuntimeWarning,
            stacklevel=2,
        )


def _are_their_own_sources(inputs: SweepInputs) -> bool:
    """Whether the corrupted inputs are the clean ones."""
    pairs = zip(blocks_of(inputs.clean), blocks_of(inputs.corrupted), strict=True)
    return all(np.array_equal(clean, corrupted) for clean, corrupted in pairs)


def _open_store(
    folder: Path, job: SweepJob, plan: SweepPlan, calls: Sequence[Call], wanted: Wanted[EditName]
) -> SweepStore:
    n_chunks = -(-job.n_inputs // plan.chunk_inputs)
    description = describe_job(job, plan, calls, wanted.names)
    return SweepStore.open(folder, description, n_chunks * plan.n_calls)


def _arrange(
    wanted: Wanted[EditName], config: TransformerConfig, checked: CheckedRequest
) -> tuple[int, Callable[[int], Blocked], tuple[EntryPlace, ...]]:
    """How many edits there are, how they are put in blocks, and where they enter."""
    edits = wanted.edits
    if isinstance(edits, Edits):
        if checked.positions is not None:
            edits = edits.at_positions(checked.positions)
        sources = config.n_layers * config.d_mlp if wanted.replaces_neurons else None
        sources = sources or len(writers(config.n_layers, config.n_heads))
        edits = edits.for_ablations(len(checked.ablations), sources)
        return edits.n_edits, partial(block_edits, edits), _places(edits, config.n_layers)
    layers = mask_layers(edits, config.n_heads)
    places = tuple(
        EntryPlace(f"layer {layer} (mask)", int((layers == layer).sum()), config.n_layers - layer)
        for layer in sorted(set(layers.tolist()))
    )

    def make_blocks(size: int) -> Blocked:
        return block_masks(edits, config.n_heads, size)

    return len(edits), make_blocks, places


def _places(edits: Edits, n_layers: int) -> tuple[EntryPlace, ...]:
    found = []
    numbers = edits.places()
    for number in np.unique(numbers):
        members = np.flatnonzero(numbers == number)
        entry, layer = Entry(edits.entry[members[0]]), int(edits.layer[members[0]])
        name = _PLACE_NAMES[entry].format(layer=layer)
        after = 0 if entry == Entry.OUTPUT else n_layers - layer - 1
        found.append(EntryPlace(name, len(members), after))
    return tuple(found)


_PLACE_NAMES: Mapping[Entry, str] = {
    Entry.Q: "layer {layer}, queries of a head: that head, the MLP",
    Entry.K: "layer {layer}, keys of a head: that head, the MLP",
    Entry.V: "layer {layer}, values of a head: that head, the MLP",
    Entry.QKV: "layer {layer}, all inputs of a head: that head, the MLP",
    Entry.MLP: "layer {layer}, input of the MLP: the MLP",
    Entry.BEFORE: "layer {layer}, the stream before it: all heads, the MLP",
    Entry.BETWEEN: "layer {layer}, the stream before its MLP: the MLP",
    Entry.OUTPUT: "the output: the unembedding",
}


def wanted_edges(config: TransformerConfig, name: UniverseName) -> Wanted[Edge]:
    """Every edge of a universe."""
    space = universes.universe(name, config.n_layers, config.n_heads)
    return Wanted(space.edges, _universe_edits(space, False), name)


def wanted_nodes(config: TransformerConfig, name: UniverseName) -> Wanted[Node]:
    """Every source of a universe."""
    space = universes.universe(name, config.n_layers, config.n_heads)
    return Wanted(space.sources, _universe_edits(space, True), name)


@lru_cache(maxsize=64)
def _universe_edits(space: universes.Universe, nodes: bool) -> Edits:
    if nodes:
        groups = [space.fine_edges_of(node) for node in space.sources]
    else:
        groups = list(space.members.values())
    edits, others = single_entries(groups, space.n_layers, space.n_heads)
    assert not others, "every edge and every node enters at one place"
    return edits

"""The edits of a sweep as arrays: edits that enter the model at one place, and masks."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Generic, NamedTuple, TypeVar

import numpy as np
from jaxtyping import Float, Int

from interpbench_jax.config import TransformerConfig
from interpbench_jax.engine.masked import MaskBlocks
from interpbench_jax.engine.suffix import EMPTY, Entry, SuffixBlocks
from interpbench_jax.layout import Layout
from interpbench_jax.masks import edge_indices, edge_mask
from interpbench_jax.sites import Edge, Neuron, Node, n_writers_before, readers, writers
from interpbench_jax.universes import Universe, UniverseName, universe

EditName = TypeVar("EditName", Edge, Node, Neuron, tuple[Edge, ...], int)


class Edits(NamedTuple):
    """Edits that enter at one place each; one row an edit.

    Attributes:
        entry: the place that the edit enters, an `Entry`.
        layer: the layer that it enters; 0 for the output.
        head: the head that it enters; 0 if it enters none.
        source: the writers (or hidden units) that are replaced; `EMPTY` past the last.
        position: the position at which they are replaced; `EMPTY` for all positions.
    """

    entry: Int[np.ndarray, " edits"]
    layer: Int[np.ndarray, " edits"]
    head: Int[np.ndarray, " edits"]
    source: Int[np.ndarray, "edits slots"]
    position: Int[np.ndarray, " edits"]

    @property
    def n_edits(self) -> int:
        """How many edits there are."""
        return len(self.entry)

    def at_positions(self, positions: Sequence[int]) -> "Edits":
        """Each edit once for every position; positions are innermost."""
        repeated = Edits(*(array.repeat(len(positions), axis=0) for array in self))
        chosen = np.tile(np.asarray(positions, np.int32), self.n_edits)
        return repeated._replace(position=chosen)

    def for_ablations(self, n_ablations: int, n_sources: int) -> "Edits":
        """All edits once for every ablation; ablations are outermost."""
        repeated = Edits(*(np.concatenate([array] * n_ablations) for array in self))
        shift = np.arange(n_ablations, dtype=np.int32).repeat(self.n_edits)[:, None] * n_sources
        source = np.where(repeated.source == EMPTY, EMPTY, repeated.source + shift)
        return repeated._replace(source=source)

    def places(self) -> Int[np.ndarray, " edits"]:
        """A number for the place that each edit enters, the deepest first; blocks have one."""
        last = int(self.layer.max(initial=0))
        depth = np.where(self.entry == Entry.OUTPUT, 0, 1 + last - self.layer)
        return depth * len(Entry) + self.entry


@dataclass(frozen=True)
class EditSet(Generic[EditName]):
    """The edits of a sweep, for one ablation and all positions at once.

    Attributes:
        names: the edits' names.
        edits: edits that enter at one place; or masks: 1 minus each, `[edits, dst, src, pos]`.
        universe: the universe whose edges or nodes they are; None for edits of another kind.
        replaces_neurons: whether sources are hidden units.
    """

    names: tuple[EditName, ...]
    edits: Edits | np.ndarray
    universe: UniverseName | None = None
    replaces_neurons: bool = False


class BlockedEdits(NamedTuple):
    """Edits in blocks.

    Attributes:
        blocks: the blocks, as a program takes them.
        order: the edit at each place of a block; `EMPTY` for padding.
    """

    blocks: SuffixBlocks | MaskBlocks
    order: Int[np.ndarray, "blocks in_block"]


def edges_of(config: TransformerConfig, name: UniverseName) -> EditSet[Edge]:
    """The cut of each edge of a universe."""
    space = universe(name, config.n_layers, config.n_heads)
    return EditSet(space.edges, _universe_edits(space, False), name)


def nodes_of(config: TransformerConfig, name: UniverseName) -> EditSet[Node]:
    """The replacement of each source of a universe."""
    space = universe(name, config.n_layers, config.n_heads)
    return EditSet(space.sources, _universe_edits(space, True), name)


def neurons_of(config: TransformerConfig) -> EditSet[Neuron]:
    """The replacement of each hidden unit of each MLP."""
    names = tuple(
        Neuron(layer, index) for layer in range(config.n_layers) for index in range(config.d_mlp)
    )
    edits = neuron_entries(config.n_layers, config.d_mlp)
    return EditSet(names, edits, replaces_neurons=True)


def cuts_of(
    groups: Sequence[tuple[Edge, ...]], config: TransformerConfig, dtype: np.dtype
) -> EditSet[tuple[Edge, ...]]:
    """The cut of each of some sets of fine edges, its edges together."""
    names = tuple(groups)
    edits, others = single_entries(names, config.n_layers, config.n_heads)
    return EditSet(names, cut_masks(names, config, dtype) if others else edits)


def masks_of(cut: Float[np.ndarray, "edits dst src mask_pos"]) -> EditSet[int]:
    """Masks by their numbers, given 1 minus each."""
    return EditSet(tuple(range(len(cut))), cut)


@lru_cache(maxsize=64)
def _universe_edits(space: Universe, nodes: bool) -> Edits:
    if nodes:
        groups = [space.fine_edges_of(node) for node in space.sources]
    else:
        groups = list(space.members.values())
    edits, others = single_entries(groups, space.n_layers, space.n_heads)
    assert not others, "every edge and every node enters at one place"
    return edits


def single_entries(
    groups: Iterable[Sequence[Edge]], n_layers: int, n_heads: int
) -> tuple[Edits, list[int]]:
    """The groups of fine edges whose cut enters at one place, as edits.

    Returns:
        The edits, and the indices of the other groups, which take masks.
    """
    found: list[tuple[Entry, int, int, list[int]]] = []
    others: list[int] = []
    for index, group in enumerate(groups):
        entry = _entry_of(edge_indices(group, n_layers, n_heads), n_layers, n_heads)
        if entry is None:
            others.append(index)
        else:
            found.append(entry)
    slots = max((len(sources) for *_, sources in found), default=1)
    source = np.full((len(found), slots), EMPTY, np.int32)
    for row, (*_, sources) in zip(source, found, strict=True):
        row[: len(sources)] = sources
    columns = np.asarray([row[:3] for row in found], np.int32).reshape(-1, 3).T
    entry, layer, head = columns
    return Edits(entry, layer, head, source, np.full(len(found), EMPTY, np.int32)), others


@lru_cache(maxsize=64)
def neuron_entries(n_layers: int, d_mlp: int) -> Edits:
    """The replacement of each hidden unit of each MLP, alone."""
    source = np.arange(n_layers * d_mlp, dtype=np.int32)[:, None]
    layer = source[:, 0] // d_mlp + 1
    is_last = layer == n_layers
    entry = np.where(is_last, Entry.OUTPUT, Entry.BEFORE).astype(np.int32)
    none = np.zeros_like(layer)
    return Edits(entry, np.where(is_last, 0, layer), none, source, none + EMPTY)


def block_edits(edits: Edits, n_per_block: int) -> BlockedEdits:
    """Blocks of edits that enter at the same place, the deepest places first."""
    order = _in_blocks(edits.places(), n_per_block)
    # A block is padded with its first edit.
    picked = np.where(order == EMPTY, order[:, :1], order)
    rows = Edits(*(array[picked] for array in edits))
    return BlockedEdits(
        SuffixBlocks(rows.entry[:, 0], rows.layer[:, 0], rows.head, rows.source, rows.position),
        order,
    )


def block_masks(
    cut: Float[np.ndarray, "edits dst src mask_pos"], layout: Layout, n_per_block: int
) -> BlockedEdits:
    """Blocks of masks that start at the same layer, or nearly; given 1 minus each mask."""
    layer = mask_layers(cut, layout)
    order = _in_blocks(-layer, n_per_block)
    picked = np.where(order == EMPTY, order[:, :1], order)
    return BlockedEdits(MaskBlocks(layer[picked].min(axis=1), cut[picked]), order)


def mask_layers(
    cut: Float[np.ndarray, "edits dst src mask_pos"], layout: Layout
) -> Int[np.ndarray, " edits"]:
    """The first layer in which each mask cuts an edge whose source has been written."""
    is_read = cut.any(axis=(2, 3))
    first = np.where(is_read.any(axis=-1), is_read.argmax(axis=1), layout.output_reader)
    return layout.layer_of_reader(first).astype(np.int32)


def cut_masks(
    groups: Sequence[Sequence[Edge]], config: TransformerConfig, dtype: np.dtype
) -> Float[np.ndarray, "edits dst src 1"]:
    """1 minus the mask of each group of fine edges: 1 for an edge that is cut."""
    masks = [edge_mask(group, config.n_layers, config.n_heads) for group in groups]
    return np.stack(masks)[..., None].astype(dtype)


@lru_cache(maxsize=64)
def is_written(n_layers: int, n_heads: int) -> np.ndarray:
    """Whether each writer writes before each reader reads: bool `[dst, src]`."""
    before = [n_writers_before(reader, n_heads) for reader in readers(n_layers, n_heads)]
    return np.arange(len(writers(n_layers, n_heads)))[None] < np.asarray(before)[:, None]


def _in_blocks(place: Int[np.ndarray, " edits"], size: int) -> Int[np.ndarray, "blocks in_block"]:
    """The edits of each block; a block has edits of one place only."""
    rows = []
    for number in np.unique(place):
        members = np.flatnonzero(place == number)
        missing = -len(members) % size
        rows.append(np.append(members, np.full(missing, EMPTY)).reshape(-1, size))
    return np.concatenate(rows) if rows else np.empty((0, size), np.int64)


def _entry_of(
    pairs: np.ndarray, n_layers: int, n_heads: int
) -> tuple[Entry, int, int, list[int]] | None:
    """The place that a cut of fine edges enters, if there is one, and the writers it replaces."""
    written = is_written(n_layers, n_heads)
    if not len(pairs) or not written[pairs[:, 0], pairs[:, 1]].all():
        return None
    read_by: dict[int, set[int]] = {}
    for dst, src in pairs.tolist():
        read_by.setdefault(src, set()).add(dst)
    sources = sorted(read_by)
    cut = read_by[sources[0]]
    if any(read_by[source] != cut for source in sources):
        return None
    layout, first = Layout(n_layers, n_heads), min(cut)
    layer, kind, head = layout.reader_place(first)
    if first == layout.output_reader:
        return Entry.OUTPUT, 0, 0, sources
    is_mlp = first == layout.mlp_reader(layer)
    if len(cut) == 1:
        return Entry.MLP if is_mlp else Entry(kind), layer, head, sources
    if not is_mlp and cut == set(layout.readers_of_head(layer, head)):
        return Entry.QKV, layer, head, sources
    reads = np.flatnonzero(written[:, sources].any(axis=1))
    if cut != set(reads.tolist()) or not (is_mlp or first == layout.first_reader(layer)):
        return None
    return (Entry.BETWEEN if is_mlp else Entry.BEFORE), layer, 0, sources

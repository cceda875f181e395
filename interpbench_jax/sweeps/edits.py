"""What a sweep does, as arrays: edits that enter the model at one place, and masks."""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from interpbench_jax.engine.masked import MaskBlocks
from interpbench_jax.engine.suffix import EMPTY, Entry, SuffixBlocks
from interpbench_jax.layout import Layout
from interpbench_jax.masks import edge_indices, edge_mask
from interpbench_jax.sites import Edge, n_writers_before, readers, writers


class Edits(NamedTuple):
    """Edits that enter at one place each; one row an edit.

    Attributes:
        entry: an `Entry`.
        layer: the layer that it enters; 0 for the output.
        head: the head; 0 where none is entered.
        source: the writers (or hidden units) that are replaced; `EMPTY` past the last.
        position: the position at which they are; `EMPTY` for all.
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
        """A number for where each edit enters, the deepest first: those enter in one block."""
        last = int(self.layer.max(initial=0))
        depth = np.where(self.entry == Entry.OUTPUT, 0, 1 + last - self.layer)
        return depth * len(Entry) + self.entry


class Blocked(NamedTuple):
    """Edits in blocks.

    Attributes:
        blocks: what a program is given.
        order: which edit each place of a block holds; `EMPTY` where it only fills up.
    """

    blocks: SuffixBlocks | MaskBlocks
    order: Int[np.ndarray, "blocks in_block"]


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


def block_edits(edits: Edits, n_per_block: int) -> Blocked:
    """Blocks of edits that enter at the same place, the deepest places first."""
    order = _in_blocks(edits.places(), n_per_block)
    # A block's rest is filled with its first edit.
    picked = np.where(order == EMPTY, order[:, :1], order)
    rows = Edits(*(array[picked] for array in edits))
    return Blocked(
        SuffixBlocks(rows.entry[:, 0], rows.layer[:, 0], rows.head, rows.source, rows.position),
        order,
    )


def block_masks(
    cut: Float[np.ndarray, "edits dst src mask_pos"], n_heads: int, n_per_block: int
) -> Blocked:
    """Blocks of masks that start at the same layer, or nearly; given 1 less each mask."""
    layer = mask_layers(cut, n_heads)
    order = _in_blocks(-layer, n_per_block)
    picked = np.where(order == EMPTY, order[:, :1], order)
    return Blocked(MaskBlocks(layer[picked].min(axis=1), cut[picked]), order)


def mask_layers(
    cut: Float[np.ndarray, "edits dst src mask_pos"], n_heads: int
) -> Int[np.ndarray, " edits"]:
    """The first layer in which each mask cuts anything that has been written."""
    is_read = cut.any(axis=(2, 3))
    first = np.where(is_read.any(axis=-1), is_read.argmax(axis=1), cut.shape[1] - 1)
    return (first // Layout(0, n_heads).readers_of_layer).astype(np.int32)


def cuts_of(
    groups: Sequence[Sequence[Edge]], n_layers: int, n_heads: int, dtype: np.dtype
) -> Float[np.ndarray, "edits dst src 1"]:
    """1 less the mask of each group of fine edges: 1 where it is cut."""
    masks = [edge_mask(group, n_layers, n_heads) for group in groups]
    return np.stack(masks)[..., None].astype(dtype)


@lru_cache(maxsize=64)
def is_written(n_layers: int, n_heads: int) -> np.ndarray:
    """Which writers have written when each reader reads: bool `[dst, src]`."""
    before = [n_writers_before(reader, n_heads) for reader in readers(n_layers, n_heads)]
    return np.arange(len(writers(n_layers, n_heads)))[None] < np.asarray(before)[:, None]


def _in_blocks(place: Int[np.ndarray, " edits"], size: int) -> Int[np.ndarray, "blocks in_block"]:
    """Which edits go into each block; a block holds edits of one place only."""
    rows = []
    for number in np.unique(place):
        members = np.flatnonzero(place == number)
        missing = -len(members) % size
        rows.append(np.append(members, np.full(missing, EMPTY)).reshape(-1, size))
    return np.concatenate(rows) if rows else np.empty((0, size), np.int64)


def _entry_of(
    pairs: np.ndarray, n_layers: int, n_heads: int
) -> tuple[Entry, int, int, list[int]] | None:
    """Where a cut of fine edges enters, if that is one place, and what it replaces there."""
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
    if cut == {first, first + n_heads, first + 2 * n_heads} and kind == 0:
        return Entry.QKV, layer, head, sources
    reads = np.flatnonzero(written[:, sources].any(axis=1))
    if cut != set(reads.tolist()) or not (is_mlp or first == layout.first_reader(layer)):
        return None
    return (Entry.BETWEEN if is_mlp else Entry.BEFORE), layer, 0, sources

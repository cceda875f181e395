"""Circuits selected by scores: the most important edges, and the edges that lie on a path."""

from collections.abc import Iterable

import numpy as np
from jaxtyping import Bool, Float

from interpbench_jax.scores.levels import component_of, importance
from interpbench_jax.sites import EMBEDDING_SOURCES, Edge, Kind, Node
from interpbench_jax.universes import Universe, universe


def keep_largest(
    values: Float[np.ndarray, " items"], sizes: Iterable[int], *, absolute: bool = True
) -> Bool[np.ndarray, "sizes items"]:
    """Whether each item is among the most important ones, for each of several sizes.

    Of equally important items, the first ones are taken first.

    Args:
        values: a method's values, one for each item.
        sizes: numbers of items to take, each from 0 to the number of items.
        absolute: whether importance is the absolute value instead of the value itself.

    Raises:
        ValueError: if a size is out of range.
    """
    wanted = np.asarray(list(sizes), np.int64)
    if wanted.size and not (0 <= wanted.min() and wanted.max() <= len(values)):
        raise ValueError(f"Expected sizes from 0 to {len(values)}, got {wanted.tolist()}.")
    place = np.empty(len(values), np.int64)
    place[np.argsort(-importance(values, absolute), kind="stable")] = np.arange(len(values))
    return place < wanted[:, None]


def on_paths(
    kept: Bool[np.ndarray, "sizes edges"], space: Universe
) -> Bool[np.ndarray, "sizes edges"]:
    """The kept edges that lie on a path of kept edges from an embedding to the output.

    A path may enter a head by any of its q, k and v inputs. Edges of the model that the universe
    leaves out always count as kept: in `"head-no-embed"` every component reads the embedding.
    The result is what remains when heads and MLPs that no kept edge enters, or that none leaves,
    are removed repeatedly, as in `Graph.prune` of hannamw/EAP-IG (795f560).

    Args:
        kept: whether each circuit has each edge.
        space: the universe of the edges, which gives their order.

    Raises:
        ValueError: if `kept` does not have one value per edge for each circuit.
    """
    if kept.ndim != 2 or kept.shape[1] != len(space.edges):
        raise ValueError(
            f"Expected one value per circuit for each of the {len(space.edges)} edges of "
            f"{space.name!r}, got shape {kept.shape}."
        )
    ends = [(edge.src, component_of(edge.dst)) for edge in space.edges]
    none = np.zeros(len(kept), bool)
    # Edges are ordered by reader, so edges into a node come before edges out of it.
    fed = {node: ~none for node in _fed_from_outside(space)}
    for (src, dst), has in zip(ends, kept.T, strict=True):
        fed[dst] = fed.get(dst, none) | (has & fed.get(src, none))
    leads = {Node(Kind.RESID_POST, space.n_layers - 1): ~none}
    for (src, dst), has in zip(reversed(ends), kept.T[::-1], strict=True):
        leads[src] = leads.get(src, none) | (has & leads.get(dst, none))
    live = [fed.get(src, none) & leads.get(dst, none) for src, dst in ends]
    return kept & np.stack(live, axis=1)


def outside_edges(space: Universe) -> tuple[Edge, ...]:
    """The fine edges of the model that belong to no edge of a universe."""
    inside = {fine for members in space.members.values() for fine in members}
    every = universe("qkv", space.n_layers, space.n_heads).edges
    return tuple(edge for edge in every if edge not in inside)


def _fed_from_outside(space: Universe) -> set[Node]:
    """The embeddings, and every component that reads one by an edge outside the universe."""
    embeddings = {node for node in space.sources if node.kind in EMBEDDING_SOURCES}
    outside = outside_edges(space)
    read = {component_of(edge.dst) for edge in outside if edge.src.kind in EMBEDDING_SOURCES}
    return embeddings | read

"""The circuits that scores select: the edges that matter most, and those that lie on a path."""

from collections.abc import Iterable

import numpy as np
from jaxtyping import Bool, Float

from interpbench_jax.scores.levels import component_of, importance
from interpbench_jax.sites import Edge, Kind, Node
from interpbench_jax.universes import Universe, universe

_EMBEDDINGS = (Kind.EMBED, Kind.POS_EMBED, Kind.RESID_PRE)


def keep_largest(
    values: Float[np.ndarray, " items"], sizes: Iterable[int], *, absolute: bool = True
) -> Bool[np.ndarray, "sizes items"]:
    """Which items are among the most important, for each of some sizes.

    Of equally important items, the ones that come first are taken first.

    Args:
        values: a method's, one for each item.
        sizes: how many to take, each from 0 to all.
        absolute: whether importance is the absolute value, rather than the value.

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

    A path goes through a head by any of its q, k and v inputs. What the model has and the
    universe leaves out is always there: in `"head-no-embed"` everything reads the embedding.
    The same as what remains when heads and MLPs that nothing kept enters, or leaves, are taken
    out until there are none, as `Graph.prune` of hannamw/EAP-IG (795f560) does.

    Args:
        kept: which edges each of some circuits has.
        space: the universe of the edges, in whose order they are.

    Raises:
        ValueError: if it is not said of every edge whether it is kept.
    """
    if kept.ndim != 2 or kept.shape[1] != len(space.edges):
        raise ValueError(
            f"Expected for each circuit whether it has each of the {len(space.edges)} edges of "
            f"{space.name!r}, got shape {kept.shape}."
        )
    ends = [(edge.src, component_of(edge.dst)) for edge in space.edges]
    none = np.zeros(len(kept), bool)
    # Edges are in the order of their readers, so that what enters a node comes before what
    # leaves it.
    fed = {node: ~none for node in _fed_from_outside(space)}
    for (src, dst), has in zip(ends, kept.T, strict=True):
        fed[dst] = fed.get(dst, none) | (has & fed.get(src, none))
    leads = {Node(Kind.RESID_POST, space.n_layers - 1): ~none}
    for (src, dst), has in zip(reversed(ends), kept.T[::-1], strict=True):
        leads[src] = leads.get(src, none) | (has & leads.get(dst, none))
    live = [fed.get(src, none) & leads.get(dst, none) for src, dst in ends]
    return kept & np.stack(live, axis=1)


def outside_edges(space: Universe) -> tuple[Edge, ...]:
    """The fine edges of the model that no edge of a universe stands for."""
    inside = {fine for members in space.members.values() for fine in members}
    every = universe("qkv", space.n_layers, space.n_heads).edges
    return tuple(edge for edge in every if edge not in inside)


def _fed_from_outside(space: Universe) -> set[Node]:
    """The embeddings, and every component that reads one by an edge outside of the universe."""
    embeddings = {node for node in space.sources if node.kind in _EMBEDDINGS}
    outside = outside_edges(space)
    read = {component_of(edge.dst) for edge in outside if edge.src.kind in _EMBEDDINGS}
    return embeddings | read

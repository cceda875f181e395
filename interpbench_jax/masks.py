"""The entries of edges in the masks of the masked forward."""

from collections.abc import Iterable
from functools import lru_cache

import numpy as np

from interpbench_jax.sites import Edge, Node, readers, writers


def edge_mask(fine_edges: Iterable[Edge], n_layers: int, n_heads: int) -> np.ndarray:
    """A mask that is 1 at the given fine edges, 0 elsewhere.

    Returns:
        float32 of shape `[dst, src]`, in the orders of `sites.readers` and `sites.writers`.

    Raises:
        ValueError: if an edge is not from a writer to a reader of the model.
    """
    pairs = edge_indices(fine_edges, n_layers, n_heads)
    mask = np.zeros((len(readers(n_layers, n_heads)), len(writers(n_layers, n_heads))), np.float32)
    mask[pairs[:, 0], pairs[:, 1]] = 1
    return mask


def edge_indices(fine_edges: Iterable[Edge], n_layers: int, n_heads: int) -> np.ndarray:
    """The indices of fine edges in a mask.

    Returns:
        int32 of shape `[edges, 2]`: index on the `dst` axis, index on the `src` axis.

    Raises:
        ValueError: if an edge is not from a writer to a reader of the model.
    """
    dst, src = _indices(n_layers, n_heads)
    try:
        pairs = [(dst[edge.dst], src[edge.src]) for edge in fine_edges]
    except KeyError as error:
        raise ValueError(
            f"Expected edges from a writer to a reader of a model with {n_layers} layers of "
            f"{n_heads} heads, got an edge with the end {error.args[0]}."
        ) from None
    return np.asarray(pairs, np.int32).reshape(-1, 2)


@lru_cache(maxsize=64)
def _indices(n_layers: int, n_heads: int) -> tuple[dict[Node, int], dict[Node, int]]:
    return (
        {node: i for i, node in enumerate(readers(n_layers, n_heads))},
        {node: i for i, node in enumerate(writers(n_layers, n_heads))},
    )

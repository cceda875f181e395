"""What a sweep does, as arrays: one row an edit, each the fine edges that it cuts."""

from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from interpbench_jax.config import TransformerConfig
from interpbench_jax.masks import edge_indices
from interpbench_jax.sites import Edge, readers, writers

ALL_POSITIONS = -1


class Edits(NamedTuple):
    """A batch of edits.

    Attributes:
        cuts: the fine edges that each edit cuts, as indices on a mask's `dst` and `src` axes;
            rows with fewer cuts are filled with indices past the end.
        position: the position at which it cuts them, or `ALL_POSITIONS`.
    """

    cuts: Int[Array | np.ndarray, "edits cuts 2"]
    position: Int[Array | np.ndarray, " edits"]

    @property
    def n_edits(self) -> int:
        """How many edits there are."""
        return self.cuts.shape[0]

    def rows(self, start: int, size: int) -> "Edits":
        """`size` edits from `start` on, the last one repeated where there are fewer."""
        index = np.minimum(np.arange(start, start + size), self.n_edits - 1)
        return Edits(self.cuts[index], self.position[index])


def make_edits(
    groups: Sequence[Sequence[Edge]], config: TransformerConfig, positions: Sequence[int] | None
) -> Edits:
    """One edit per group of fine edges, or one per group and position.

    Args:
        groups: the fine edges that each edit cuts together.
        config: the model's shape.
        positions: None for edits of all positions; else the positions, innermost.
    """
    past = len(readers(config.n_layers, config.n_heads))
    cuts = np.full((len(groups), max(map(len, groups)), 2), past, np.int32)
    for row, edges in zip(cuts, groups, strict=True):
        row[: len(edges)] = edge_indices(edges, config.n_layers, config.n_heads)
    if positions is None:
        return Edits(cuts, np.full(len(groups), ALL_POSITIONS, np.int32))
    chosen = np.tile(np.asarray(positions, np.int32), len(groups))
    return Edits(cuts.repeat(len(positions), axis=0), chosen)


def mask_of(
    cuts: Int[Array | np.ndarray, "cuts 2"],
    position: Int[Array | np.ndarray, ""],
    config: TransformerConfig,
    n_pos: int | None,
    dtype: np.dtype,
) -> Float[Array, "dst src"] | Float[Array, "dst src pos"]:
    """The mask of one edit: 0 where it cuts, 1 elsewhere.

    Args:
        cuts: one row of `Edits.cuts`.
        position: its position; not looked at where `n_pos` is None.
        config: the model's shape.
        n_pos: None for a mask without a position axis.
        dtype: the mask's dtype.
    """
    shape = (
        len(readers(config.n_layers, config.n_heads)),
        len(writers(config.n_layers, config.n_heads)),
    )
    if n_pos is None:
        return jnp.ones(shape, dtype).at[cuts[:, 0], cuts[:, 1]].set(0, mode="drop")
    mask = jnp.ones((*shape, n_pos), dtype)
    return mask.at[cuts[:, 0], cuts[:, 1], position].set(0, mode="drop")

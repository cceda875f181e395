"""Which edges matter at which positions, for each of some pairs of inputs."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Bool

from interpbench_jax.circuit import TruthValue
from interpbench_jax.sites import Edge
from interpbench_jax.universes import UniverseName, universe


@dataclass(frozen=True, eq=False, repr=False)
class PositionTruth:
    """The truth of every edge at every position.

    The position of an edge is that at which its reader reads it, as in a sweep with
    `positions="each"`. `Task.position_truth` makes one. The edges are those of the universe
    `"qkv"`, in its order.

    Attributes:
        n_layers: number of layers of the model.
        n_heads: number of heads per layer.
        is_of_program: whether the program uses each edge.
        changes: whether cutting the edge at the position changes an output of the pair.
        differs: whether the edge carries, at the position, different values in the two inputs of
            the pair; False for edges that the program does not use.

    Raises:
        ValueError: if the shapes do not fit the model or one another.
    """

    n_layers: int
    n_heads: int
    is_of_program: Bool[np.ndarray, " edges"]
    changes: Bool[np.ndarray, "pairs edges pos"]
    differs: Bool[np.ndarray, "pairs edges pos"]

    def __post_init__(self) -> None:
        n_edges = len(self.edges)
        shapes = (self.is_of_program.shape, self.changes.shape[1:2], self.differs.shape[1:2])
        if set(shapes) != {(n_edges,)} or self.changes.shape != self.differs.shape:
            raise ValueError(
                f"Expected one truth for each of {n_edges} edges, and the same pairs and positions "
                f"throughout, got shapes {self.is_of_program.shape}, {self.changes.shape} and "
                f"{self.differs.shape}."
            )

    @property
    def edges(self) -> tuple[Edge, ...]:
        """The edges, in the order of the arrays."""
        return universe("qkv", self.n_layers, self.n_heads).edges

    @property
    def n_pairs(self) -> int:
        """The number of pairs."""
        return self.changes.shape[0]

    @property
    def n_positions(self) -> int:
        """The number of positions, BOS counted."""
        return self.changes.shape[2]

    @cached_property
    def is_in(self) -> Bool[np.ndarray, "edges pos"]:
        """Whether cutting the edge at the position changes an output of any pair."""
        return np.asarray(self.changes.any(axis=0))

    @cached_property
    def is_constant(self) -> Bool[np.ndarray, "edges pos"]:
        """Whether the program uses the edge, but it carries the same value in every pair there."""
        return self.is_of_program[:, None] & ~self.differs.any(axis=0)

    @cached_property
    def depends_on_input(self) -> Bool[np.ndarray, "edges pos"]:
        """Whether the edge differs at the position in several pairs, but matters in some only."""
        matters = (self.changes | ~self.differs).all(axis=0)
        return self.is_in & ~matters

    def of_pairs(self, rows: slice) -> "PositionTruth":
        """The truth on some of the pairs; `slice(3, 4)` is that of one pair."""
        return PositionTruth(
            self.n_layers,
            self.n_heads,
            self.is_of_program,
            self.changes[rows],
            self.differs[rows],
        )

    def values(self, name: UniverseName = "qkv") -> np.ndarray:
        """The `TruthValue` of every edge of a universe at every position: `[edges, pos]`.

        An edge of a coarser universe is in where one of the edges that it merges is, and constant
        where all of those that the program uses are.
        """
        fine = universe("qkv", self.n_layers, self.n_heads)
        groups = universe(name, self.n_layers, self.n_heads).groups_of(fine)
        found = np.full((len(groups), self.n_positions), "out", dtype="<U8")
        for number, group in enumerate(groups):
            members = list(group)
            found[number, self.is_constant[members].any(axis=0)] = "constant"
            varies = self.is_of_program[members, None] & ~self.is_constant[members]
            found[number, varies.any(axis=0)] = "out"
            found[number, self.is_in[members].any(axis=0)] = "in"
        return found

    def at(self, edge: Edge, position: int) -> TruthValue:
        """The truth of one edge at one position.

        Raises:
            ValueError: if there is no such edge or position.
        """
        if edge not in self.edges or not 0 <= position < self.n_positions:
            raise ValueError(
                f"Expected an edge of universe 'qkv' and a position from 0 to "
                f"{self.n_positions - 1}, got {edge} and {position}."
            )
        number = self.edges.index(edge)
        if self.is_in[number, position]:
            return "in"
        return "constant" if self.is_constant[number, position] else "out"

    def __repr__(self) -> str:
        counts = ", ".join(
            f"{count} {what}"
            for count, what in (
                (int(self.is_in.sum()), "in"),
                (int((self.is_constant & ~self.is_in).sum()), "constant"),
                (int(self.depends_on_input.sum()), "that depend on the input"),
            )
        )
        return (
            f"PositionTruth({len(self.edges)} edges at {self.n_positions} positions on "
            f"{self.n_pairs:,} pairs: {counts})"
        )

"""Edge universes: the edges that a method may choose among.

A *fine* edge goes from one writer to one reader of the residual stream (`sites.writers`,
`sites.readers`). Every universe is a grouping of fine edges, so scores, masks and circuits all
move to a coarser universe by the same rule.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from types import MappingProxyType
from typing import get_args

from interpbench_jax.names import UniverseName as UniverseName
from interpbench_jax.sites import EMBEDDINGS, Edge, Kind, Node, n_writers_before, readers, writers

UNIVERSES: tuple[UniverseName, ...] = get_args(UniverseName)

HEAD_INPUTS = (Kind.Q_INPUT, Kind.K_INPUT, Kind.V_INPUT)


@dataclass(frozen=True)
class Universe:
    """The edges that a method may choose among, for one model shape.

    Attributes:
        name: the universe's name. `"qkv"` has the fine edges. In `"qkv-merged"` the two embeddings
            are one writer, as in auto-circuit. In `"head"`, which InterpBench's own evaluation
            scores, the q, k and v readers are also merged into their head and an MLP's input
            into the MLP, and there is no edge from the embedding to the output.
            `"head-no-embed"` is `"head"` without the edges from the embedding.
        n_layers: number of layers of the model.
        n_heads: number of heads per layer.
        members: the fine edges of each edge of the universe, ordered by reader, then writer.
    """

    name: UniverseName
    n_layers: int
    n_heads: int
    members: Mapping[Edge, tuple[Edge, ...]] = field(repr=False, compare=False)

    def __reduce__(self) -> tuple[object, ...]:
        return universe, (self.name, self.n_layers, self.n_heads)

    @cached_property
    def edges(self) -> tuple[Edge, ...]:
        """Every edge, ordered by reader, then writer."""
        return tuple(self.members)

    @cached_property
    def sources(self) -> tuple[Node, ...]:
        """The nodes that can be replaced: every source of an edge, in forward order."""
        order = {
            _promote_writer(self.name, writer): None
            for writer in writers(self.n_layers, self.n_heads)
        }
        present = {edge.src for edge in self.edges}
        return tuple(node for node in order if node in present)

    @cached_property
    def nodes(self) -> tuple[Node, ...]:
        """Every end of an edge: the sources first, then the nodes that only read."""
        ends = (edge.dst for edge in self.edges)
        return tuple(dict.fromkeys((*self.sources, *ends)))

    def fine_edges_of(self, source: Node) -> tuple[Edge, ...]:
        """The fine edges that leave `source`: cutting them all replaces the node.

        Raises:
            ValueError: if `source` is not a source of this universe.
        """
        if source not in self.sources:
            raise ValueError(
                f"Expected one of the {len(self.sources)} sources of universe "
                f"{self.name!r}, got {source}; see `Universe.sources`."
            )
        return tuple(
            edge
            for edge in universe("qkv", self.n_layers, self.n_heads).edges
            if _promote_writer(self.name, edge.src) == source
        )

    def groups_of(self, finer: "Universe") -> tuple[tuple[int, ...], ...]:
        """For each edge of this universe, the indices in `finer.edges` of the edges that it merges.

        Raises:
            ValueError: if `finer` is not a refinement of this universe.
        """
        key = (finer.name, finer.n_layers, finer.n_heads)
        if key not in self._groups:
            self._groups[key] = self._find_groups(finer)
        return self._groups[key]

    @cached_property
    def _groups(self) -> dict[tuple[str, int, int], tuple[tuple[int, ...], ...]]:
        """Earlier results of `groups_of`, by the finer universe."""
        return {}

    def _find_groups(self, finer: "Universe") -> tuple[tuple[int, ...], ...]:
        index = {fine: i for i, edge in enumerate(finer.edges) for fine in finer.members[edge]}
        groups = []
        for edge, fine_edges in self.members.items():
            group = sorted({index[fine] for fine in fine_edges if fine in index})
            gathered = {fine for i in group for fine in finer.members[finer.edges[i]]}
            if gathered != set(fine_edges):
                raise ValueError(
                    f"Expected a universe finer than {self.name!r}, got {finer.name!r}: "
                    f"it does not resolve {edge}."
                )
            groups.append(tuple(group))
        return tuple(groups)


@lru_cache(maxsize=256)
def universe(name: UniverseName, n_layers: int, n_heads: int) -> Universe:
    """The universe `name` of a model with `n_layers` layers of `n_heads` heads.

    Raises:
        ValueError: if there is no universe of that name.
    """
    if name not in UNIVERSES:
        raise ValueError(f"Expected universe to be one of {', '.join(UNIVERSES)}; got {name!r}.")
    members: dict[Edge, list[Edge]] = {}
    for fine in _fine_edges(n_layers, n_heads):
        edge = _promote(name, fine)
        if edge is not None:
            members.setdefault(edge, []).append(fine)
    frozen = MappingProxyType({edge: tuple(fine) for edge, fine in members.items()})
    return Universe(name, n_layers, n_heads, frozen)


def _fine_edges(n_layers: int, n_heads: int) -> Iterator[Edge]:
    sources = writers(n_layers, n_heads)
    for reader in readers(n_layers, n_heads):
        for writer in sources[: n_writers_before(reader, n_heads)]:
            yield Edge(writer, reader)


def _promote(name: UniverseName, fine: Edge) -> Edge | None:
    """The edge of a universe that a fine edge belongs to, or None if there is none."""
    coarse = name in ("head", "head-no-embed")
    if coarse and fine.src.kind in EMBEDDINGS:
        if name == "head-no-embed" or fine.dst.kind is Kind.RESID_POST:
            return None
    return Edge(_promote_writer(name, fine.src), promote_reader(name, fine.dst))


def _promote_writer(name: UniverseName, writer: Node) -> Node:
    if name != "qkv" and writer.kind in EMBEDDINGS:
        return Node(Kind.RESID_PRE, 0)
    return writer


def promote_reader(name: UniverseName, reader: Node) -> Node:
    if name not in ("head", "head-no-embed"):
        return reader
    if reader.kind in HEAD_INPUTS:
        return Node(Kind.HEAD, reader.layer, reader.head)
    if reader.kind is Kind.MLP_IN:
        return Node(Kind.MLP_OUT, reader.layer)
    return reader

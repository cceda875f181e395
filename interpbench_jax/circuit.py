"""Circuits: the edges that matter in a model, and the truth values that scores use."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal

import numpy as np

from interpbench_jax.display import SHOWN, html_table
from interpbench_jax.drawings import beside
from interpbench_jax.extras import needs_extra
from interpbench_jax.jsontext import check_format, parse_json_object
from interpbench_jax.layout import Layout
from interpbench_jax.masks import edge_mask
from interpbench_jax.sites import (
    EMBEDDING_SOURCES,
    Edge,
    Kind,
    Node,
    n_writers_before,
    parse_edge,
    parse_node,
)
from interpbench_jax.texts import cut_off, shown
from interpbench_jax.universes import HEAD_INPUTS, UniverseName, promote_reader, universe

if TYPE_CHECKING:
    import networkx

TruthValue = Literal["in", "out", "constant"]

_FORMAT = "interpbench-circuit"
# Upstream's lists also name the wiring inside a component, which is the same in every circuit.
_INSIDE = {
    (Kind.Q_INPUT, Kind.Q),
    (Kind.K_INPUT, Kind.K),
    (Kind.V_INPUT, Kind.V),
    (Kind.Q, Kind.HEAD),
    (Kind.K, Kind.HEAD),
    (Kind.V, Kind.HEAD),
    (Kind.MLP_IN, Kind.MLP_OUT),
}


@dataclass(frozen=True, repr=False)
class Circuit:
    """The edges that matter in a model of `n_layers` layers of `n_heads` heads.

    Attributes:
        n_layers: number of layers of the model.
        n_heads: number of heads per layer.
        edges: the edges as they were given, in any of upstream's namings.
        constant: the edges among them that carry a variable which is the same in both inputs of
            every pair, for example positions. Resampling them changes nothing, so scores leave
            them out: they are neither in the circuit nor outside it.

    Raises:
        ValueError: if an edge does not exist in such a model, or a constant edge is not one of
            the edges.
    """

    n_layers: int
    n_heads: int
    edges: tuple[Edge, ...]
    constant: tuple[Edge, ...] = ()

    def __post_init__(self) -> None:
        for edge in set(self.constant) - set(self.edges):
            raise ValueError(f"Expected constant edges to be edges of the circuit, got {edge}.")
        for edge in self.edges:
            for fine in self._expand(edge):
                self._check_node(fine.src)
                self._check_node(fine.dst)
                if not _comes_before(fine.src, fine.dst, self.n_heads):
                    raise ValueError(
                        f"Expected edges of a model with {self.n_layers} layers of "
                        f"{self.n_heads} heads, got {edge}: {fine.dst} does not come after "
                        f"{fine.src} there; the circuit was probably made for another model."
                    )

    def __len__(self) -> int:
        """The number of edges that were given, including constant ones."""
        return len(self.edges)

    def __bool__(self) -> bool:
        """True, even if the circuit is empty: an empty circuit is not the same as none."""
        return True

    def __iter__(self) -> Iterator[Edge]:
        return iter(self.edges)

    def __contains__(self, edge: object) -> bool:
        """Whether an edge, or its name (`"hook_embed -> blocks.0.hook_mlp_in"`), is in it.

        An edge matches as it was given or as a writer -> reader edge (`fine_edges`).

        Raises:
            ValueError: if a name is not that of an edge.
        """
        wanted = parse_edge(edge) if isinstance(edge, str) else edge
        return wanted in self.edges or wanted in self.fine_edges

    def __repr__(self) -> str:
        constant = f" ({len(self.constant)} constant)" if self.constant else ""
        edges = cut_off([str(edge) for edge in self.edges])
        return (
            f"Circuit({self.n_layers} layers of {self.n_heads} heads, {len(self)} edges{constant}: "
            f"{edges})"
        )

    def _repr_html_(self) -> str:
        rows = [
            (str(edge.src), str(edge.dst), "constant" if edge in self.constant else "in")
            for edge in self.edges[:SHOWN]
        ]
        if len(self) > SHOWN:
            rows.append((f"and {len(self) - SHOWN:,} more", "", ""))
        title = f"Circuit of {self.n_layers} layers of {self.n_heads} heads"
        return beside(html_table(title, ("from", "to", ""), rows), self)

    @cached_property
    def fine_edges(self) -> frozenset[Edge]:
        """The circuit as writer -> reader edges, completed down to the output.

        Release 1.0.0's lists lack the edge into the final residual stream where the program
        has fewer layers than the model. InterpBench's evaluation adds it, and so do we: if no
        edge enters the output, every component that edges enter but none leaves gets an edge to
        the output.
        """
        given = {fine for edge in self.edges for fine in self._expand(edge)}
        output = Node(Kind.RESID_POST, self.n_layers - 1)
        if not given or any(edge.dst == output for edge in given):
            return frozenset(given)
        written = {promote_reader("head", edge.dst) for edge in given}
        sinks = written - {edge.src for edge in given}
        return frozenset(given | {Edge(sink, output) for sink in sinks})

    @cached_property
    def varying_fine_edges(self) -> frozenset[Edge]:
        """`fine_edges` without the constant ones."""
        return self.fine_edges - {fine for edge in self.constant for fine in self._expand(edge)}

    def in_universe(self, name: UniverseName) -> frozenset[Edge]:
        """The circuit in a universe: the edges that cover at least one of its fine edges."""
        return self._own_and_constant(name)[0]

    def constant_in(self, name: UniverseName) -> frozenset[Edge]:
        """The constant edges of a universe: those that cover only constant edges of the circuit.

        Fine edges outside the circuit that such an edge also covers do not count.
        """
        return self._own_and_constant(name)[1]

    def edge_truths(self, name: UniverseName) -> dict[Edge, TruthValue]:
        """The truth value of every edge of a universe, in the universe's order.

        `"in"`: it matters. `"out"`: it does not. `"constant"`: the circuit has it, but it carries
        nothing that differs between the two inputs of a pair, so no score can detect it.
        """
        if name not in self._truths:
            own, constant = self._own_and_constant(name)
            edges = universe(name, self.n_layers, self.n_heads).edges
            self._truths[name] = {edge: _truth(edge in own, edge in constant) for edge in edges}
        return self._truths[name].copy()

    def node_truths(self, name: UniverseName) -> dict[Node, TruthValue]:
        """The truth value of every source of a universe, in its order; see `edge_truths`."""
        own, constant = self.nodes_in(name), self.constant_nodes_in(name)
        nodes = universe(name, self.n_layers, self.n_heads).sources
        return {node: _truth(node in own, node in constant) for node in nodes}

    def nodes_in(self, name: UniverseName) -> frozenset[Node]:
        """Both ends of every circuit edge of a universe."""
        return _ends(self.in_universe(name))

    def constant_nodes_in(self, name: UniverseName) -> frozenset[Node]:
        """The ends of a universe's constant edges that are not ends of other circuit edges."""
        constant = self.constant_in(name)
        return _ends(constant) - _ends(self.in_universe(name) - constant)

    def mask(self) -> np.ndarray:
        """1 on the circuit's fine edges, 0 elsewhere.

        Returns:
            float32 of shape `[dst, src]`, as the masked forward takes it.
        """
        return edge_mask(self.fine_edges, self.n_layers, self.n_heads)

    def to_json(self) -> str:
        """The circuit as JSON text; `from_json` reads it back unchanged."""
        return json.dumps(
            {
                "format": _FORMAT,
                "version": 1,
                "n_layers": self.n_layers,
                "n_heads": self.n_heads,
                "edges": _names(self.edges),
                "constant": _names(self.constant),
            },
            indent=1,
        )

    @classmethod
    def from_json(cls, text: str) -> "Circuit":
        """Read a circuit from the text that `to_json` returned.

        Raises:
            ValueError: if the text is not a circuit.
        """
        data = parse_json_object(text, "a circuit")
        check_format(data, _FORMAT)
        fields = {"format", "version", "n_layers", "n_heads", "edges", "constant"}
        if set(data) != fields:
            raise ValueError(
                f"Expected a circuit with the fields {sorted(fields)}, got {shown(sorted(data))}."
            )
        layers, heads = data["n_layers"], data["n_heads"]
        for size in (layers, heads):
            if not isinstance(size, int) or isinstance(size, bool) or not 0 < size <= 1024:
                raise ValueError(
                    f"Expected n_layers and n_heads to be ints from 1 to 1024, got "
                    f"{shown((layers, heads))}."
                )
        assert isinstance(layers, int) and isinstance(heads, int)
        edges, constant = data["edges"], data["constant"]
        if not isinstance(edges, list) or not isinstance(constant, list):
            raise ValueError(
                f"Expected edges and constant to be lists, got {edges!r:.200} and "
                f"{constant!r:.200}."
            )
        return cls.from_names(edges, layers, heads, constant)

    @classmethod
    def from_names(
        cls,
        pairs: Iterable[Iterable[str]],
        n_layers: int,
        n_heads: int,
        constant: Iterable[Iterable[str]] = (),
    ) -> "Circuit":
        """A circuit from pairs of upstream's node names, as `edges.pkl` lists them.

        Raises:
            ValueError: if an entry is not a pair of hook names or not an edge of the model.
        """
        edges, marked = (tuple(map(_read_pair, given)) for given in (pairs, constant))
        return cls(n_layers, n_heads, edges, marked)

    def to_networkx(self, name: UniverseName | None = None) -> "networkx.DiGraph":
        """The circuit as a directed graph whose nodes are upstream's names.

        Args:
            name: the universe whose edges to use; by default, the edges as they were given.

        Raises:
            ImportError: if networkx is not installed.
        """
        with needs_extra("analysis", "Converting a circuit to a graph"):
            import networkx

        edges = self.edges if name is None else sorted(self.in_universe(name), key=str)
        graph = networkx.DiGraph(n_layers=self.n_layers, n_heads=self.n_heads)
        for edge in edges:
            for node in (edge.src, edge.dst):
                graph.add_node(str(node), kind=node.kind.name, layer=node.layer, head=node.head)
            graph.add_edge(str(edge.src), str(edge.dst))
        return graph

    @cached_property
    def _truths(self) -> dict[UniverseName, dict[Edge, TruthValue]]:
        """Earlier results of `edge_truths`."""
        return {}

    @cached_property
    def _gathered(self) -> dict[UniverseName, tuple[frozenset[Edge], frozenset[Edge]]]:
        """Earlier results of `_own_and_constant`."""
        return {}

    def _own_and_constant(self, name: UniverseName) -> tuple[frozenset[Edge], frozenset[Edge]]:
        """The circuit's edges in a universe, and the constant ones among them."""
        if name not in self._gathered:
            own = self._gather(name, self.fine_edges)
            self._gathered[name] = own, own - self._gather(name, self.varying_fine_edges)
        return self._gathered[name]

    def _gather(self, name: UniverseName, fine_edges: frozenset[Edge]) -> frozenset[Edge]:
        edges = universe(name, self.n_layers, self.n_heads).members.items()
        return frozenset(edge for edge, fine in edges if not fine_edges.isdisjoint(fine))

    def _expand(self, edge: Edge) -> tuple[Edge, ...]:
        """The fine edges that one given edge stands for; none for wiring inside a component."""
        src, dst = edge.src, edge.dst
        if (src.kind, dst.kind) in _INSIDE and (src.layer, src.head) == (dst.layer, dst.head):
            self._check_node(src)
            return ()
        return tuple(
            Edge(writer, reader)
            for writer in _expand_writer(src, edge)
            for reader in self._expand_reader(dst, edge)
        )

    def _expand_reader(self, node: Node, edge: Edge) -> tuple[Node, ...]:
        match node.kind:
            case Kind.Q_INPUT | Kind.K_INPUT | Kind.V_INPUT | Kind.MLP_IN:
                return (node,)
            case Kind.HEAD:
                return tuple(Node(kind, node.layer, node.head) for kind in HEAD_INPUTS)
            case Kind.MLP_OUT:
                return (Node(Kind.MLP_IN, node.layer),)
            case Kind.RESID_POST:
                # A compiled program shallower than the model names its own last layer.
                self._check_node(node)
                if not _comes_before(edge.src, node, self.n_heads):
                    raise ValueError(f"Expected an edge that runs forward, got {edge}.")
                return (Node(Kind.RESID_POST, self.n_layers - 1),)
        raise ValueError(
            f"Expected an edge that ends at a reader of the residual stream, got {edge}."
        )

    def _check_node(self, node: Node) -> None:
        has_head = node.head is not None or node.kind.head_axis is None
        in_range = (node.layer or 0) < self.n_layers and (node.head or 0) < self.n_heads
        if not has_head or not in_range:
            raise ValueError(
                f"Expected nodes of a model with {self.n_layers} layers of {self.n_heads} heads, "
                f"got {node}; the circuit was probably made for another model."
            )


def _truth(is_own: bool, is_constant: bool) -> TruthValue:
    if is_constant:
        return "constant"
    return "in" if is_own else "out"


def _ends(edges: Iterable[Edge]) -> frozenset[Node]:
    return frozenset(node for edge in edges for node in (edge.src, edge.dst))


def _names(edges: Iterable[Edge]) -> list[list[str]]:
    return [[str(edge.src), str(edge.dst)] for edge in edges]


def _read_pair(pair: Iterable[str]) -> Edge:
    names = tuple(pair) if isinstance(pair, list | tuple) else ()
    if len(names) != 2 or not all(isinstance(name, str) for name in names):
        raise ValueError(f"Expected an edge as a pair of hook names, got {pair!r:.240}.")
    return Edge(parse_node(names[0]), parse_node(names[1]))


def _comes_before(writer: Node, reader: Node, n_heads: int) -> bool:
    """Whether a writer has written when a reader reads; True for the merged embeddings."""
    if writer.kind in EMBEDDING_SOURCES:
        return True
    layer = writer.layer or 0
    layout = Layout(layer + 1, n_heads)
    is_mlp = writer.head is None
    place = layout.mlp_writer(layer) if is_mlp else layout.first_head(layer) + writer.head
    return place < n_writers_before(reader, n_heads)


def _expand_writer(node: Node, edge: Edge) -> tuple[Node, ...]:
    match node.kind:
        case Kind.EMBED | Kind.POS_EMBED | Kind.HEAD | Kind.MLP_OUT:
            return (node,)
        case Kind.RESID_PRE if node.layer == 0:
            return (Node(Kind.EMBED), Node(Kind.POS_EMBED))
    raise ValueError(
        f"Expected an edge that starts at a writer of the residual stream, got {edge}."
    )

"""MIB's JSON files of a graph: every edge with a score, and whether a circuit has it.

Source: `Graph.to_json` in hannamw/MIB-circuit-track and hannamw/EAP-IG 795f560; Mueller et al. 2025
(arXiv:2504.13151).
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from interpbench_jax.circuit import Circuit
from interpbench_jax.config import TransformerConfig
from interpbench_jax.jsontext import parse_json_object
from interpbench_jax.scores.levels import (
    Ranking,
    check_edge_scores,
    only_edges,
    promote_scores,
    read_values,
)
from interpbench_jax.sites import Edge, Kind, Node
from interpbench_jax.texts import shown
from interpbench_jax.universes import Universe, UniverseName, universe

MIB_UNIVERSE: UniverseName = "qkv-merged"

_INPUTS = {Kind.Q_INPUT: "q", Kind.K_INPUT: "k", Kind.V_INPUT: "v"}
_MOST = 1024
# MIB's own name for it first; the second occurs in files of others.
_MEMBERSHIP = ("in_graph", "in_circuit")


@dataclass(frozen=True, eq=False)
class MibGraph:
    """The edges of a model as MIB's files have them, which are those of `"qkv-merged"`.

    Attributes:
        n_layers: number of layers of the model.
        n_heads: number of heads per layer.
        d_model: width of the residual stream.
        scores: the score of every edge, in the order of `universe("qkv-merged", ...).edges`; NaN
            for an edge that has none.
        in_graph: whether the circuit has each of these edges.

    Raises:
        ValueError: if there is not one score and one truth value per edge.
    """

    n_layers: int
    n_heads: int
    d_model: int
    scores: Float[np.ndarray, " edges"]
    in_graph: Bool[np.ndarray, " edges"]

    def __post_init__(self) -> None:
        n_edges = len(self.space.edges)
        for name in ("scores", "in_graph"):
            found = np.shape(getattr(self, name))
            if found != (n_edges,):
                raise ValueError(
                    f"Expected {name} of shape ({n_edges},), one for each edge of {MIB_UNIVERSE!r} "
                    f"in a model of {self.n_layers} layers of {self.n_heads} heads, got {found}."
                )

    @property
    def space(self) -> Universe:
        """The universe of the edges."""
        return universe(MIB_UNIVERSE, self.n_layers, self.n_heads)

    @property
    def circuit(self) -> Circuit:
        """The circuit of the edges in the graph, none of which counts as constant."""
        edges = (edge for edge, is_in in zip(self.space.edges, self.in_graph, strict=True) if is_in)
        return Circuit(self.n_layers, self.n_heads, tuple(edges))

    def to_json(self) -> str:
        """The text of MIB's file; `from_json` reads it back unchanged.

        Edges without a score have `null` there.
        """
        edges = {
            _name(edge): {"score": None if math.isnan(score) else float(score), "in_graph": is_in}
            for edge, score, is_in in zip(
                self.space.edges, self.scores.tolist(), self.in_graph.tolist(), strict=True
            )
        }
        used = {
            end
            for edge, is_in in zip(self.space.edges, self.in_graph, strict=True)
            if is_in
            for end in (_writer(edge.src), _reader(edge.dst)[0])
        }
        nodes = dict.fromkeys(_writer(node) for node in self.space.sources)
        cfg = {
            "n_layers": self.n_layers,
            "n_heads": self.n_heads,
            "parallel_attn_mlp": False,
            "d_model": self.d_model,
        }
        found = {
            "cfg": cfg,
            "nodes": {name: {"in_graph": name in used} for name in nodes}
            | {"logits": {"in_graph": True}},
            "edges": edges,
        }
        return json.dumps(found)

    @classmethod
    def from_json(cls, text: str) -> "MibGraph":
        """Read the text of MIB's file.

        Raises:
            ValueError: if the text is not such a file, is of a model whose attention and MLPs run
                in parallel, or its edges are not those of its model.
        """
        data = parse_json_object(text, "a graph of MIB's")
        cfg, edges = data.get("cfg"), data.get("edges")
        if not isinstance(cfg, dict) or not isinstance(edges, dict):
            raise ValueError(
                "Expected a graph of MIB's with the objects 'cfg' and 'edges', got "
                f"{shown(sorted(data))}."
            )
        n_layers, n_heads, d_model = (_size(cfg, name) for name in _SIZES)
        if cfg.get("parallel_attn_mlp"):
            raise ValueError(
                "Expected a model whose MLPs read what the heads of their layer wrote, got one "
                "with parallel_attn_mlp; such models have other edges."
            )
        names = [_name(edge) for edge in universe(MIB_UNIVERSE, n_layers, n_heads).edges]
        missing, unknown = set(names) - edges.keys(), edges.keys() - set(names)
        if missing or unknown:
            raise ValueError(
                f"Expected the {len(names)} edges of {n_layers} layers of {n_heads} heads; "
                f"missing: {shown(sorted(missing))}, unknown: {shown(sorted(unknown))}."
            )
        read = [_read_edge(name, edges[name]) for name in names]
        scores, is_in = zip(*read, strict=True)
        return cls(n_layers, n_heads, d_model, np.asarray(scores, float), np.asarray(is_in, bool))


def mib_graph(
    config: TransformerConfig,
    values: Ranking | Float[np.ndarray, " edges"] | None = None,
    circuit: Circuit | None = None,
    name: UniverseName | None = None,
) -> MibGraph:
    """The graph of a model with a method's scores, a circuit, or both.

    Args:
        config: the model's config.
        values: a sweep's result or a method's scores; or one number for each edge. Those of
            `"qkv"` are merged as `promote_scores` does it. By default 1 for the edges of the
            circuit and 0 for the others.
        circuit: the edges that are in the graph; none by default. Its constant edges are among
            them, because MIB's files know two truth values.
        name: the universe of plain numbers, by default `"qkv-merged"`; a result knows its own.

    Raises:
        ValueError: if there are neither values nor a circuit, the values are not those of edges
            of `"qkv"` or `"qkv-merged"`, one is infinite, or the circuit is of another model.
    """
    n_layers, n_heads = config.n_layers, config.n_heads
    edges = universe(MIB_UNIVERSE, n_layers, n_heads).edges
    if values is None and circuit is None:
        raise ValueError("Expected scores, a circuit or both, got neither.")
    in_graph = np.zeros(len(edges), bool)
    if circuit is not None:
        if (circuit.n_layers, circuit.n_heads) != (n_layers, n_heads):
            raise ValueError(
                f"Expected a circuit of {n_layers} layers of {n_heads} heads as the model has, "
                f"got one of {circuit.n_layers} layers of {circuit.n_heads} heads."
            )
        own = circuit.in_universe(MIB_UNIVERSE)
        in_graph = np.asarray([edge in own for edge in edges])
    if values is None:
        return MibGraph(n_layers, n_heads, config.d_model, in_graph.astype(float), in_graph)
    numbers, given, level = read_values(values, name, None, default=MIB_UNIVERSE)
    only_edges(level)
    check_edge_scores(numbers, given, n_layers, n_heads)
    if given not in ("qkv", MIB_UNIVERSE):
        raise ValueError(
            f"Expected scores in 'qkv' or {MIB_UNIVERSE!r}, got {given!r}, which lacks edges that "
            "MIB's files have."
        )
    if np.isinf(numbers).any():
        raise ValueError("Expected finite scores, got an infinite one.")
    if given == "qkv":
        numbers = promote_scores(numbers, "qkv", MIB_UNIVERSE, n_layers, n_heads)
    return MibGraph(n_layers, n_heads, config.d_model, np.asarray(numbers, float), in_graph)


_SIZES = ("n_layers", "n_heads", "d_model")


def _writer(node: Node) -> str:
    """MIB's name of a writer."""
    if node.kind is Kind.HEAD:
        return f"a{node.layer}.h{node.head}"
    return f"m{node.layer}" if node.kind is Kind.MLP_OUT else "input"


def _reader(node: Node) -> tuple[str, str]:
    """MIB's name of the component that reads, and what follows it for one input of a head."""
    if node.kind in _INPUTS:
        return f"a{node.layer}.h{node.head}", f"<{_INPUTS[node.kind]}>"
    return (f"m{node.layer}" if node.kind is Kind.MLP_IN else "logits"), ""


def _name(edge: Edge) -> str:
    return f"{_writer(edge.src)}->{''.join(_reader(edge.dst))}"


def _size(cfg: Mapping[str, object], name: str) -> int:
    value = cfg.get(name)
    most = _MOST if name != "d_model" else 2**20
    if type(value) is not int or not 0 < value <= most:
        raise ValueError(f"Expected cfg.{name} as an int from 1 to {most:,}, got {value!r:.100}.")
    return value


def _read_edge(name: str, value: object) -> tuple[float, bool]:
    fields = value if isinstance(value, dict) else {}
    is_in = next((fields[key] for key in _MEMBERSHIP if key in fields), None)
    score = fields.get("score", 0.0 if is_in is None else float(is_in is True))
    is_number = score is None or (isinstance(score, int | float) and not isinstance(score, bool))
    if not isinstance(is_in, bool) or not is_number or math.isinf(score or 0):
        raise ValueError(
            f"Expected edge {name} as an object with a finite number or null as 'score' and true "
            f"or false as 'in_graph', got {value!r:.200}."
        )
    return (math.nan if score is None else float(score)), is_in

"""The circuit of indirect object identification, from its alignment with the model's nodes."""

from collections.abc import Iterator

from interpbench_jax.cases.ioi.components import COMPONENTS
from interpbench_jax.circuit import Circuit
from interpbench_jax.config import TransformerConfig
from interpbench_jax.sites import Edge, Kind, Node

# What each component reads: (what, the input that reads it). "tokens" are the embedding or, where
# the first MLP stands for them, that MLP, which knows each token's position too.
_READS: tuple[tuple[str, str, Kind], ...] = (
    ("tokens", "duplicate", Kind.Q_INPUT),
    ("tokens", "duplicate", Kind.K_INPUT),
    ("positions", "duplicate", Kind.V_INPUT),
    ("duplicate", "s_inhibition", Kind.Q_INPUT),
    ("positions", "s_inhibition", Kind.K_INPUT),
    ("tokens", "s_inhibition", Kind.V_INPUT),
    ("tokens", "name_mover", Kind.V_INPUT),
    ("s_inhibition", "name_mover", Kind.V_INPUT),
)


def ioi_circuit(config: TransformerConfig, has_tokens: bool) -> Circuit:
    """Every edge that the rule of the task uses, into the one input that reads it.

    Args:
        config: the model's shape.
        has_tokens: whether the first MLP stands for the tokens.
    """
    edges = [
        Edge(_writer(source, has_tokens), _reader(target, slot)) for source, target, slot in _READS
    ]
    first = (Kind.EMBED, Kind.POS_EMBED) if has_tokens else ()
    return _circuit(config, [*_into_tokens(first), *edges])


def scored_ioi_circuit(config: TransformerConfig, has_tokens: bool) -> Circuit:
    """The edges as InterpBench lists them: what a head reads enters its values alone.

    With the first MLP these are 7 of the 1,108 edges of a model whose embeddings are one input.
    Source: iit `ed44cbf`, `tasks/ioi`, as MIB uses it (Mueller et al. 2025, arXiv:2504.13151).
    """
    pairs = dict.fromkeys((source, target) for source, target, _ in _READS)
    edges = [
        Edge(_writer(source, has_tokens), _reader(target, Kind.V_INPUT))
        for source, target in pairs
        if source != "positions"
    ]
    return _circuit(config, [*_into_tokens((Kind.EMBED,) if has_tokens else ()), *edges])


def _circuit(config: TransformerConfig, edges: list[Edge]) -> Circuit:
    output = Node(Kind.RESID_POST, config.n_layers - 1)
    every = dict.fromkeys([*edges, Edge(COMPONENTS["name_mover"], output)])
    return Circuit(config.n_layers, config.n_heads, tuple(every))


def _into_tokens(embeddings: tuple[Kind, ...]) -> Iterator[Edge]:
    for kind in embeddings:
        yield Edge(Node(kind), Node(Kind.MLP_IN, 0))


def _writer(name: str, has_tokens: bool) -> Node:
    if name in ("tokens", "positions"):
        if has_tokens:
            return Node(Kind.MLP_OUT, 0)
        return Node(Kind.EMBED if name == "tokens" else Kind.POS_EMBED)
    return COMPONENTS[name]


def _reader(name: str, slot: Kind) -> Node:
    node = COMPONENTS[name]
    return Node(slot, node.layer, node.head)

"""The circuit of indirect object identification, derived from the alignment of components."""

from typing import NamedTuple

from interpbench_jax.cases.ioi.components import COMPONENTS
from interpbench_jax.circuit import Circuit
from interpbench_jax.config import TransformerConfig
from interpbench_jax.sites import Edge, Kind, Node


class ComponentRead(NamedTuple):
    """One value that a component reads.

    Attributes:
        source: the source of the value: a component, `"tokens"` or `"positions"`. The last two
            are the embeddings or, if the first MLP is aligned with the tokens, that MLP, which
            knows each token's position too.
        target: the component that reads.
        slot: the input that it reads by.
    """

    source: str
    target: str
    slot: Kind


_READS = (
    ComponentRead("tokens", "duplicate", Kind.Q_INPUT),
    ComponentRead("tokens", "duplicate", Kind.K_INPUT),
    ComponentRead("positions", "duplicate", Kind.V_INPUT),
    ComponentRead("duplicate", "s_inhibition", Kind.Q_INPUT),
    ComponentRead("positions", "s_inhibition", Kind.K_INPUT),
    ComponentRead("tokens", "s_inhibition", Kind.V_INPUT),
    ComponentRead("tokens", "name_mover", Kind.V_INPUT),
    ComponentRead("s_inhibition", "name_mover", Kind.V_INPUT),
)
_INTO_TOKENS = (
    ComponentRead("tokens", "tokens", Kind.MLP_IN),
    ComponentRead("positions", "tokens", Kind.MLP_IN),
)


def ioi_edges(has_tokens: bool) -> dict[ComponentRead, Edge]:
    """The edge of each value that a component reads; the output's is `OUTPUT_EDGE`.

    Args:
        has_tokens: whether the first MLP is aligned with the tokens.
    """
    reads = (*_INTO_TOKENS, *_READS) if has_tokens else _READS
    return {
        read: Edge(
            _writer(read.source, has_tokens and read.target != "tokens"),
            _reader(read.target, read.slot),
        )
        for read in reads
    }


OUTPUT_EDGE = Edge(COMPONENTS["name_mover"], Node(Kind.RESID_POST, COMPONENTS["name_mover"].layer))


def scored_ioi_circuit(config: TransformerConfig, has_tokens: bool) -> Circuit:
    """The edges as InterpBench lists them, where a head reads only by its value input.

    With the first MLP these are 7 of the 1,108 edges of a model whose embeddings are one writer.
    Source: iit `ed44cbf`, `tasks/ioi`, as MIB uses it (Mueller et al. 2025, arXiv:2504.13151).
    """
    pairs = dict.fromkeys((read.source, read.target) for read in _READS)
    edges = [
        Edge(_writer(source, has_tokens), _reader(target, Kind.V_INPUT))
        for source, target in pairs
        if source != "positions"
    ]
    first = [Edge(Node(Kind.EMBED), Node(Kind.MLP_IN, 0))] if has_tokens else []
    output = Node(Kind.RESID_POST, config.n_layers - 1)
    every = (*first, *edges, Edge(OUTPUT_EDGE.src, output))
    return Circuit(config.n_layers, config.n_heads, every)


def _writer(name: str, is_in_mlp: bool) -> Node:
    if name in ("tokens", "positions"):
        if is_in_mlp:
            return Node(Kind.MLP_OUT, 0)
        return Node(Kind.EMBED if name == "tokens" else Kind.POS_EMBED)
    return COMPONENTS[name]


def _reader(name: str, slot: Kind) -> Node:
    node = COMPONENTS[name]
    return Node(slot, node.layer, node.head)

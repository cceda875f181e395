"""Nodes and edges of a transformer, as values.

Apart from `conversion/`, this is the only place where TransformerLens's names are read or written:
`parse_node` and `parse_edge` read them, `str` writes them.
"""

import enum
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from interpbench_jax.layout import Layout


class Kind(enum.Enum):
    """The kind of a node; the value is TransformerLens's hook name, with the layer left open."""

    EMBED = "hook_embed"
    POS_EMBED = "hook_pos_embed"
    RESID_PRE = "blocks.{layer}.hook_resid_pre"
    Q_INPUT = "blocks.{layer}.hook_q_input"
    K_INPUT = "blocks.{layer}.hook_k_input"
    V_INPUT = "blocks.{layer}.hook_v_input"
    LN1_SCALE = "blocks.{layer}.ln1.hook_scale"
    LN1_NORMALIZED = "blocks.{layer}.ln1.hook_normalized"
    Q = "blocks.{layer}.attn.hook_q"
    K = "blocks.{layer}.attn.hook_k"
    V = "blocks.{layer}.attn.hook_v"
    ATTN_SCORES = "blocks.{layer}.attn.hook_attn_scores"
    PATTERN = "blocks.{layer}.attn.hook_pattern"
    Z = "blocks.{layer}.attn.hook_z"
    HEAD = "blocks.{layer}.attn.hook_result"
    ATTN_OUT = "blocks.{layer}.hook_attn_out"
    RESID_MID = "blocks.{layer}.hook_resid_mid"
    MLP_IN = "blocks.{layer}.hook_mlp_in"
    LN2_SCALE = "blocks.{layer}.ln2.hook_scale"
    LN2_NORMALIZED = "blocks.{layer}.ln2.hook_normalized"
    MLP_PRE = "blocks.{layer}.mlp.hook_pre"
    MLP_POST = "blocks.{layer}.mlp.hook_post"
    MLP_OUT = "blocks.{layer}.hook_mlp_out"
    RESID_POST = "blocks.{layer}.hook_resid_post"
    FINAL_SCALE = "ln_final.hook_scale"
    FINAL_NORMALIZED = "ln_final.hook_normalized"

    @property
    def has_layer(self) -> bool:
        """Whether nodes of this kind belong to a layer."""
        return "{layer}" in self.value

    @property
    def head_axis(self) -> int | None:
        """The head axis of the activation, or None if there is none."""
        return _HEAD_AXES.get(self)


_HEAD_AXES = {
    Kind.Q_INPUT: 2,
    Kind.K_INPUT: 2,
    Kind.V_INPUT: 2,
    Kind.LN1_SCALE: 2,
    Kind.LN1_NORMALIZED: 2,
    Kind.Q: 2,
    Kind.K: 2,
    Kind.V: 2,
    Kind.ATTN_SCORES: 1,
    Kind.PATTERN: 1,
    Kind.Z: 2,
    Kind.HEAD: 2,
}
_KIND_OF_TEMPLATE = {kind.value: kind for kind in Kind}
_NAME = re.compile(
    r"(?:blocks\.(?P<layer>0|[1-9]\d{0,8})\.)?(?P<rest>[a-z0-9_.]+?)"
    r"(?:\[(?P<head>0|[1-9]\d{0,8})\])?",
    re.ASCII,
)

EMBEDDINGS = (Kind.EMBED, Kind.POS_EMBED)
# In coarse universes the two embeddings are one writer, the first layer's residual stream.
EMBEDDING_SOURCES = (*EMBEDDINGS, Kind.RESID_PRE)


@dataclass(frozen=True, repr=False)
class Node:
    """A place where an activation exists: one hook, or one head of it.

    Attributes:
        kind: kind of the hook.
        layer: layer of the hook, from 0; None for kinds that have none.
        head: index of the head, from 0; None for the whole activation.
    """

    kind: Kind
    layer: int | None = None
    head: int | None = None

    def __post_init__(self) -> None:
        if self.kind.has_layer != (self.layer is not None):
            wants = "needs a layer" if self.kind.has_layer else "belongs to no layer"
            raise ValueError(f"Node {self.kind.name} {wants}, got layer={self.layer}.")
        if self.head is not None and self.kind.head_axis is None:
            raise ValueError(f"Node {self.kind.name} has no heads, got head={self.head}.")
        if min(self.layer or 0, self.head or 0) < 0:
            raise ValueError(
                f"Layers and heads count from 0, got layer={self.layer}, head={self.head}."
            )

    @property
    def hook(self) -> "Node":
        """The node of the whole activation, whether this node is that or one head of it."""
        return Node(self.kind, self.layer)

    def __str__(self) -> str:
        name = self.kind.value.format(layer=self.layer)
        return name if self.head is None else f"{name}[{self.head}]"

    def __repr__(self) -> str:
        return f"parse_node({str(self)!r})"


@dataclass(frozen=True, repr=False)
class Edge:
    """The part of what `dst` reads from the residual stream that `src` wrote."""

    src: Node
    dst: Node

    def __str__(self) -> str:
        return f"{self.src}{_ARROW}{self.dst}"

    def __repr__(self) -> str:
        return f"parse_edge({str(self)!r})"


@dataclass(frozen=True)
class Neuron:
    """One hidden unit of an MLP.

    Attributes:
        layer: the MLP's layer, from 0.
        index: index of the unit, from 0.
    """

    layer: int
    index: int

    def __str__(self) -> str:
        return f"{Node(Kind.MLP_POST, self.layer)}[{self.index}]"


_ARROW = " -> "


@lru_cache(maxsize=65536)
def parse_node(name: str) -> Node:
    """Read a node's name, written as in TransformerLens and InterpBench.

    Examples: `"hook_embed"`, `"blocks.0.hook_mlp_out"`, `"blocks.1.attn.hook_result[2]"`.

    Raises:
        ValueError: if no hook has that name.
    """
    match = _NAME.fullmatch(name)
    if match is not None:
        layer, rest, head = match.group("layer", "rest", "head")
        kind = _KIND_OF_TEMPLATE.get(rest if layer is None else f"blocks.{{layer}}.{rest}")
        if kind is not None:
            return Node(
                kind,
                layer=None if layer is None else int(layer),
                head=None if head is None else int(head),
            )
    raise ValueError(
        f"Expected a TransformerLens hook name such as 'blocks.1.attn.hook_result[2]', "
        f"got {name!r:.120}; `interpbench_jax.hook_names(config)` lists a model's hooks."
    )


def parse_edge(name: str) -> Edge:
    """Read an edge's name: two node names with `->` between them.

    Raises:
        ValueError: if it is not two hook names.
    """
    names = name.split(_ARROW.strip())
    if len(names) != 2:
        raise ValueError(
            f"Expected an edge such as 'hook_embed -> blocks.0.hook_mlp_in', got {name!r:.240}."
        )
    return Edge(parse_node(names[0].strip()), parse_node(names[1].strip()))


def components(n_layers: int, n_heads: int) -> tuple[Node, ...]:
    """Every head, at `hook_result`, and every MLP, at `hook_post`, in forward order."""
    return tuple(
        node
        for layer in range(n_layers)
        for node in (
            *(Node(Kind.HEAD, layer, head) for head in range(n_heads)),
            Node(Kind.MLP_POST, layer),
        )
    )


def as_writer(node: Node) -> Node:
    """The node at which a component writes: an MLP computes at one node and writes at another."""
    return Node(Kind.MLP_OUT, node.layer) if node.kind is Kind.MLP_POST else node


def writers(n_layers: int, n_heads: int) -> tuple[Node, ...]:
    """Everything that adds to the residual stream, in the order of a mask's `src` axis."""
    return tuple(_writers(n_layers, n_heads))


def readers(n_layers: int, n_heads: int) -> tuple[Node, ...]:
    """Everything that reads the residual stream, in the order of a mask's `dst` axis."""
    return tuple(_readers(n_layers, n_heads))


def n_writers_before(reader: Node, n_heads: int) -> int:
    """The number of writers, counted from the first, that have written when `reader` reads."""
    layer = reader.layer or 0
    layout = Layout(layer + 1, n_heads)
    match reader.kind:
        case Kind.Q_INPUT | Kind.K_INPUT | Kind.V_INPUT:
            return layout.first_head(layer)
        case Kind.MLP_IN:
            return layout.mlp_writer(layer)
        case Kind.RESID_POST:
            return layout.n_writers
        case _:
            raise ValueError(f"{reader} does not read the residual stream.")


def _writers(n_layers: int, n_heads: int) -> Iterator[Node]:
    yield Node(Kind.EMBED)
    yield Node(Kind.POS_EMBED)
    for layer in range(n_layers):
        for head in range(n_heads):
            yield Node(Kind.HEAD, layer, head)
        yield Node(Kind.MLP_OUT, layer)


def _readers(n_layers: int, n_heads: int) -> Iterator[Node]:
    for layer in range(n_layers):
        for kind in (Kind.Q_INPUT, Kind.K_INPUT, Kind.V_INPUT):
            for head in range(n_heads):
                yield Node(kind, layer, head)
        yield Node(Kind.MLP_IN, layer)
    yield Node(Kind.RESID_POST, n_layers - 1)

"""The number of floating-point operations of forward runs, and of a sweep that wastes none."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from benchmarks.speed.job import ConfigValue
from interpbench_jax.sites import Kind, parse_node

_READS = {Kind.Q_INPUT: 1, Kind.K_INPUT: 1, Kind.V_INPUT: 1, Kind.HEAD: 3}


def forward_flops(config: Mapping[str, ConfigValue], n_pos: int) -> int:
    """Count the floating-point operations of the matrix products of one forward run of one input.

    A multiply-add counts as two. Included are queries, keys, values, scores (all of them, also the
    masked half), weighted values, heads' results, both layers of each MLP and the output layer.
    Activations, softmax, additions and the embedding, which is a look-up, are not counted.
    """

    part = _Parts.of(config, n_pos)
    return part.n_layers * part.layer + part.output


def sweep_flops(config: Mapping[str, ConfigValue], readers: Iterable[str], n_pos: int) -> int:
    """Count the operations that cutting each of some edges on one input cannot do without.

    They are those of `forward_flops` that depend on the edge's reader: the queries, keys or values
    of one head, that head's attention and result, then its layer's MLP and all later layers.

    Args:
        config: the fields of a `TransformerConfig`.
        readers: each edge's reader by TransformerLens's name.
        n_pos: the number of positions.

    Raises:
        ValueError: if an edge's reader is no head, input of a head, MLP or output.
    """
    part = _Parts.of(config, n_pos)
    total = 0
    for reader in readers:
        node = parse_node(reader)
        total += part.output
        if node.kind is Kind.RESID_POST:
            continue
        if node.kind in _READS:
            head = _READS[node.kind] * part.projection + part.attention + part.projection
            total += head // part.n_heads
        elif node.kind not in (Kind.MLP_IN, Kind.MLP_OUT):
            raise ValueError(f"Expected edges into heads, MLPs or the output, got {reader!r}.")
        assert node.layer is not None
        total += part.mlp + (part.n_layers - node.layer - 1) * part.layer
    return total


@dataclass(frozen=True)
class _Parts:
    """The operations of the parts of one forward run of one input.

    Attributes:
        n_layers: the number of layers.
        n_heads: the number of heads of a layer.
        projection: the queries of all heads of a layer; keys, values and results cost the same.
        attention: the scores and weighted values of all heads of a layer.
        mlp: an MLP.
        output: the output layer.
    """

    n_layers: int
    n_heads: int
    projection: int
    attention: int
    mlp: int
    output: int

    @property
    def layer(self) -> int:
        """The operations of a whole layer."""
        return 4 * self.projection + self.attention + self.mlp

    @classmethod
    def of(cls, config: Mapping[str, ConfigValue], n_pos: int) -> "_Parts":
        def size(name: str) -> int:
            value = config[name]
            assert isinstance(value, int)
            return value

        width = size("n_heads") * size("d_head")
        return cls(
            n_layers=size("n_layers"),
            n_heads=size("n_heads"),
            projection=2 * n_pos * size("d_model") * width,
            attention=4 * n_pos * n_pos * width,
            mlp=4 * n_pos * size("d_model") * size("d_mlp"),
            output=2 * n_pos * size("d_model") * size("d_vocab_out"),
        )

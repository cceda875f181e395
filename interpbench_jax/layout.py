"""The order of readers, writers and layer norms, which defines the axes of every mask.

Writers are the two embeddings and then, for each layer, its heads and its MLP. Readers are, for
each layer, the queries of all heads, their keys, their values and the MLP, and last the output.
There is a layer norm in front of each layer's attention, of each layer's MLP and of the output.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

# The token embedding and the positional embedding.
N_EMBEDDINGS = 2
# The inputs of a head: its queries, its keys and, last, its values.
N_KINDS = 3
VALUES = 2


class ReaderPlace(NamedTuple):
    """The layer, kind and head of a reader.

    Attributes:
        layer: the reader's layer; for the output, the number of layers.
        kind: 0, 1 or 2 for queries, keys or values; 3 for an MLP; 0 for the output.
        head: the reader's head; 0 if it has none.
    """

    layer: int
    kind: int
    head: int


@dataclass(frozen=True)
class Layout:
    """The indices of a model's readers, writers and layer norms.

    Each layer, kind or head that a method takes is an int; where the type is `Any`, it can be a
    traced number too.

    Attributes:
        n_layers: the number of layers.
        n_heads: the number of heads of each layer.
    """

    n_layers: int
    n_heads: int

    @property
    def writers_of_layer(self) -> int:
        """How many writers a layer has: its heads and its MLP."""
        return self.n_heads + 1

    @property
    def readers_of_layer(self) -> int:
        """How many readers a layer has: q, k and v of each head, and its MLP's input."""
        return self.head_inputs + 1

    @property
    def head_inputs(self) -> int:
        """How many readers of a layer belong to heads."""
        return N_KINDS * self.n_heads

    def of_kind(self, kind: int) -> slice:
        """The queries (kind 0), keys (1) or values (2) among the inputs of a layer's heads."""
        return slice(kind * self.n_heads, (kind + 1) * self.n_heads)

    @property
    def n_writers(self) -> int:
        """How many writers there are."""
        return self.first_head(self.n_layers)

    @property
    def n_readers(self) -> int:
        """How many readers there are."""
        return self.output_reader + 1

    def first_head(self, layer: Any) -> Any:
        """The index of a layer's first head among the writers: the number of writers before it."""
        return N_EMBEDDINGS + layer * self.writers_of_layer

    def mlp_writer(self, layer: Any) -> Any:
        """The index of a layer's MLP among the writers."""
        return self.first_head(layer) + self.n_heads

    def heads(self, layer: int) -> slice:
        """The slice of a layer's heads among the writers."""
        return slice(self.first_head(layer), self.mlp_writer(layer))

    def writer_groups(self) -> tuple[slice, ...]:
        """The writers in the order of a run: the embeddings, a layer's heads, its MLP, etc."""
        groups = [slice(0, N_EMBEDDINGS)]
        for layer in range(self.n_layers):
            mlp = self.mlp_writer(layer)
            groups += [self.heads(layer), slice(mlp, mlp + 1)]
        return tuple(groups)

    def read_after(self, writer: int) -> int:
        """The first stream that contains a writer's output, numbered as the layer norms are."""
        if writer < N_EMBEDDINGS:
            return 0
        layer, index = divmod(writer - N_EMBEDDINGS, self.writers_of_layer)
        return self.attention_norm(layer + 1) if index == self.n_heads else self.mlp_norm(layer)

    def written_before(self, norm: int) -> int:
        """How many writers are added up in the stream in front of a layer norm."""
        layer, is_mlp = divmod(norm, 2)
        return self.mlp_writer(layer) if is_mlp else self.first_head(layer)

    def first_reader(self, layer: Any) -> Any:
        """The index of a layer's first reader, the queries of its first head."""
        return layer * self.readers_of_layer

    def head_reader(self, layer: Any, kind: Any, head: Any) -> Any:
        """The index of a head's queries (kind 0), keys (1) or values (2) among the readers."""
        return self.first_reader(layer) + kind * self.n_heads + head

    def readers_of_head(self, layer: Any, head: Any) -> tuple[Any, Any, Any]:
        """The places of a head's queries, keys and values among the readers."""
        queries, keys, values = (self.head_reader(layer, kind, head) for kind in range(N_KINDS))
        return queries, keys, values

    def mlp_reader(self, layer: Any) -> Any:
        """The index of a layer's MLP among the readers."""
        return self.first_reader(layer) + self.head_inputs

    @property
    def output_reader(self) -> int:
        """The index of the output, the last reader."""
        return self.first_reader(self.n_layers)

    def layer_of_reader(self, reader: Any) -> Any:
        """The layer of the reader at an index; the number of layers for the output."""
        return reader // self.readers_of_layer

    def reader_place(self, reader: int) -> ReaderPlace:
        """The layer, kind and head of the reader at an index."""
        layer, offset = divmod(reader, self.readers_of_layer)
        return ReaderPlace(layer, *divmod(offset, self.n_heads))

    def attention_norm(self, layer: Any) -> Any:
        """The index of the layer norm in front of a layer's heads."""
        return 2 * layer

    def mlp_norm(self, layer: Any) -> Any:
        """The index of the layer norm in front of a layer's MLP."""
        return 2 * layer + 1

    @property
    def final_norm(self) -> int:
        """The index of the layer norm in front of the output."""
        return 2 * self.n_layers

"""Masked runs of a greedy pass, which cuts one edge after another.

A pass usually goes from the output back to the embeddings, so that everything in front of the
current edge is still the clean run's. A run therefore starts at the reader of that edge; if the
reader belongs to a head, the results of the other heads are kept from the step before.
"""

from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from interpbench_jax.engine.chunk import Chunk
from interpbench_jax.engine.clean import read_streams
from interpbench_jax.engine.layers import (
    Activations,
    attend,
    head_results,
    keep,
    mlp,
    project_each,
    scale_at,
    unembed,
)
from interpbench_jax.engine.masked import Changes, read_masked
from interpbench_jax.engine.scoring import Scoring
from interpbench_jax.engine.weights import Form, Layer, Weights, layer_of
from interpbench_jax.layout import N_EMBEDDINGS, N_KINDS, Layout

PlacePart = Literal["heads", "mlp", "output", "all"]


class StartPlace(NamedTuple):
    """Where runs start: at one head of a layer, at its MLP, at the output, or at the embeddings."""

    part: PlacePart
    layer: int


class Ground(NamedTuple):
    """What all masked runs of some inputs share.

    Attributes:
        change: every writer's clean output less its replacement.
        base: the input of every layer norm if all edges are cut: the replacements that are written
            by then, and the biases.
    """

    change: Float[Array, "src d_model pos batch"]
    base: Float[Array, "norms d_model pos batch"]


class GreedyStep(NamedTuple):
    """The result of one masked run.

    Attributes:
        value: the metric, summed over inputs.
        head: the output of the current head less its replacement; None at other places.
    """

    value: Float[Array, ""]
    head: Activations | None


def lay_ground(form: Form, scoring: Scoring, weights: Weights, chunk: Chunk) -> Ground:
    """Compute once what all runs share."""
    outputs = chunk.run.outputs
    replacement = jnp.broadcast_to(chunk.replacement, outputs.shape)
    return Ground(outputs - replacement, jnp.stack(read_streams(weights, replacement)))


def clean_siblings(ground: Ground, layer: int, layout: Layout) -> tuple[Activations, ...]:
    """The changes of a layer's heads while none of their inputs is cut."""
    return tuple(ground.change[layout.heads(layer)])


def take_step(
    form: Form,
    scoring: Scoring,
    place: StartPlace,
    weights: Weights,
    chunk: Chunk,
    ground: Ground,
    siblings: tuple[Activations, ...] | None,
    mask: Float[Array, "dst src"],
    head: Int[Array, ""],
) -> GreedyStep:
    """The metric under a mask.

    Args:
        form: the model's form.
        scoring: how logits become a score.
        place: where the run starts.
        weights: the model's weights.
        chunk: the inputs.
        ground: what all runs of these inputs share.
        siblings: the changes of the heads of the place's layer; None if the place is no head.
        mask: 1 keeps an edge.
        head: the current head.
    """
    run = _MaskedRun(form, weights, chunk, ground, mask)
    final, changed = run.from_place(place, siblings, head)
    logits = unembed(form, weights, final, scale_at(chunk.run.scales, -1))
    value = chunk.metric(scoring)(logits)
    return GreedyStep((value * chunk.share).sum(), changed)


class _MaskedRun:
    """One masked run."""

    def __init__(self, form: Form, weights: Weights, chunk: Chunk, ground: Ground, mask: Array):
        self.form = form
        self.weights = weights
        self.replacement = chunk.replacement
        self.scales = chunk.run.scales
        self.ground = ground
        self.mask = mask
        self.layout = weights.layout

    def from_place(
        self, place: StartPlace, siblings: tuple[Array, ...] | None, head: Array
    ) -> tuple[Array, Array | None]:
        """The final stream, and the output of the current head less its replacement."""
        layer, layout, changed = place.layer, self.layout, None
        clean = [change[None] for change in self.ground.change]
        match place.part:
            case "output":
                return self._output(clean), None
            case "all":
                changes = clean[:N_EMBEDDINGS]
            case "mlp":
                changes = clean[: layout.mlp_writer(layer)]
                changes.append(self._mlp(layer, changes))
                layer += 1
            case "heads":
                assert siblings is not None
                changes = clean[: layout.first_head(layer)]
                changed = self._head(layer, changes, head)
                changes += [
                    keep(jnp.where(head == number, changed, sibling))[None]
                    for number, sibling in enumerate(siblings)
                ]
                changes.append(self._mlp(layer, changes))
                layer += 1
        for later in range(layer, layout.n_layers):
            changes = keep(changes)
            changes += self._attention(later, changes)
            changes.append(self._mlp(later, changes))
        return self._output(changes), changed

    def _read(self, norm: int, changes: list[Changes], rows: slice | Array) -> Array:
        return read_masked(self.ground.base[norm], changes, self.mask[rows])

    def _output(self, changes: list[Changes]) -> Array:
        layout = self.layout
        return self._read(layout.final_norm, changes, slice(layout.output_reader, None))[0]

    def _mlp(self, number: int, changes: list[Changes]) -> Changes:
        row, norm = self.layout.mlp_reader(number), self.layout.mlp_norm(number)
        read = self._read(norm, changes, slice(row, row + 1))[0]
        layer = layer_of(self.weights, number)
        written = mlp(self.form, layer, read, scale_at(self.scales, norm))
        return keep(written - self.replacement[self.layout.mlp_writer(number)])[None]

    def _attention(self, number: int, changes: list[Changes]) -> list[Changes]:
        layout = self.layout
        rows = slice(layout.first_reader(number), layout.mlp_reader(number))
        results = self._results(number, layer_of(self.weights, number), changes, rows)
        replacement = self.replacement[layout.heads(number)]
        return [keep(result - own)[None] for result, own in zip(results, replacement, strict=True)]

    def _head(self, number: int, changes: list[Changes], head: Array) -> Array:
        """The output of one head, whose number is traced, less its replacement."""

        def only(x: Array, axis: int) -> Array:
            return jax.lax.dynamic_slice_in_dim(x, head, 1, axis)

        layer, kinds = layer_of(self.weights, number), jnp.arange(N_KINDS, dtype=head.dtype)
        one = layer._replace(
            qkv=only(layer.qkv, 1),
            qkv_bias=only(layer.qkv_bias, 1),
            head_out=only(layer.head_out, 0),
        )
        rows = self.layout.head_reader(number, kinds, head)
        written = self._results(number, one, changes, rows)[0]
        writer = self.layout.first_head(number) + head
        own = jax.lax.dynamic_index_in_dim(self.replacement, writer, 0, keepdims=False)
        return keep(written - own)

    def _results(
        self, number: int, layer: Layer, changes: list[Changes], rows: slice | Array
    ) -> Array:
        """What heads write, given which readers their queries, keys and values are."""
        norm = self.layout.attention_norm(number)
        read = self._read(norm, changes, rows)
        qkv = keep(project_each(self.form, layer, read, scale_at(self.scales, norm)))
        return head_results(layer, keep(attend(qkv[0], qkv[1], qkv[2], self.weights)))

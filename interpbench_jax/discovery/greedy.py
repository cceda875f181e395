"""Masked runs for a greedy pass, which cuts one more edge at a time.

In the usual order, from the output back to the embeddings, everything in front of the edge at hand
is still the clean run's. So a run starts at what reads the edge; if that is a head, its siblings'
results are kept from the step before.
"""

from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from interpbench_jax.discovery.runs import Chunk, MethodScoring
from interpbench_jax.engine.backward import FineMask, OutputsByWriter, join
from interpbench_jax.engine.layers import (
    EXACT,
    Activations,
    Scale,
    attend,
    keep,
    matmul,
    mlp,
    normalize,
    scale_at,
    unembed,
)
from interpbench_jax.engine.weights import Form, Layer, Weights, layer_of
from interpbench_jax.layout import N_EMBEDDINGS, N_KINDS, Layout

# Sums over so many writers are written out; over more, they are a matrix product.
_FEW_WRITERS = 16

PlacePart = Literal["heads", "mlp", "output", "all"]


class StartPlace(NamedTuple):
    """Where runs start: at one head of a layer, at its MLP, at the output, or at the front."""

    part: PlacePart
    layer: int


class Ground(NamedTuple):
    """What all masked runs of some inputs share.

    Attributes:
        change: every writer's clean output less its replacement.
        base: what every module gets whose inputs are all cut: the replacements that are written
            by then, and the biases. Modules are each layer's attention and MLP, and the output.
    """

    change: OutputsByWriter
    base: Float[Array, "modules d_model pos batch"]


class GreedyStep(NamedTuple):
    """What one masked run gave.

    Attributes:
        value: the metric, summed over inputs.
        head: what the head at hand wrote less its replacement; None at other places.
    """

    value: Float[Array, ""]
    head: Activations | None


def lay_ground(scoring: MethodScoring, weights: Weights, chunk: Chunk) -> Ground:
    """What is computed once."""
    layout, outputs = weights.layout, chunk.run.outputs
    replacement = jnp.broadcast_to(chunk.replacement, outputs.shape)
    base, bases = replacement[0] + replacement[1], []
    for layer in range(layout.n_layers):
        first = layout.first_head(layer)
        bases.append(base)
        base = base + sum(replacement[first + head] for head in range(layout.n_heads))
        base = base + weights.attention_bias[layer][:, None, None]
        bases.append(base)
        base = base + replacement[layout.mlp_writer(layer)]
    return Ground(outputs - replacement, jnp.stack([*bases, base]))


def clean_siblings(ground: Ground, layer: int, layout: Layout) -> tuple[Activations, ...]:
    """The changes of a layer's heads while nothing that they read is cut."""
    first = layout.first_head(layer)
    return tuple(ground.change[first + head] for head in range(layout.n_heads))


def take_step(
    scoring: MethodScoring,
    place: StartPlace,
    weights: Weights,
    chunk: Chunk,
    ground: Ground,
    siblings: tuple[Activations, ...] | None,
    mask: FineMask,
    head: Int[Array, ""],
) -> GreedyStep:
    """The metric under a mask.

    Args:
        scoring: how the run becomes a number.
        place: where the run starts.
        weights: the model's weights.
        chunk: the inputs.
        ground: what all their runs share.
        siblings: the changes of the heads of the place's layer; None where it is no head.
        mask: 1 keeps an edge.
        head: the head at hand.
    """
    run = _MaskedRun(scoring.form, weights, chunk, ground, mask)
    final, changed = run.from_place(place, siblings, head)
    scale = scale_at(chunk.run.scales, -1)
    value = chunk.metric(scoring)(unembed(scoring.form, weights, final, scale))
    return GreedyStep((value * chunk.share).sum(), changed)


class _MaskedRun:
    """One masked run."""

    def __init__(self, form: Form, weights: Weights, chunk: Chunk, ground: Ground, mask: FineMask):
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
        """What the output reads, and what the head at hand wrote less its replacement."""
        layer, layout, changed = place.layer, self.layout, None
        clean = list(self.ground.change)
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
                    keep(jnp.where(head == number, changed, sibling))
                    for number, sibling in enumerate(siblings)
                ]
                changes.append(self._mlp(layer, changes))
                layer += 1
        for later in range(layer, layout.n_layers):
            changes = keep(changes)
            changes += self._attention(later, changes)
            changes.append(self._mlp(later, changes))
        return self._output(changes), changed

    def _read(self, mask: Array, changes: list[Array], module: int) -> Array:
        """What readers get, given the changes that are written by then."""
        base = self.ground.base[module]
        if len(changes) <= _FEW_WRITERS:
            shares = mask[:, :, None, None, None]
            read = sum(
                (shares[:, i] * change[None] for i, change in enumerate(changes)), base[None]
            )
            return keep(read)
        flat = keep(join([change[None] for change in changes])).reshape(len(changes), -1)
        read = jnp.einsum("rs,sn->rn", mask[:, : len(changes)], flat, precision=EXACT)
        return keep(read.reshape(-1, *base.shape) + base[None])

    def _output(self, changes: list[Array]) -> Array:
        return self._read(self.mask[-1:], changes, self.layout.final_norm)[0]

    def _mlp(self, number: int, changes: list[Array]) -> Array:
        row, module = self.layout.mlp_reader(number), self.layout.mlp_norm(number)
        read = self._read(self.mask[row : row + 1], changes, module)[0]
        scale = scale_at(self.scales, module)
        written = mlp(self.form, layer_of(self.weights, number), read, scale)
        return keep(written - self.replacement[len(changes)])

    def _attention(self, number: int, changes: list[Array]) -> list[Array]:
        layer, first, n_heads = layer_of(self.weights, number), len(changes), self.layout.n_heads
        rows = slice(self.layout.first_reader(number), self.layout.mlp_reader(number))
        module = self.layout.attention_norm(number)
        read = self._read(self.mask[rows], changes, module)
        read = read.reshape(N_KINDS, n_heads, *read.shape[1:])
        results = self._results(layer, read, scale_at(self.scales, module))
        return [keep(results[head] - self.replacement[first + head]) for head in range(n_heads)]

    def _head(self, number: int, changes: list[Array], head: Array) -> Array:
        layer = layer_of(self.weights, number)
        kinds = jnp.arange(N_KINDS, dtype=head.dtype)
        rows, module = (
            self.layout.head_reader(number, kinds, head),
            self.layout.attention_norm(number),
        )
        read = self._read(self.mask[rows], changes, module)

        def only(x: Array, axis: int) -> Array:
            return jax.lax.dynamic_slice_in_dim(x, head, 1, axis)

        one = layer._replace(
            qkv=only(layer.qkv, 1),
            qkv_bias=only(layer.qkv_bias, 1),
            head_out=only(layer.head_out, 0),
        )
        written = self._results(one, read[:, None], scale_at(self.scales, module))[0]
        replacement = jax.lax.dynamic_index_in_dim(
            self.replacement, len(changes) + head, 0, keepdims=False
        )
        return keep(written - replacement)

    def _results(self, layer: Layer, read: Array, scale: Scale | None) -> Array:
        """What heads write, given what their q, k and v read: `[3, heads, d_model, pos, batch]`."""
        normal = normalize(self.form, read, axis=2, scale=scale)
        flat = normal.reshape(*normal.shape[:3], -1)
        qkv = jnp.einsum("chdm,chmn->chdn", layer.qkv, flat, precision=EXACT)
        qkv = qkv.reshape(*qkv.shape[:3], *read.shape[3:]) + layer.qkv_bias[..., None, None]
        qkv = keep(qkv)
        z = keep(attend(qkv[0], qkv[1], qkv[2], self.weights))
        if len(z) == 1:
            return matmul(layer.head_out[0], z[0])[None]
        results = jnp.einsum(
            "hmd,hdn->hmn", layer.head_out, z.reshape(*z.shape[:2], -1), precision=EXACT
        )
        return results.reshape(-1, *read.shape[2:])

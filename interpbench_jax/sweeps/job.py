"""A sweep as arrays: a question, a model's weights, and edits that can be cut into blocks."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np

from interpbench_jax.engine.suffix import Entry
from interpbench_jax.engine.weights import Form, Weights, device_weights, stack_weights
from interpbench_jax.layout import Layout
from interpbench_jax.sweeps.check import SweepQuestion, SweepRequest
from interpbench_jax.sweeps.edits import (
    BlockedEdits,
    EditName,
    Edits,
    EditSet,
    block_edits,
    block_masks,
    mask_layers,
)


@dataclass(frozen=True)
class EntryPlace:
    """A place where edits enter the model, which decides what is recomputed for each of them.

    Attributes:
        name: the place.
        n_edits: the number of edits that enter there.
        layers: how many later layers are recomputed, beyond the rest of its own layer.
    """

    name: str
    n_edits: int
    layers: int


@dataclass(frozen=True)
class SweepJob:
    """What a sweep computes, apart from how it is cut into calls.

    Attributes:
        question: what is measured.
        form: the model's form.
        weights: the model's weights: on the default device, or on the host for a mesh.
        make_blocks: returns the edits in blocks of a given size.
        n_edits: the number of edits, or masks, over all ablations.
        places: the places where they enter.
        replaces_neurons: whether hidden units are replaced rather than writers' outputs.
        n_models: None for one model; else the first axis of every array counts models, which
            share the edits and are computed together.
    """

    question: SweepQuestion
    form: Form
    weights: Weights
    make_blocks: Callable[[int], BlockedEdits]
    n_edits: int
    places: tuple[EntryPlace, ...]
    replaces_neurons: bool
    n_models: int | None = None

    @property
    def n_inputs(self) -> int:
        """The number of inputs of each model."""
        return self.question.inputs.clean.shape[-2]

    @property
    def n_pos(self) -> int:
        """The number of positions."""
        return self.question.inputs.clean.shape[-1]

    @property
    def models(self) -> tuple[int, ...]:
        """The shape of the axis of models: empty if there is none."""
        return () if self.n_models is None else (self.n_models,)


def make_job(request: SweepRequest[EditName], question: SweepQuestion) -> SweepJob:
    """Arrange the edits of a checked request."""
    config, edit_set = request.model.config, request.edits
    layout = Layout(config.n_layers, config.n_heads)
    form = Form.of(config, request.freeze_layer_norm)
    arrange = device_weights if question.placement.mesh is None else stack_weights
    weights = arrange(request.model, question.inputs.clean.shape[1])
    if isinstance(edit_set.edits, Edits):
        edits = _repeat(edit_set, edit_set.edits, question, layout, config.d_mlp)
        n_edits, make_blocks = edits.n_edits, partial(block_edits, edits)
        places = _entry_places(edits, layout)
    else:
        n_edits = len(edit_set.edits)
        make_blocks = partial(block_masks, edit_set.edits, layout)
        places = _mask_places(edit_set.edits, layout)
    return SweepJob(
        question, form, weights, make_blocks, n_edits, places, edit_set.replaces_neurons
    )


def _repeat(
    edit_set: EditSet[EditName], edits: Edits, question: SweepQuestion, layout: Layout, d_mlp: int
) -> Edits:
    """The edits for every position that is patched alone, and for every ablation."""
    if question.positions is not None:
        edits = edits.at_positions(question.positions)
    n_neurons = layout.n_layers * d_mlp
    n_sources = n_neurons if edit_set.replaces_neurons else layout.n_writers
    return edits.for_ablations(len(question.ablations), n_sources)


def _mask_places(cut: np.ndarray, layout: Layout) -> tuple[EntryPlace, ...]:
    layers = mask_layers(cut, layout)
    return tuple(
        EntryPlace(f"layer {layer} (mask)", int((layers == layer).sum()), layout.n_layers - layer)
        for layer in sorted(set(layers.tolist()))
    )


def _entry_places(edits: Edits, layout: Layout) -> tuple[EntryPlace, ...]:
    found = []
    numbers = edits.places()
    for number in np.unique(numbers):
        members = np.flatnonzero(numbers == number)
        entry, layer = Entry(edits.entry[members[0]]), int(edits.layer[members[0]])
        name = _PLACE_NAMES[entry].format(layer=layer)
        after = 0 if entry == Entry.OUTPUT else layout.n_layers - layer - 1
        found.append(EntryPlace(name, len(members), after))
    return tuple(found)


_PLACE_NAMES: Mapping[Entry, str] = {
    Entry.Q: "layer {layer}, queries of a head: that head, the MLP",
    Entry.K: "layer {layer}, keys of a head: that head, the MLP",
    Entry.V: "layer {layer}, values of a head: that head, the MLP",
    Entry.QKV: "layer {layer}, all inputs of a head: that head, the MLP",
    Entry.MLP: "layer {layer}, input of the MLP: the MLP",
    Entry.BEFORE: "layer {layer}, the stream before it: all heads, the MLP",
    Entry.BETWEEN: "layer {layer}, the stream before its MLP: the MLP",
    Entry.OUTPUT: "the output: the unembedding",
}

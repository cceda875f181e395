"""One epoch for a stack of models, compiled as one program.

The data of a task, its order and the interchanges are the same for all of its seeds, which differ
in their initial weights only. So what an epoch makes of a seed does not depend on the other seeds.
"""

import operator
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial, reduce
from typing import NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float, Int, PyTree

from interpbench_jax.cases import Recipe, Task
from interpbench_jax.config import TransformerConfig
from interpbench_jax.model import Transformer
from interpbench_jax.model.layers import Edit, keep
from interpbench_jax.training.answers import Batch, find_answers
from interpbench_jax.training.arrays import Interchanges, draw_interchanges
from interpbench_jax.training.attention import AttentionScores, attention_loss
from interpbench_jax.training.devices import over_models
from interpbench_jax.training.hiding import WeightArrays, hide_tokens
from interpbench_jax.training.interchange import (
    TrainingRun,
    first_position_used,
    run,
    run_interchanged,
    run_with_cut_edges,
    written,
)
from interpbench_jax.training.losses import Loss, Losses, band_loss, change_loss, output_loss
from interpbench_jax.training.optimizer import make_optimizer

Found = TypeVar("Found")


class State(NamedTuple):
    """The state of training, which an epoch changes.

    Attributes:
        weights: the weights of every model.
        average: their running mean; the weights themselves if the recipe keeps none.
        optimizer: the state of the optimizer.
    """

    weights: PyTree
    average: PyTree
    optimizer: PyTree


class Models(NamedTuple):
    """The task of each model of a stack, and whether it is still trained.

    Attributes:
        task: the index of its task.
        is_active: False once it has reached its target, or its loss is NaN or infinite.
    """

    task: Int[Array, "*models"]
    is_active: Bool[Array, "*models"]


class TaskData(NamedTuple):
    """The data of one task, or of several with an axis of tasks before the others.

    Attributes:
        inputs: the inputs to train on, `[n, pos]`.
        given: the interchanges that can be drawn.
        has_class: whether the task has each output; False for padding classes of a stack.
        code: the target logits of each class (`codes.class_code`).
        band: the least and the most that edges outside are to change the output, as distances in
            logits (`leak.leak_band`); 0 unless the tasks have a leak.
        varies: whether each token id can differ between inputs (`hiding.varying_tokens`).
    """

    inputs: Int[Array, "*tasks n pos"]
    given: Interchanges
    has_class: Bool[Array, "*tasks vocab_out"]
    code: Float[Array, "*tasks vocab_out vocab_out"]
    band: Float[Array, "*tasks ends"]
    varies: Bool[Array, "*tasks vocab"]


@dataclass(frozen=True, eq=False)
class Epoch:
    """One pass over the data, for a stack of models of one shape trained by one recipe.

    Attributes:
        config: the models' config, with vocabularies padded to the largest.
        recipe: the training settings.
        tasks: the tasks, which weigh positions alike.
        n_inputs: the number of inputs per task.
    """

    config: TransformerConfig
    recipe: Recipe
    tasks: tuple[Task, ...]
    n_inputs: int

    @property
    def n_batches(self) -> int:
        """The number of batches in an epoch; inputs that are left over are skipped."""
        return self.n_inputs // self.recipe.batch_size

    @property
    def _has_leak(self) -> bool:
        """Whether cutting an edge outside must change the output, within a band."""
        return self.tasks[0].leak is not None

    @cached_property
    def optimizer(self) -> optax.GradientTransformationExtraArgs:
        """The optimizer of one model."""
        per_batch = len(self._used) if self.recipe.update == "alternate" else 1
        return make_optimizer(self.recipe, per_batch * self.n_batches)

    def start(self, weights: WeightArrays) -> State:
        """The state of a stack of models before the first epoch."""
        # Copies, because an epoch reuses the memory of its state.
        copied = partial(jax.tree.map, jnp.copy)
        return State(copied(weights), copied(weights), jax.vmap(self.optimizer.init)(weights))

    @cached_property
    def run(self) -> Callable[[State, Models, TaskData, Array], tuple[State, Losses]]:
        """The compiled epoch: `(state, models, data, key) -> (state, losses)`.

        `state` and `models` have an axis of models, `data` one of tasks; the losses are
        `[models, batches]`, each before its step. The memory of the state is reused.
        """
        return jax.jit(self._run, donate_argnums=0)

    def _run(
        self, state: State, models: Models, data: TaskData, key: Array
    ) -> tuple[State, Losses]:
        run = over_models(self._run_model, models.task.shape[0])
        return run((state, models), (data, key))

    def _run_model(
        self, own: tuple[State, Models], shared: tuple[TaskData, Array]
    ) -> tuple[State, Losses]:
        """The epoch of one model, which changes nothing if it is no longer trained."""
        (state, model), (all_data, key) = own, shared
        data = jax.tree.map(lambda array: array[model.task], all_data)

        def train(state: State) -> tuple[State, Losses]:
            key_order, key_nodes = jax.random.split(key)
            order = jax.random.permutation(key_order, self.n_inputs)
            used = self.n_batches * self.recipe.batch_size
            batches = data.inputs[order[:used]].reshape(
                self.n_batches, self.recipe.batch_size, data.inputs.shape[1]
            )
            keys = jax.random.split(key_nodes, self.n_batches)

            def step(state: State, given: tuple[Array, Array]) -> tuple[State, Losses]:
                batch = self._answer(*given, data, model.task)
                return self._update(state, batch, data)

            return jax.lax.scan(step, state, (batches, keys))

        def rest(state: State) -> tuple[State, Losses]:
            zeros = jnp.zeros(self.n_batches)
            return state, Losses(*[zeros] * len(Losses._fields))

        return jax.lax.cond(model.is_active, train, rest, state)

    def _answer(
        self, tokens: Int[Array, "batch pos"], key: Array, data: TaskData, task: Int[Array, ""]
    ) -> Batch:
        """A batch with the answers of its task's program."""
        alone = self._has_leak
        draw = draw_interchanges(key, data.given, tokens.shape[0], self.recipe, alone=alone)
        branches = [
            partial(find_answers, each, tokens, draw, self.config, self._used, self._wants_logits)
            for each in self.tasks
        ]
        answers = jax.lax.switch(task, branches)
        if self.recipe.margin is not None and self._wants_logits:
            answers = answers.as_logits(self.recipe.margin * data.code)
        return Batch(tokens, answers, draw, data.band)

    @property
    def _wants_logits(self) -> bool:
        """Whether models are trained on logits rather than on classes or numbers."""
        return self.recipe.margin is not None and not self.config.is_regression

    def _update(self, state: State, batch: Batch, data: TaskData) -> tuple[State, Losses]:
        """The steps of one model on one batch."""
        steps = [self._used]
        if self.recipe.update == "alternate":
            steps = [(which,) for which in self._used]
        found = dict.fromkeys(Losses._fields, jnp.zeros(()))
        for wanted in steps:
            objective = partial(self._objective, wanted, batch=batch, has_class=data.has_class)
            state, losses = self._descend(state, objective)
            found |= losses
        weights = self._hide(state.weights, data)
        decay = self.recipe.average_decay
        average = jax.tree.map(
            lambda mean, new: decay * mean + (1 - decay) * new, state.average, weights
        )
        if decay:
            average = self._hide(average, data)
        return state._replace(weights=weights, average=average), Losses(**found)

    def _hide(self, weights: WeightArrays, data: TaskData) -> WeightArrays:
        """Hide the tokens from readers outside, if the recipe says so."""
        if not self.recipe.hides_tokens:
            return weights
        return hide_tokens(self.config, weights, data.given.outside_edges[:, 0], data.varies)

    def _descend(
        self, state: State, objective: Callable[[WeightArrays], tuple[Array, Found]]
    ) -> tuple[State, Found]:
        """One step on a loss, and its parts."""
        (value, losses), gradient = jax.value_and_grad(objective, has_aux=True)(state.weights)
        change, optimizer = self.optimizer.update(
            gradient, state.optimizer, state.weights, value=value
        )
        weights = optax.apply_updates(state.weights, change)
        return state._replace(weights=weights, optimizer=optimizer), losses

    def _model(self, weights: WeightArrays, has_class: Array) -> Transformer:
        """The model, with padding classes impossible."""
        bias = hide_classes(weights["unembed.b_U"], has_class)
        return Transformer(self.config, {**weights, "unembed.b_U": bias})

    def _objective(
        self, wanted: tuple[str, ...], weights: WeightArrays, batch: Batch, has_class: Array
    ) -> tuple[Array, dict[str, Array]]:
        """The weighted sum of some losses, and each of them by name.

        They share one plain run, which all other runs start from.
        """
        model = self._model(weights, has_class)
        plain, cut = AttentionScores(), AttentionScores()
        is_told = "attention" in wanted
        clean = self._run_plainly(model, batch, plain if is_told else keep)
        losses = self._node_losses(wanted, model, clean, batch)
        if "behavior" in wanted:
            losses["behavior"] = self._behavior_loss(clean, batch)
        if "edges" in wanted:
            losses["edges"] = self._edge_loss(model, clean, batch, cut if is_told else keep)
        if is_told:
            losses["attention"] = self._attention_loss(batch, plain, cut)
        weight = dict(zip(Losses._fields, self._weights(), strict=True))
        return reduce(operator.add, [weight[name] * loss for name, loss in losses.items()]), losses

    def _node_losses(
        self, wanted: tuple[str, ...], model: Transformer, clean: TrainingRun, batch: Batch
    ) -> dict[str, Array]:
        """The losses of runs with nodes replaced; two of them are computed as one run."""
        every = (
            ("interchange", batch.draw.aligned, batch.answers.interchanged),
            ("strict", batch.draw.outside, batch.answers.targets),
        )
        kinds = [kind for kind in every if kind[0] in wanted]
        if not kinds:
            return {}
        values, stream, is_real = self._sources(clean.values), clean.streams[0], clean.is_real
        if len(kinds) == 2 and self.recipe.replaced == "both":
            stream, values, is_real = jax.tree.map(
                lambda each: jnp.concatenate([each, each], axis=-1), (stream, values, is_real)
            )
        rows = [slice(None)]
        if len(kinds) == 2:
            n_first = stream.shape[-1] // 2
            rows = [slice(n_first), slice(-n_first, None)]
        parts = list(zip(kinds, rows, strict=True))
        replaced = jnp.concatenate([nodes[part] for (_, nodes, _), part in parts])
        logits = run_interchanged(model, stream, values, replaced, is_real=is_real)

        def loss(name: str, logits: Array, answers: Array, is_real: Array) -> Loss:
            if name == "strict" and self._has_leak:
                quiet = partial(band_loss, band=(0.0, batch.band[1]))
                return self._compare(quiet, logits, answers, is_real)
            return self._loss(logits, answers, is_real)

        return {
            name: loss(name, logits[part], answers[part], batch.answers.is_real[part])
            for (name, _, answers), part in parts
        }

    def _run_plainly(self, model: Transformer, batch: Batch, edit: Edit) -> TrainingRun:
        # Edges are cut, and attention is told, at every position.
        is_whole = {"edges", "attention"} & set(self._used)
        first_scored = int(np.flatnonzero(self.tasks[0].loss_weights)[0])
        first_used = 0 if is_whole else first_position_used(first_scored)
        return run(model, batch.tokens, first_used, edit)

    def _behavior_loss(self, clean: TrainingRun, batch: Batch) -> Loss:
        counts = self.tasks[0].loss_weights
        return self._loss(clean.logits, batch.answers.labels, batch.answers.is_real, counts)

    def _edge_loss(self, model: Transformer, clean: TrainingRun, batch: Batch, edit: Edit) -> Loss:
        """The loss on the first half of the batch, because these runs are expensive."""
        half, patched = _half(batch), batch.answers.patched[_half(batch)]
        others = self._sources(written(model, batch.tokens, clean.values))[..., half]
        cut = batch.draw.cut[half]
        logits = run_with_cut_edges(model, batch.tokens[half], others, cut, edit)
        is_real = batch.answers.is_real[half]
        # Some examples cut edges of the program, and all others cut edges outside alone.
        of_program = batch.draw.program_edges[half].any(axis=1)[:, None]
        clean_logits = jax.lax.stop_gradient(clean.logits[half])
        if self._has_leak:
            loss = self._loss(logits, patched, is_real & of_program)
            leaking = partial(band_loss, band=(batch.band[0], batch.band[1]))
            return loss + self._compare(leaking, logits, clean_logits, is_real & ~of_program)
        loss = self._loss(logits, patched, is_real)
        if self._wants_logits or self.config.is_regression:
            return loss
        # Cross-entropy lets an edge outside make a correct answer more or less confident.
        return loss + self._compare(change_loss, logits, clean_logits, is_real & ~of_program)

    def _attention_loss(self, batch: Batch, plain: AttentionScores, cut: AttentionScores) -> Loss:
        """The loss on the attention of plain runs, and of runs with edges cut if there are any."""
        answers, half = batch.answers, _half(batch)
        loss = attention_loss(plain.every_layer, answers.attention, answers.is_real)
        if not cut.found:
            return loss
        counts = answers.is_real[half]
        if self._has_leak:
            counts &= batch.draw.program_edges[half].any(axis=1)[:, None]
        wanted = answers.patched_attention[half]
        return (loss + attention_loss(cut.every_layer, wanted, counts)) / 2

    def _compare(
        self, loss: Callable[..., Loss], logits: Array, reference: Array, counts: Array
    ) -> Loss:
        """The distance of logits from others, at the positions that are used."""
        n_used = logits.shape[1]
        weights = self.tasks[0].scored_weights[-n_used:]
        return loss(logits, reference[:, -n_used:], weights, counts=counts[:, -n_used:])

    def _loss(
        self,
        logits: Array,
        targets: Array,
        is_real: Array,
        weights: tuple[float, ...] | None = None,
    ) -> Loss:
        weights = self.tasks[0].scored_weights if weights is None else weights
        return output_loss(logits, targets, weights, is_real=is_real)

    def _sources(self, values: Found) -> Found:
        """For each example, the nodes' values on its source."""
        values = jax.tree.map(partial(jnp.roll, shift=1, axis=-1), values)
        return values if self.recipe.source_gradient else jax.lax.stop_gradient(values)

    def _weights(self) -> tuple[float, ...]:
        """The weights of the losses, in the order of `Losses`."""
        recipe = self.recipe
        return (
            *(recipe.iit_weight, recipe.strict_weight, recipe.behavior_weight),
            *(recipe.edge_weight, recipe.attention_weight),
        )

    @cached_property
    def _used(self) -> tuple[str, ...]:
        """The losses to train on; those of edges and of attention only if their weight is not 0."""
        weights = dict(zip(Losses._fields, self._weights(), strict=True))
        optional = ("edges", "attention")
        return tuple(name for name, weight in weights.items() if weight or name not in optional)


def _half(batch: Batch) -> slice:
    """The examples of a batch whose edges are cut."""
    return slice(-(-batch.tokens.shape[0] // 2))


def hide_classes(
    bias: Float[Array, "*models vocab_out"], has_class: Bool[Array, " vocab_out"]
) -> Float[Array, "*models vocab_out"]:
    """The output's bias, -inf for padding classes."""
    return jnp.where(has_class, bias, -jnp.inf)

"""One epoch for a stack of models, compiled as one program.

The data of a task, its order and the nodes interchanged are the same for all of its seeds: seeds
differ in their first weights. So what a seed gives does not depend on which others are trained.
"""

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, partial, reduce
from typing import NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float, Int, PyTree, Shaped

from interpbench_jax.cases import Recipe, Task
from interpbench_jax.config import TransformerConfig
from interpbench_jax.model import Transformer
from interpbench_jax.training.arrays import Draw, Interchanges, draw_interchanges
from interpbench_jax.training.devices import over_models
from interpbench_jax.training.interchange import (
    TrainingRun,
    first_position_used,
    run,
    run_interchanged,
    run_with_cut_edges,
    written,
)
from interpbench_jax.training.losses import Loss, output_loss
from interpbench_jax.training.optimizer import make_optimizer

WeightArrays = Mapping[str, Float[Array, "..."]]
Found = TypeVar("Found")


class State(NamedTuple):
    """What an epoch changes.

    Attributes:
        weights: of every model.
        average: their running mean; the weights themselves where the recipe keeps none.
        optimizer: optax's state.
    """

    weights: PyTree
    average: PyTree
    optimizer: PyTree


class Models(NamedTuple):
    """What each model of a stack is trained on, and whether it still is.

    Attributes:
        task: index of its task.
        is_active: False once it has reached its target, or left the numbers.
    """

    task: Int[Array, "*models"]
    is_active: Bool[Array, "*models"]


class TaskData(NamedTuple):
    """The data of one task, or of several with an axis of tasks before the others.

    Attributes:
        inputs: `[n, pos]`, to train on.
        given: what may be interchanged.
        has_class: which outputs the task has; False for those that only stacking adds.
        code: for each class the logits that the model is to have (`codes.class_code`).
    """

    inputs: Int[Array, "*tasks n pos"]
    given: Interchanges
    has_class: Bool[Array, "*tasks vocab_out"]
    code: Float[Array, "*tasks vocab_out vocab_out"]


class Batch(NamedTuple):
    """One task's batch.

    Attributes:
        tokens: `[batch, pos]`; each example's source is the one before it.
        targets: the program's outputs: classes or numbers; with a margin, logits.
        labels: what plain outputs are trained on.
        interchanged: the program's outputs under the interchange of variables that is drawn.
        patched: its outputs under the interchange of edges that is drawn.
        is_real: False at padding.
        draw: what is interchanged.
    """

    tokens: Int[Array, "batch pos"]
    targets: Shaped[Array, "batch pos *classes"]
    labels: Shaped[Array, "batch pos *classes"]
    interchanged: Shaped[Array, "batch pos *classes"]
    patched: Shaped[Array, "batch pos *classes"]
    is_real: Bool[Array, "batch pos"]
    draw: Draw


class Losses(NamedTuple):
    """Of one step, in the order in which they are trained on."""

    interchange: Float[Array, "..."]
    strict: Float[Array, "..."]
    behavior: Float[Array, "..."]
    edges: Float[Array, "..."]


@dataclass(frozen=True, eq=False)
class Epoch:
    """One pass over the data, for a stack of models of one shape trained by one recipe.

    Attributes:
        config: the models' shape, the vocabularies padded to the largest.
        recipe: the settings.
        tasks: the tasks, which score the same positions alike.
        n_inputs: inputs per task.
    """

    config: TransformerConfig
    recipe: Recipe
    tasks: tuple[Task, ...]
    n_inputs: int

    @property
    def n_batches(self) -> int:
        """Batches in an epoch; what is left over waits for another shuffle."""
        return self.n_inputs // self.recipe.batch_size

    @property
    def _first_used(self) -> int:
        """The first position whose output a loss looks at, where that saves anything."""
        return first_position_used(int(np.flatnonzero(self.tasks[0].loss_weights)[0]))

    @cached_property
    def optimizer(self) -> optax.GradientTransformationExtraArgs:
        """Of one model."""
        per_batch = len(self._used) if self.recipe.update == "alternate" else 1
        return make_optimizer(self.recipe, per_batch * self.n_batches)

    def start(self, weights: WeightArrays) -> State:
        """The state of a stack of models before the first epoch."""
        # Copies, because an epoch takes over the memory of the state it is given.
        copied = partial(jax.tree.map, jnp.copy)
        return State(copied(weights), copied(weights), jax.vmap(self.optimizer.init)(weights))

    @cached_property
    def run(self) -> Callable[[State, Models, TaskData, Array], tuple[State, Losses]]:
        """The compiled epoch: `(state, models, data, key) -> (state, losses)`.

        `state` and `models` have an axis of models, `data` one of tasks; the losses are
        `[models, batches]`, each before its step. The state's memory is taken over.
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
        """One model's epoch; nothing changes where it is no longer trained."""
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
                return self._update(state, batch, data.has_class)

            return jax.lax.scan(step, state, (batches, keys))

        def rest(state: State) -> tuple[State, Losses]:
            zeros = jnp.zeros(self.n_batches)
            return state, Losses(zeros, zeros, zeros, zeros)

        return jax.lax.cond(model.is_active, train, rest, state)

    def _answer(
        self, tokens: Int[Array, "batch pos"], key: Array, data: TaskData, task: Int[Array, ""]
    ) -> Batch:
        """A batch with the answers of its task's program."""
        draw = draw_interchanges(key, data.given, tokens.shape[0], self.recipe)
        branches = [partial(self._answer_of, each, tokens, draw) for each in self.tasks]
        *answers, is_real = jax.lax.switch(task, branches)
        if self.recipe.margin is not None and self._wants_logits:
            code = self.recipe.margin * data.code
            answers = [jnp.einsum("bpc,ck->bpk", shares, code) for shares in answers]
        return Batch(tokens, *answers, is_real=is_real, draw=draw)

    def _answer_of(self, task: Task, tokens: Array, draw: Draw) -> tuple[Array, ...]:
        """Targets, labels, answers under both interchanges, and where padding is not."""
        model, source = task.high_level, jnp.roll(tokens, 1, axis=0)
        plain = model.targets(tokens)
        labels = task.labels(tokens, plain)
        is_real = jnp.ones_like(tokens, bool) if task.pad_id is None else tokens != task.pad_id
        answers = model.class_shares if self._wants_logits else model.targets
        interchanged = answers(tokens, source, draw.variables[:, : len(model.nodes)])
        patched = interchanged
        if "edges" in self._used:
            edges = draw.program_edges[:, : len(model.edges)]
            patched = answers(tokens, source, edge=edges)
        if not self._wants_logits:
            return plain, labels, interchanged, patched, is_real
        targets, scored = model.class_shares(tokens), np.s_[:, task.first_scored :]
        wanted = jax.nn.one_hot(labels, model.n_classes, dtype=jnp.float32)
        wanted = wanted.at[scored].set(targets[scored])
        missing = ((0, 0), (0, 0), (0, self.config.d_vocab_out - model.n_classes))
        rows = (targets, wanted, interchanged, patched)
        return (*(jnp.pad(each, missing) for each in rows), is_real)

    @property
    def _wants_logits(self) -> bool:
        """Whether models are trained on logits rather than on classes or numbers."""
        return self.recipe.margin is not None and not self.config.is_regression

    def _update(self, state: State, batch: Batch, has_class: Array) -> tuple[State, Losses]:
        """One model's steps on one batch."""
        if self.recipe.update == "sum":
            objective = partial(self._sum, batch=batch, has_class=has_class)
            state, losses = self._descend(state, objective)
        else:
            found = dict.fromkeys(Losses._fields, jnp.zeros(()))
            for which in self._used:
                objective = partial(self._one, which, batch=batch, has_class=has_class)
                state, found[which] = self._descend(state, objective)
            losses = Losses(**found)
        decay = self.recipe.average_decay
        average = jax.tree.map(
            lambda mean, new: decay * mean + (1 - decay) * new, state.average, state.weights
        )
        return state._replace(average=average), losses

    def _descend(
        self, state: State, objective: Callable[[WeightArrays], tuple[Array, Found]]
    ) -> tuple[State, Found]:
        """One step on a loss, and what the loss was made of."""
        (value, losses), gradient = jax.value_and_grad(objective, has_aux=True)(state.weights)
        change, optimizer = self.optimizer.update(
            gradient, state.optimizer, state.weights, value=value
        )
        weights = optax.apply_updates(state.weights, change)
        return state._replace(weights=weights, optimizer=optimizer), losses

    def _model(self, weights: WeightArrays, has_class: Array) -> Transformer:
        """The model, for whom the classes that only stacking adds are impossible."""
        bias = hide_classes(weights["unembed.b_U"], has_class)
        return Transformer(self.config, {**weights, "unembed.b_U": bias})

    def _sum(self, weights: WeightArrays, batch: Batch, has_class: Array) -> tuple[Array, Losses]:
        """The weighted sum of the losses, from one plain run and those that start from it."""
        model = self._model(weights, has_class)
        clean = self._run_plainly(model, batch)
        values, stream = self._sources(clean.values), clean.streams[0]
        is_real = clean.is_real
        if self.recipe.replaced == "both":
            stream, values, is_real = jax.tree.map(
                lambda each: jnp.concatenate([each, each], axis=-1), (stream, values, is_real)
            )
        # What comes first has variables interchanged, what comes last other nodes replaced.
        n_first = stream.shape[-1] // 2
        first, last = slice(n_first), slice(-n_first, None)
        replaced = jnp.concatenate([batch.draw.aligned[first], batch.draw.outside[last]])
        logits = run_interchanged(model, stream, values, replaced, is_real=is_real)
        losses = Losses(
            self._loss(logits[first], batch.interchanged[first], batch.is_real[first]),
            self._loss(logits[last], batch.targets[last], batch.is_real[last]),
            self._behavior_loss(clean, batch),
            self._edge_loss(model, clean, batch) if "edges" in self._used else jnp.zeros(()),
        )
        weighted = [weight * loss for weight, loss in zip(self._weights(), losses, strict=True)]
        return reduce(operator.add, weighted), losses

    def _one(
        self, which: str, weights: WeightArrays, batch: Batch, has_class: Array
    ) -> tuple[Array, Array]:
        """One of the losses, weighted, and as it is."""
        model = self._model(weights, has_class)
        clean = self._run_plainly(model, batch)
        values, stream = self._sources(clean.values), clean.streams[0]
        match which:
            case "interchange":
                nodes = batch.draw.aligned
                logits = run_interchanged(model, stream, values, nodes, is_real=clean.is_real)
                loss = self._loss(logits, batch.interchanged, batch.is_real)
            case "strict":
                nodes = batch.draw.outside
                logits = run_interchanged(model, stream, values, nodes, is_real=clean.is_real)
                loss = self._loss(logits, batch.targets, batch.is_real)
            case "behavior":
                loss = self._behavior_loss(clean, batch)
            case _:
                loss = self._edge_loss(model, clean, batch)
        weight = dict(zip(Losses._fields, self._weights(), strict=True))[which]
        return weight * loss, loss

    def _run_plainly(self, model: Transformer, batch: Batch) -> TrainingRun:
        # Edges are cut at every position, so that what all nodes wrote is needed there.
        first_used = 0 if "edges" in self._used else self._first_used
        return run(model, batch.tokens, first_used)

    def _behavior_loss(self, clean: TrainingRun, batch: Batch) -> Loss:
        counts = self.tasks[0].loss_weights
        return self._loss(clean.logits, batch.labels, batch.is_real, counts)

    def _edge_loss(self, model: Transformer, clean: TrainingRun, batch: Batch) -> Loss:
        """On the first half of the batch: such runs are dear."""
        half = slice(-(-batch.tokens.shape[0] // 2))
        others = self._sources(written(model, batch.tokens, clean.values))[..., half]
        logits = run_with_cut_edges(model, batch.tokens[half], others, batch.draw.cut[half])
        return self._loss(logits, batch.patched[half], batch.is_real[half])

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
        """For each example what the nodes computed on its source."""
        values = jax.tree.map(partial(jnp.roll, shift=1, axis=-1), values)
        return values if self.recipe.source_gradient else jax.lax.stop_gradient(values)

    def _weights(self) -> tuple[float, ...]:
        """Of the losses, in the order of `Losses`."""
        recipe = self.recipe
        return (
            *(recipe.iit_weight, recipe.strict_weight),
            *(recipe.behavior_weight, recipe.edge_weight),
        )

    @cached_property
    def _used(self) -> tuple[str, ...]:
        """The losses that are trained on; that of edges only where it weighs anything."""
        return Losses._fields if self.recipe.edge_weight else Losses._fields[:-1]


def hide_classes(
    bias: Float[Array, "*models vocab_out"], has_class: Bool[Array, " vocab_out"]
) -> Float[Array, "*models vocab_out"]:
    """The output's bias, -inf for the classes that only stacking adds."""
    return jnp.where(has_class, bias, -jnp.inf)

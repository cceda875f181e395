"""Models of one shape that are trained as one program."""

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from interpbench_jax.cases import Recipe, Task
from interpbench_jax.config import TransformerConfig
from interpbench_jax.model import Transformer
from interpbench_jax.training.arrays import initial_weights, task_nodes, training_inputs
from interpbench_jax.training.devices import over_models
from interpbench_jax.training.epoch import Epoch, Models, State, TaskData
from interpbench_jax.training.evaluation import (
    Accuracies,
    Examination,
    Questions,
    held_out_pairs,
    prepare_examination,
)
from interpbench_jax.weights import weight_shapes

# The order of the data and the held-out pairs are the same for every seed of a task.
_DATA_SEED = 0
Examine = Callable[[dict[str, Array], Questions], Float[Array, "models runs"]]


@dataclass(frozen=True)
class Job:
    """One model to train.

    Attributes:
        task: index of its task in the stack.
        seed: of its first weights.
    """

    task: int
    seed: int


@dataclass(frozen=True, eq=False)
class Stack:
    """Tasks whose models have one shape, vocabularies apart, and one recipe.

    Attributes:
        tasks: the tasks.
        seeds: of the models of each task.
        recipe: how they are trained.
    """

    tasks: tuple[Task, ...]
    seeds: tuple[int, ...]
    recipe: Recipe

    @property
    def jobs(self) -> tuple[Job, ...]:
        """Every model, in the order of a stack's arrays."""
        return tuple(Job(task, seed) for task in range(len(self.tasks)) for seed in self.seeds)

    @cached_property
    def config(self) -> TransformerConfig:
        """The models' shape, the vocabularies those of the largest task."""
        configs = [task.config for task in self.tasks]
        return dataclasses.replace(
            configs[0],
            d_vocab=max(config.d_vocab for config in configs),
            d_vocab_out=max(config.d_vocab_out for config in configs),
        )

    @cached_property
    def inputs(self) -> np.ndarray:
        """What every task is trained on: int32 `[tasks, n, pos]`."""
        found = [training_inputs(task, self.recipe, _DATA_SEED) for task in self.tasks]
        most = max(map(len, found))
        return np.stack([np.resize(inputs, (most, inputs.shape[1])) for inputs in found])

    @cached_property
    def epoch(self) -> Epoch:
        """The compiled epoch."""
        high_levels = tuple(task.high_level for task in self.tasks)
        return Epoch(self.config, self.recipe, high_levels, self.inputs.shape[1])

    @cached_property
    def data(self) -> TaskData:
        """The tasks' data, on the device."""
        n_aligned = max(len(task.alignment) for task in self.tasks)
        n_outside = max(len(task.nodes_not_in_circuit) for task in self.tasks)
        nodes = [task_nodes(task, n_aligned, n_outside) for task in self.tasks]
        classes = np.arange(self.config.d_vocab_out)[None]
        sizes = np.asarray([task.config.d_vocab_out for task in self.tasks])[:, None]
        return TaskData(
            jnp.asarray(self.inputs),
            jax.tree.map(lambda *rows: jnp.stack(rows), *nodes),
            jnp.asarray(classes < sizes),
        )

    def start(self) -> State:
        """The state before the first epoch."""
        weights = [
            self._pad(
                initial_weights(
                    weight_shapes(self.tasks[job.task].config),
                    self.recipe.initializer_range,
                    job.seed,
                )
            )
            for job in self.jobs
        ]
        return self.epoch.start(jax.tree.map(lambda *arrays: jnp.stack(arrays), *weights))

    def models(self, is_active: np.ndarray) -> Models:
        """Which models an epoch trains."""
        task = np.asarray([job.task for job in self.jobs], np.int32)
        return Models(jnp.asarray(task), jnp.asarray(is_active))

    def examine(self, weights: Mapping[str, Float[Array, "..."]]) -> tuple[Accuracies, ...]:
        """How well every model does on held-out pairs of its task, in the order of `jobs`."""
        found: list[Accuracies] = []
        n_seeds = len(self.seeds)
        for index, examination in enumerate(self._examinations):
            rows = slice(index * n_seeds, (index + 1) * n_seeds)
            own = {name: array[rows] for name, array in weights.items()}
            cut = self._cut(own, self.tasks[index])
            shares = self._examine[index](cut, examination.questions)
            found += [examination.read(row) for row in np.asarray(shares)]
        return tuple(found)

    def weights_of(
        self, weights: Mapping[str, Float[Array, "..."]], model: int
    ) -> dict[str, np.ndarray]:
        """One model's weights, without what only stacking added."""
        own = {name: array[model][None] for name, array in weights.items()}
        cut = self._cut(own, self.tasks[self.jobs[model].task])
        return {name: np.asarray(array[0]) for name, array in cut.items()}

    def _pad(self, weights: dict[str, Array]) -> dict[str, Array]:
        shapes = weight_shapes(self.config)
        return {
            name: jnp.pad(
                array, [(0, to - size) for to, size in zip(shapes[name], array.shape, strict=True)]
            )
            for name, array in weights.items()
        }

    def _cut(self, weights: Mapping[str, Array], task: Task) -> dict[str, Array]:
        shapes = weight_shapes(task.config)
        return {
            name: array[(slice(None), *map(slice, shapes[name]))] for name, array in weights.items()
        }

    @cached_property
    def _examinations(self) -> tuple[Examination, ...]:
        n = self.recipe.n_validation
        return tuple(
            prepare_examination(
                task, *held_out_pairs(task, n, _DATA_SEED, "validation"), self.recipe.atol
            )
            for task in self.tasks
        )

    @cached_property
    def _examine(self) -> "tuple[Examine, ...]":
        """For each task, the compiled examination of all of its models."""

        def make(task: Task, examination: Examination) -> Examine:
            def examine_one(
                weights: dict[str, Array], questions: Questions
            ) -> Float[Array, " runs"]:
                return examination.shares(Transformer(task.config, weights), questions)

            return jax.jit(over_models(examine_one, len(self.seeds)))

        pairs = zip(self.tasks, self._examinations, strict=True)
        return tuple(make(task, examination) for task, examination in pairs)


def stack_tasks(
    tasks: Iterable[Task], seeds: Sequence[int], recipe: Recipe | None = None
) -> tuple[Stack, ...]:
    """The stacks in which these tasks are trained.

    Args:
        tasks: the tasks.
        seeds: of the models of each.
        recipe: how to train them; by default each task's own.
    """
    groups: dict[object, list[Task]] = {}
    for task in tasks:
        # A regression has one output and another loss, so it never shares a stack with classes.
        classes = 1 if task.config.is_regression else 2
        shape = dataclasses.replace(task.config, d_vocab=1, d_vocab_out=classes)
        groups.setdefault((shape, recipe or task.recipe), []).append(task)
    return tuple(
        Stack(tuple(group), tuple(seeds), recipe or group[0].recipe) for group in groups.values()
    )

"""Models of one shape that are trained as one program."""

import dataclasses
import hashlib
import json
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from interpbench_jax.bands import Band
from interpbench_jax.cases import Recipe, Task
from interpbench_jax.config import TransformerConfig
from interpbench_jax.model import Transformer
from interpbench_jax.storage import FileLock
from interpbench_jax.training.arrays import (
    initial_weights,
    n_training_inputs,
    task_interchanges,
    training_inputs,
    widen_mlps,
)
from interpbench_jax.training.codes import class_code
from interpbench_jax.training.devices import over_models, place_models
from interpbench_jax.training.epoch import Epoch, Models, State, TaskData, hide_classes
from interpbench_jax.training.evaluation import (
    Accuracies,
    Examination,
    Questions,
    held_out_pairs,
    prepare_examination,
    shares_right,
)
from interpbench_jax.training.hiding import check_hiding, varying_tokens
from interpbench_jax.training.leak import leak_band
from interpbench_jax.weights import weight_shapes

# The order of the data and the held-out pairs are the same for every seed of a task.
_DATA_SEED = 0
Examine = Callable[[dict[str, Array], Questions], Float[Array, "models runs"]]


@dataclass(frozen=True)
class TrainingJob:
    """One model to train.

    Attributes:
        task: index of its task in the stack.
        seed: random seed for its initial weights.
    """

    task: int
    seed: int


@dataclass(frozen=True, eq=False)
class Stack:
    """Tasks whose models have one recipe and, except for the vocabularies, one shape.

    Attributes:
        tasks: the tasks.
        seeds: random seeds for the models of each task.
        recipe: the recipe that they are trained with.
    """

    tasks: tuple[Task, ...]
    seeds: tuple[int, ...]
    recipe: Recipe

    @property
    def jobs(self) -> tuple[TrainingJob, ...]:
        """Every model, in the order of the stack's arrays."""
        return tuple(
            TrainingJob(task, seed) for task in range(len(self.tasks)) for seed in self.seeds
        )

    def rows_of(self, task: int) -> slice:
        """The rows of a task's models in the stack's arrays."""
        return slice(task * len(self.seeds), (task + 1) * len(self.seeds))

    @cached_property
    def fingerprint(self) -> str:
        """A digest that differs between trainings that must not share checkpoints."""
        described = {
            "tasks": [
                (
                    task.case_id,
                    task.program_text,
                    task.tokens,
                    task.loss_weights,
                    repr(task.config),
                    {str(node): [*map(str, nodes)] for node, nodes in task.alignment.items()},
                    task.leak,
                )
                for task in self.tasks
            ],
            "seeds": self.seeds,
            "recipe": dataclasses.asdict(self.recipe),
        }
        return hashlib.sha256(json.dumps(described, default=str).encode()).hexdigest()[:12]

    def folder_in(self, directory: Path) -> Path:
        """The folder of its checkpoints and its log while it is trained."""
        return directory / f"training-{self.fingerprint}"

    def folders_in(self, directory: Path) -> tuple[Path, ...]:
        """The same folder for each stage of its recipe, from first to last."""
        earlier = () if self.before is None else self.before.folders_in(directory)
        return (*earlier, self.folder_in(directory))

    def lock_in(self, directory: Path, name: str = "lock") -> FileLock:
        """The lock with which one process at a time trains these models there.

        Raises:
            InUse: if another process holds it.
            OSError: if the folder cannot be written.
        """
        cases = ", ".join(task.case_id for task in self.tasks)
        path = directory / f".{self.folder_in(directory).name}.{name}"
        return FileLock(path, f"{directory} to train case {cases}", removes=True)

    def is_begun_in(self, directory: Path) -> bool:
        """Whether its training, or that of an earlier stage, was started there."""
        return any(folder.is_dir() for folder in self.folders_in(directory))

    def remove_from(self, directory: Path) -> None:
        """Remove what was stored there for resuming."""
        for folder in self.folders_in(directory):
            if folder.is_dir():
                shutil.rmtree(folder)

    @cached_property
    def config(self) -> TransformerConfig:
        """The models' shape, with the largest vocabularies among the tasks."""
        configs = [task.config for task in self.tasks]
        return dataclasses.replace(
            configs[0],
            d_vocab=max(config.d_vocab for config in configs),
            d_vocab_out=max(config.d_vocab_out for config in configs),
            d_mlp=min(self.recipe.d_mlp or configs[0].d_mlp, configs[0].d_mlp),
        )

    @cached_property
    def before(self) -> "Stack | None":
        """The stack of the recipe's earlier stage; None if it has none."""
        first = self.recipe.before
        return None if first is None else Stack(self.tasks, self.seeds, first)

    @cached_property
    def _wholes(self) -> tuple[Task, ...]:
        """The tasks that the models learn, which `tasks` may be parts of."""
        return tuple(task.whole for task in self.tasks)

    @cached_property
    def inputs(self) -> np.ndarray:
        """The training inputs of every task: int32 `[tasks, n, pos]`."""
        return np.stack([training_inputs(task, self.recipe, _DATA_SEED) for task in self._wholes])

    @cached_property
    def epoch(self) -> Epoch:
        """The compiled epoch."""
        is_dense = self.recipe.labels == "dense"
        tasks = tuple(task.densely_labelled() if is_dense else task for task in self._wholes)
        return Epoch(self.config, self.recipe, tasks, self.inputs.shape[1])

    @cached_property
    def data(self) -> TaskData:
        """The tasks' data, on the device."""
        if self.recipe.hides_tokens:
            for task in self._wholes:
                check_hiding(task)
        given = [task_interchanges(task, self.tasks) for task in self.tasks]
        classes = np.arange(self.config.d_vocab_out)[None]
        sizes = np.asarray([task.config.d_vocab_out for task in self.tasks])[:, None]
        return TaskData(
            jnp.asarray(self.inputs),
            jax.tree.map(lambda *rows: jnp.stack(rows), *given),
            jnp.asarray(classes < sizes),
            jnp.asarray(np.stack([self._padded_code(task) for task in self.tasks])),
            jnp.asarray([self._leak_band(task) for task in self._wholes], jnp.float32),
            jnp.asarray([varying_tokens(task, self.config.d_vocab) for task in self._wholes]),
        )

    def _leak_band(self, task: Task) -> Band:
        if task.leak is None:
            return 0.0, 0.0
        if self.recipe.margin is None:
            raise ValueError(
                f"Case {task.case_id!r}: expected a recipe with a margin for a task with a leak, "
                "got None."
            )
        return leak_band(task, task.leak, self.recipe.margin)

    def start(self, before: Mapping[str, Float[Array, "..."]] | None = None) -> State:
        """The state before the first epoch.

        Args:
            before: the trained weights of the earlier stage, if there is one.
        """
        weights = [
            self._pad(
                initial_weights(self.tasks[job.task], self.recipe, job.seed, self.config.d_mlp)
            )
            for job in self.jobs
        ]
        stacked = jax.tree.map(lambda *arrays: jnp.stack(arrays), *weights)
        return self.epoch.start(stacked if before is None else widen_mlps(before, stacked))

    def models(self, is_active: np.ndarray) -> Models:
        """Each model's task, and whether the next epoch trains the model."""
        task = np.asarray([job.task for job in self.jobs], np.int32)
        return Models(jnp.asarray(task), jnp.asarray(is_active))

    def examine(self, weights: Mapping[str, Float[Array, "..."]]) -> tuple[Accuracies, ...]:
        """The accuracies of every model on held-out pairs of its task, in the order of `jobs`."""
        found: list[Accuracies] = []
        n_seeds = len(self.seeds)
        for index, examination in enumerate(self._examinations):
            own = {name: array[self.rows_of(index)] for name, array in weights.items()}
            own["unembed.b_U"] = hide_classes(own["unembed.b_U"], self.data.has_class[index])
            examine = self._examiner(examination.layers)
            shares = examine(place_models(own, n_seeds), examination.questions)
            found += [examination.read(row) for row in np.asarray(shares)]
        return tuple(found)

    def weights_of(
        self, weights: Mapping[str, Float[Array, "..."]], model: int
    ) -> dict[str, np.ndarray]:
        """One model's weights, without the padding that stacking added."""
        own = {name: array[model][None] for name, array in weights.items()}
        cut = self._cut(own, self.tasks[self.jobs[model].task])
        return {name: np.asarray(array[0]) for name, array in cut.items()}

    def _padded_code(self, task: Task) -> np.ndarray:
        code = np.zeros((self.config.d_vocab_out,) * 2, np.float32)
        if self.recipe.margin is not None:
            own = class_code(task)
            code[: len(own), : len(own)] = own
        return code

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
            for task in self._wholes
        )

    def _examiner(self, layers: tuple[int, ...]) -> Examine:
        """The compiled examination; tasks that interchange the same layers share one."""
        if layers not in self._examiners:
            first_scored = self.tasks[0].first_scored

            def examine_one(
                weights: dict[str, Array], questions: Questions
            ) -> Float[Array, " runs"]:
                model = Transformer(self.config, weights)
                return shares_right(model, questions, layers, self.recipe.atol, first_scored)

            self._examiners[layers] = jax.jit(over_models(examine_one, len(self.seeds)))
        return self._examiners[layers]

    @cached_property
    def _examiners(self) -> dict[tuple[int, ...], Examine]:
        return {}


def stack_tasks(
    tasks: Iterable[Task], seeds: Sequence[int], recipe: Recipe | None = None
) -> tuple[Stack, ...]:
    """Group tasks into the stacks in which they are trained.

    Except for rounding, a task's trained models do not depend on the tasks stacked with it.

    Args:
        tasks: the tasks.
        seeds: random seeds for the models of each task.
        recipe: the recipe to train them with; the default is each task's own.

    Raises:
        ValueError: if a recipe would end with MLPs of another size than the tasks', or is to train
            the attention of a task whose program does not say where its heads attend to.
    """
    groups: dict[object, list[Task]] = {}
    for task in tasks:
        # A regression has one output and another loss, so it shares no stack with a classification.
        classes = 1 if task.config.is_regression else 2
        shape = dataclasses.replace(task.config, d_vocab=1, d_vocab_out=classes, pad_token=None)
        padding = (task.has_padding, task.config.pad_token)
        chosen = recipe or task.recipe
        if chosen.d_mlp is not None:
            raise ValueError(
                f"Expected d_mlp=None in the recipe that training ends with, got {chosen.d_mlp}: "
                "the trained model has the task's MLPs; set d_mlp in the recipe's `before`."
            )
        _check_attention(task, chosen)
        # Stacked tasks have equally many inputs, so that an epoch is as long as for one task alone.
        n_inputs = tuple(n_training_inputs(task.whole, stage) for stage in chosen.stages)
        scored = (task.first_scored, task.loss_weights)
        groups.setdefault((shape, padding, chosen, n_inputs, scored, task.leak), []).append(task)
    return tuple(
        Stack(tuple(group), tuple(seeds), recipe or group[0].recipe) for group in groups.values()
    )


def _check_attention(task: Task, recipe: Recipe) -> None:
    is_told = any(stage.attention_weight for stage in recipe.stages)
    if is_told and not task.high_level.patterns(task.sample(1, 0).input_ids):
        raise ValueError(
            f"Case {task.case_id!r}: expected a recipe with attention_weight=0, because the "
            "program has no heads, or does not say where they attend to; got another."
        )

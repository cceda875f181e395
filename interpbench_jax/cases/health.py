"""What is hollow about a task: outputs without a value, parts that change nothing.

All of it is derived by running a task's program on its own pairs of inputs. The results for the
declared tasks are stored beside this module, so that a list of tasks needs no run.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from importlib.resources import files
from types import MappingProxyType

import numpy as np

from interpbench_jax.cases.task import Task
from interpbench_jax.sites import Kind, Node

HEALTH_FILE = "health.json"
N_PAIRS = 1_000
# A component is silent if its interchange changes a smaller share of the outputs.
_AUDIBLE = 0.01
# Outputs of classes below this have no value: `high_level.MARGIN`, which needs JAX; what is stored
# here is read without it.
_NOISE = 1e-3


@dataclass(frozen=True)
class TaskHealth:
    """What a task's own inputs say about its program.

    Attributes:
        circuit: the number of its circuit among the distinct circuits of the tasks, from 1; tasks
            with the same edges in the universe `head-no-embed` have the same number.
        without_value: the share of scored outputs of classes that no class has: the program gives
            nothing there, and they count as class 0.
        fixed_positions: the scored positions at which the target is the same for all inputs.
        silent: the variables whose interchange with another input changes less than 1 % of the
            scored outputs; for a part of a task, of those of the whole.
        is_identity: whether every scored output is the input's own token.
    """

    circuit: int
    without_value: float
    fixed_positions: tuple[int, ...]
    silent: tuple[str, ...]
    is_identity: bool

    @property
    def is_live(self) -> bool:
        """Whether every output has a value, every part matters, and outputs are not inputs."""
        return not (self.is_identity or self.without_value or self.silent)

    @property
    def flags(self) -> tuple[str, ...]:
        """What to know before drawing conclusions from the task, in words; often nothing."""
        found = []
        if self.is_identity:
            found.append("identity on its inputs")
        if self.without_value:
            found.append(f"{self.without_value:.0%} of outputs have no value")
        if self.fixed_positions:
            where = "position" if len(self.fixed_positions) == 1 else "positions"
            found.append(f"constant at {where} {', '.join(map(str, self.fixed_positions))}")
        if self.silent:
            found.append(f"interchange changes nothing: {', '.join(self.silent)}")
        return tuple(found)


@lru_cache(maxsize=1)
def read_health() -> Mapping[str, TaskHealth]:
    """The stored health of every declared task by its id."""
    text = files("interpbench_jax.cases").joinpath(HEALTH_FILE).read_text(encoding="utf-8")
    return MappingProxyType(
        {
            case_id: TaskHealth(
                fixed_positions=tuple(values.pop("fixed_positions")),
                silent=tuple(values.pop("silent")),
                **values,
            )
            for case_id, values in json.loads(text).items()
        }
    )


def health_as_json(found: Mapping[str, TaskHealth]) -> str:
    """The text of the stored file."""
    lines = (f" {json.dumps(name)}: {json.dumps(asdict(each))}" for name, each in found.items())
    return "{\n" + ",\n".join(lines) + "\n}\n"


def number_circuits(tasks: Iterable[Task]) -> dict[str, int]:
    """Number the distinct circuits of tasks, in the order of the tasks; by case id."""
    numbers: dict[object, int] = {}
    found = {}
    for task in tasks:
        # The output is the same place in a model of any number of layers.
        edges = frozenset(
            (edge.src, None if edge.dst.kind is Kind.RESID_POST else edge.dst)
            for edge in task.upstream_circuit.in_universe("head-no-embed")
        )
        found[task.case_id] = numbers.setdefault(edges, len(numbers) + 1)
    return found


def examine(task: Task, circuit: int = 1, *, n: int = N_PAIRS, seed: int = 0) -> TaskHealth:
    """Run a task's program on its own pairs of inputs, and see what is hollow about it.

    Args:
        task: the task.
        circuit: the number of its circuit, as `number_circuits` gives it.
        n: number of pairs.
        seed: random seed for sampling them.
    """
    pairs, every = task.sample(n, seed), task.whole.sample(n, seed)
    scored = np.asarray(pairs.is_scored)
    targets = np.asarray(pairs.target)

    def changed_by(node: Node) -> float:
        found = task.high_level.targets(every.input_ids, every.corrupted_input_ids, node)
        is_changed = np.abs(np.asarray(found) - np.asarray(every.target)) > _NOISE
        return float(is_changed[np.asarray(every.is_scored)].mean())

    names = task.component_names
    return TaskHealth(
        circuit=circuit,
        without_value=_share_without_value(task, pairs.input_ids, scored),
        fixed_positions=_fixed_positions(targets, scored),
        silent=tuple(names[node] for node in task.alignment if changed_by(node) < _AUDIBLE),
        is_identity=_is_identity(task, pairs.input_ids, targets, scored),
    )


def _share_without_value(task: Task, tokens: np.ndarray, scored: np.ndarray) -> float:
    if not task.is_categorical or not hasattr(task, "program"):
        return 0.0
    outputs = np.asarray(task.high_level(tokens))
    return round(float((outputs.max(axis=-1) < _NOISE)[scored].mean()), 3)


def _fixed_positions(targets: np.ndarray, scored: np.ndarray) -> tuple[int, ...]:
    return tuple(
        position
        for position in range(targets.shape[1])
        if len(own := targets[scored[:, position], position]) > 1 and np.ptp(own) < _NOISE
    )


def _is_identity(task: Task, tokens: np.ndarray, targets: np.ndarray, scored: np.ndarray) -> bool:
    if task.classes is None:
        return False
    labels = np.asarray([str(label) for label in task.classes])
    texts = np.asarray(task.tokens)
    return bool((labels[targets[scored]] == texts[tokens[scored]]).all())

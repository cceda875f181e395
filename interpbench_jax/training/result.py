"""The results of training."""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from interpbench_jax.case import Case
from interpbench_jax.display import html_table
from interpbench_jax.jsonfields import (
    mapping_of,
    optional,
    read_count,
    read_fields,
    read_number,
    read_text,
)
from interpbench_jax.jsontext import parse_json_object
from interpbench_jax.training.evaluation import Accuracies


class TrainingError(ValueError):
    """Training cannot continue; the message says what to change."""


@dataclass(frozen=True)
class EpochRecord:
    """The losses and accuracies of one model in one epoch.

    Attributes:
        case_id: id of the task.
        seed: the model's seed.
        epoch: number of the epoch, from 1.
        losses: means over the epoch's steps of the losses before each step: `interchange`,
            `strict`, `behavior`, `edges`, `attention`; 0 for those that the recipe gives no weight.
        accuracy: share of right outputs on held-out inputs.
        iia: the lowest interchange intervention accuracy of a component.
        joint: the lowest accuracy with a set of components interchanged together.
        strict: the lowest strict accuracy of a node outside the circuit.
        edges: the lowest accuracy with an edge of the program, or all edges outside the circuit,
            taken from the source.
        training_seconds: duration of the epoch, for all models that were trained together.
        validation_seconds: duration of evaluating them.
    """

    case_id: str
    seed: int
    epoch: int
    losses: Mapping[str, float]
    accuracy: float
    iia: float
    joint: float
    strict: float
    edges: float
    training_seconds: float
    validation_seconds: float

    @property
    def lowest(self) -> float:
        """The lowest of the accuracies."""
        return min(self.accuracy, self.iia, self.joint, self.strict, self.edges)

    def to_json(self) -> str:
        """Return one line of JSON, in which a NaN or infinite loss is null."""
        described = asdict(self)
        described["losses"] = {
            name: loss if math.isfinite(loss) else None for name, loss in self.losses.items()
        }
        return json.dumps(described)

    @classmethod
    def from_json(cls, line: str) -> "EpochRecord":
        """Read what `to_json` wrote.

        Raises:
            ValueError: if the line is not a record.
        """
        try:
            described = parse_json_object(line, "a record")
            read_fields(described, "a record", (each.name for each in fields(cls)))
            values: dict[str, Any] = {
                name: _READERS.get(name, read_number)(value, name)
                for name, value in described.items()
            }
        except ValueError as error:
            raise ValueError(
                f"Expected a line of a training log, got {line[:60]!r}: {error}"
            ) from None
        return cls(**values)


def _read_losses(value: object, name: str) -> Mapping[str, float]:
    losses = mapping_of(optional(read_number))(value, name)
    return {key: math.nan if loss is None else loss for key, loss in losses.items()}


_READERS: Mapping[str, Callable[[object, str], Any]] = {
    "case_id": read_text,
    "seed": read_count,
    "epoch": read_count,
    "losses": _read_losses,
}


@dataclass(frozen=True, repr=False)
class Trained:
    """The best model among a task's seeds.

    Attributes:
        case: the model with its circuit, vocabulary and provenance.
        seed: the model's seed.
        epoch: the epoch after which its weights were taken.
        has_reached_target: whether it met the recipe's target on the validation pairs.
        accuracies: its accuracies on the validation pairs.
        log: the record of every epoch of every seed of the task.
    """

    case: Case
    seed: int
    epoch: int
    has_reached_target: bool
    accuracies: Accuracies
    log: tuple[EpochRecord, ...]

    def __repr__(self) -> str:
        target = "target reached" if self.has_reached_target else "target not reached"
        return (
            f"Trained(case {self.case.case_id!r}, seed {self.seed}, epoch {self.epoch}, {target}: "
            f"accuracy {self.accuracies.accuracy:.4f}, lowest under interchange "
            f"{self.accuracies.lowest_iia:.4f})"
        )

    def _repr_html_(self) -> str:
        target = "target reached" if self.has_reached_target else "target not reached"
        rows = [
            ("seed", str(self.seed)),
            ("epoch", str(self.epoch)),
            ("accuracy", self.accuracies.accuracy),
            ("lowest with one variable interchanged", self.accuracies.lowest_iia),
            ("lowest with one node outside the circuit resampled", self.accuracies.lowest_strict),
        ]
        title = f"Trained model of case {self.case.case_id}: {target}"
        return html_table(title, ("on validation pairs", ""), rows)

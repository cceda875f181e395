"""What training gives."""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from interpbench_jax.case import Case
from interpbench_jax.training.evaluation import Accuracies


class TrainingError(ValueError):
    """Training cannot go on; the message says what to change."""


@dataclass(frozen=True)
class EpochRecord:
    """What one epoch did to one model.

    Attributes:
        case_id: the task.
        seed: the model's.
        epoch: counted from 1.
        losses: mean over the epoch's steps, each before its step: `interchange`, `strict`,
            `behavior`, `edges`.
        accuracy: share of right outputs on held-out inputs.
        iia: the lowest interchange intervention accuracy of a component.
        joint: the lowest of a set of components that are interchanged together.
        strict: the lowest strict accuracy of a node outside the circuit.
        edges: the lowest accuracy with an edge of the program, or all edges outside the circuit,
            taken from the source.
        training_seconds: of the epoch, for all models that were trained together.
        validation_seconds: of judging them.
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
        """One line of JSON; a loss that left the numbers is null."""
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
            described: dict[str, Any] = json.loads(line)
            losses = {
                name: math.nan if loss is None else float(loss)
                for name, loss in described.pop("losses").items()
            }
            return cls(losses=losses, **described)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise ValueError(f"Expected a line of a training log, got {line!r}: {error}") from None


@dataclass(frozen=True)
class Trained:
    """The best model of a task's seeds.

    Attributes:
        case: the model with its circuit, vocabulary and provenance.
        seed: which of the seeds it is.
        epoch: after which epoch it was taken.
        has_reached_target: whether it met the recipe's target on the validation pairs.
        accuracies: on the validation pairs.
        log: every epoch of every seed of the task.
    """

    case: Case
    seed: int
    epoch: int
    has_reached_target: bool
    accuracies: Accuracies
    log: tuple[EpochRecord, ...]

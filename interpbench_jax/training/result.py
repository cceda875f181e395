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
            `behavior`.
        accuracy: share of right outputs on held-out inputs.
        iia: the lowest interchange intervention accuracy of a component.
        strict: the lowest strict accuracy of a node outside the circuit.
        training_seconds: of the epoch, for all models that were trained together.
        validation_seconds: of judging them.
    """

    case_id: str
    seed: int
    epoch: int
    losses: Mapping[str, float]
    accuracy: float
    iia: float
    strict: float
    training_seconds: float
    validation_seconds: float

    @property
    def lowest(self) -> float:
        """The lowest of the three accuracies."""
        return min(self.accuracy, self.iia, self.strict)

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

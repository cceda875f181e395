"""The training settings of release 1.0.0."""

import math
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class TrainingArguments:
    """Settings of strict interchange intervention training (arXiv:2407.14494).

    Attributes:
        learning_rate: Adam's learning rate.
        epochs: maximum number of passes over the data.
        clip_grad_norm: norm above which gradients are scaled down.
        iit_weight: weight of the interchange loss.
        behavior_weight: weight of the loss on plain outputs.
        strict_weight: weight of the loss on nodes outside the circuit.
        atol: a regression output within this distance of its target counts as correct.
        use_single_loss: whether one step is taken on the sum of the losses.
        lr_scheduler: name of the learning-rate schedule; empty for a constant rate.
        compiled_width: width of the compiled program, which sets the scale of the initial weights.
    """

    learning_rate: float = 1e-3
    epochs: int = 2000
    clip_grad_norm: float = 0.1
    iit_weight: float = 1.0
    behavior_weight: float = 1.0
    strict_weight: float = 0.4
    atol: float = 0.05
    use_single_loss: bool = False
    lr_scheduler: str = ""
    compiled_width: int = 16

    @property
    def initializer_range(self) -> float:
        """Standard deviation of the initial weights."""
        return 0.8 / math.sqrt(self.compiled_width)


QUICK = TrainingArguments(learning_rate=1e-2, epochs=500, clip_grad_norm=1.0)

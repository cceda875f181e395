"""Names that options are chosen by, for the command line too, which tells them without JAX."""

from collections.abc import Callable
from typing import Literal

MetricName = Literal[
    "kl",
    "cross_entropy",
    "l2",
    "centred_l2",
    "mae",
    "mse",
    "target_mae",
    "logit_diff",
    "accuracy",
]
UniverseName = Literal["qkv", "qkv-merged", "head", "head-no-embed"]
# What a method scores.
Level = Literal["edge", "node"]

# Called with the number of finished steps and of all steps.
Progress = Callable[[int, int], None]

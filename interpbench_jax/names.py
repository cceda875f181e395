"""The names that options accept, also for the command line, which lists them without JAX."""

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
AblationName = Literal["resample", "mean", "zero", "optimal"]
UniverseName = Literal["qkv", "qkv-merged", "head", "head-no-embed"]
# Whether a method scores edges or nodes.
Level = Literal["edge", "node"]
# The releases of InterpBench: 1.0.0, and the one that its repository has now.
ReleaseName = Literal["1.0.0", "current"]

# Called with the number of finished steps and of all steps.
Progress = Callable[[int, int], None]

"""The names that options accept, and the order of case ids; the command line reads both."""

import re
from collections.abc import Callable
from typing import Literal, get_args

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
METRIC_NAMES: tuple[MetricName, ...] = get_args(MetricName)
AblationName = Literal["resample", "mean", "zero", "optimal"]
UniverseName = Literal["qkv", "qkv-merged", "head", "head-no-embed"]
# Whether a method scores edges or nodes.
Level = Literal["edge", "node"]
# The releases of InterpBench: 1.0.0, and the one that its repository has now; and our own pilot of
# harder tasks.
ReleaseName = Literal["1.0.0", "current", "pilot"]

# Called with the number of finished steps and of all steps.
Progress = Callable[[int, int], None]


CaseOrder = tuple[bool, int, tuple[tuple[int, str], ...]]


def case_order(case_id: str) -> CaseOrder:
    """A sort key for case ids: numbers in numeric order, `8-current` after `8`, then words.

    Numbers within words are in numeric order too: `held-out-2` is before `held-out-10`.
    """
    number = number_of(case_id)
    is_number = number.isdecimal() and number.isascii() and len(number) < 10
    parts = enumerate(re.split(r"([0-9]{1,9})", case_id))
    natural = tuple((int(part) if place % 2 else 0, part) for place, part in parts)
    return not is_number, int(number) if is_number else 0, natural


def number_of(case_id: str) -> str:
    """The number, or the name, that InterpBench gives a case: 8 for `8-current`."""
    return case_id.removesuffix("-current")

"""The table of all tasks. To add a task, add a file beside this one and an entry here."""

from collections.abc import Mapping
from types import MappingProxyType

from interpbench_jax.cases import (
    case_3,
    case_4,
    case_8,
    case_11,
    case_13,
    case_18,
    case_19,
    case_20,
    case_21,
    case_24,
    case_33,
    case_34,
    case_35,
    case_36,
    case_37,
    case_38,
    case_ioi,
    case_ioi_next_token,
)
from interpbench_jax.cases.rasp_task import RaspTask
from interpbench_jax.cases.task import Task

RASP_CASES: Mapping[str, RaspTask] = MappingProxyType(
    {
        "3": case_3.TASK,
        "4": case_4.TASK,
        "8": case_8.TASK,
        "11": case_11.TASK,
        "13": case_13.TASK,
        "18": case_18.TASK,
        "19": case_19.TASK,
        "20": case_20.TASK,
        "21": case_21.TASK,
        "24": case_24.TASK,
        "33": case_33.TASK,
        "34": case_34.TASK,
        "35": case_35.TASK,
        "36": case_36.TASK,
        "37": case_37.TASK,
        "38": case_38.TASK,
    }
)

CASES: Mapping[str, Task] = MappingProxyType(
    {
        **RASP_CASES,
        "ioi": case_ioi.TASK,
        "ioi_next_token": case_ioi_next_token.TASK,
    }
)

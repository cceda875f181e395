"""The values that rows of a benchmark may have: what every reader and writer of them checks."""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import get_args

from interpbench_jax.circuit import TruthValue
from interpbench_jax.report.rows import LEVELS, CurveRow, ResultRow, ScoreRow
from interpbench_jax.texts import shown
from interpbench_jax.universes import UNIVERSES

Row = ResultRow | ScoreRow | CurveRow

_INT32 = 2**31
_SHARES = (
    "roc_auc",
    "average_precision",
    "null_mean",
    "null_low",
    "null_high",
    "p_value",
    "paper_auc",
    "precision",
    "recall",
    "f1",
)
_TEXTS = (
    "tier",
    "truth",
    "metric",
    "package_version",
    "jax_version",
    "device",
    "model_digest",
    "circuit_digest",
    "data_digest",
)
_COUNTS = ("n_items", "n_true", "n_constant", "n_inputs")
_TRUTH_VALUES: tuple[TruthValue, ...] = get_args(TruthValue)


def check_rows(rows: Sequence[Row]) -> None:
    """Refuse rows, given in order, if a value is one that no benchmark writes, or keys repeat.

    Raises:
        ValueError: in these cases; the message names the row.
    """
    check_values(rows)
    check_keys(rows)


def check_values(rows: Sequence[Row]) -> None:
    """Refuse rows with values that no benchmark writes; see `check_rows`."""
    for index, row in enumerate(rows):
        _check_row(row, index)


def check_keys(rows: Sequence[Row]) -> None:
    """Refuse rows, given in order, if two of them share a key; see `check_rows`."""
    for row, following in pairwise(rows):
        if row.key == following.key:
            raise ValueError(
                f"Expected one row for each run and item, got two of case {shown(row.case)}, "
                f"{row.key[1:]}; was the same run added twice?"
            )


def _check_row(row: Row, index: int) -> None:
    """Refuse a value that no benchmark writes."""
    for name, holds, wanted in _RULES[type(row)]:
        value = getattr(row, name)
        if not holds(value):
            raise ValueError(
                f"Row {index} (case {shown(row.case)}, method {shown(row.method)}): expected "
                f"{name} to be {wanted}, got {shown(value)}."
            )


Rule = tuple[str, Callable[[object], bool], str]


def _is_str(value: object) -> bool:
    return isinstance(value, str)


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < _INT32


def _is_share(value: object) -> bool:
    return value is None or (isinstance(value, float | int) and 0 <= value <= 1)


def _is_optional_number(value: object) -> bool:
    return value is None or (isinstance(value, float | int) and math.isfinite(value))


def _is_number(value: object) -> bool:
    return isinstance(value, float | int) and not math.isnan(value)


def _is_json_object(value: object) -> bool:
    try:
        return isinstance(value, str) and isinstance(json.loads(value), dict)
    except (ValueError, RecursionError):
        return False


_RUN: tuple[Rule, ...] = (
    ("case", _is_text, "a non-empty string"),
    ("method", _is_text, "a non-empty string"),
    ("ablation", _is_str, "a string"),
    ("seed", _is_count, "a non-negative int32"),
    ("order", _is_count, "a non-negative int32"),
)
_COMMON: tuple[Rule, ...] = (
    *_RUN,
    ("level", lambda value: value in LEVELS, f"one of {', '.join(LEVELS)}"),
)
_RULES: Mapping[type, tuple[Rule, ...]] = {
    ResultRow: (
        *_COMMON,
        ("universe", lambda value: value in UNIVERSES, f"one of {', '.join(UNIVERSES)}"),
        *((name, _is_count, "a non-negative int32") for name in _COUNTS),
        *((name, _is_share, "a number from 0 to 1, or None") for name in _SHARES),
        *(
            (name, _is_optional_number, "a finite number, or None")
            for name in ("cpr", "cmd", "seconds")
        ),
        ("shd", lambda value: value is None or _is_count(value), "a non-negative int32, or None"),
        ("is_connected", lambda value: value is None or isinstance(value, bool), "a bool, or None"),
        ("settings", _is_json_object, "a JSON object"),
        *((name, _is_str, "a string") for name in _TEXTS),
    ),
    ScoreRow: (
        *_COMMON,
        ("item", _is_text, "a non-empty string"),
        ("value", _is_number, "a number"),
        ("truth", lambda value: value in _TRUTH_VALUES, f"one of {', '.join(_TRUTH_VALUES)}"),
    ),
    CurveRow: (
        *_RUN,
        ("absolute", lambda value: isinstance(value, bool), "a bool"),
        (
            "fraction",
            lambda value: value is not None and _is_share(value),
            "a number from 0 to 1",
        ),
        ("n_edges", _is_count, "a non-negative int32"),
        (
            "faithfulness",
            lambda value: value is not None and _is_optional_number(value),
            "a finite number",
        ),
    ),
}

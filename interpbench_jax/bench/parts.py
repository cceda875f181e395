"""The finished runs of a benchmark, one file each, so that a killed benchmark can be resumed.

A file's name and its content carry a digest of everything that the run depends on; a file that
does not match is ignored.
"""

import dataclasses
import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from interpbench_jax.bench.plan import Facts, Run
from interpbench_jax.names import Level
from interpbench_jax.report.rows import CurveRow, ResultRow
from interpbench_jax.storage import make_folder, read_text, write_file

PARTS_FOLDER = "parts"
_FORMAT = "interpbench-bench-part"
_VERSION = 2
_MOST_BYTES = 2**28


@dataclass(frozen=True)
class RunPart:
    """The results of one run.

    Attributes:
        results: its rows, with seconds.
        values: the importance of every edge and of every node of the finest universe.
        curves: its faithfulness curves; empty in a part of an earlier release.
        seconds: the method's time, without compilation.
        compile_seconds: the time for compiling its programs, or for loading them from a cache.
        scoring_seconds: the time for scoring the method's result, compilation included.
    """

    results: tuple[ResultRow, ...]
    values: dict[Level, np.ndarray]
    curves: tuple[CurveRow, ...]
    seconds: float
    compile_seconds: float
    scoring_seconds: float


def part_path(folder: Path, facts: Facts) -> Path:
    """Return the path of a run's part."""
    return folder / PARTS_FOLDER / f"{_name(facts.run)}_{facts.digest[:16]}.json"


def runs_with_parts(folder: Path, runs: Iterable[Run]) -> list[Run]:
    """Return the runs of which there is a part, be it of these settings or of others."""
    names = {path.stem.rpartition("_")[0] for path in (folder / PARTS_FOLDER).glob("*.json")}
    return [run for run in runs if _name(run) in names]


def write_part(folder: Path, facts: Facts, part: RunPart) -> Path:
    """Write a part atomically, and return its path.

    Raises:
        OSError: if the folder cannot be made or written.
    """
    path = part_path(folder, facts)
    make_folder(path.parent)
    content = {
        "digest": facts.digest,
        "facts": facts.as_json(),
        "seconds": part.seconds,
        "compile_seconds": part.compile_seconds,
        "scoring_seconds": part.scoring_seconds,
        "values": {level: values.tolist() for level, values in part.values.items()},
        "results": [dataclasses.asdict(row) for row in part.results],
        "curves": [dataclasses.asdict(row) for row in part.curves],
    }
    body = json.dumps(content, allow_nan=False)
    head = {"format": _FORMAT, "version": _VERSION, "sha256": _sha256(body)}
    write_file(path, f"{json.dumps(head)}\n{body}\n")
    return path


def read_part(folder: Path, facts: Facts) -> RunPart | None:
    """Read the part of a run; None if there is none that can be used.

    A part that is damaged, or in which a number was changed, counts as missing.
    """
    try:
        head, _, body = read_text(part_path(folder, facts), _MOST_BYTES).partition("\n")
        expected = {"format": _FORMAT, "version": _VERSION, "sha256": _sha256(body.strip())}
        if json.loads(head) != expected:
            raise ValueError(f"Expected the part of {facts.run}, got another or a damaged one.")
        return _read(json.loads(body), facts)
    except (OSError, ValueError, TypeError, KeyError, AttributeError, OverflowError):
        return None
    except RecursionError:  # Deeply nested JSON.
        return None


def _name(run: Run) -> str:
    """Return the name that a run's parts have in common."""
    words = "_".join(map(str, (run.case, run.method, run.ablation, run.seed, run.order)))
    return re.sub(r"[^A-Za-z0-9_.-]", "-", words)


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _read(content: dict[str, Any], facts: Facts) -> RunPart:
    if content["digest"] != facts.digest:
        raise ValueError(f"Expected the part of {facts.run}, got another.")
    rows = tuple(ResultRow(**row) for row in content["results"])
    curves = tuple(CurveRow(**row) for row in content.get("curves", ()))
    seconds = [content[name] for name in ("seconds", "compile_seconds", "scoring_seconds")]
    _check(rows, curves, facts, seconds)
    values: dict[Level, np.ndarray] = {
        level: np.asarray(content["values"][level], np.float64) for level in ("edge", "node")
    }
    if not all(each.ndim == 1 and np.isfinite(each).all() for each in values.values()):
        raise ValueError(f"Expected a finite number for each item of {facts.run}, got others.")
    return RunPart(rows, values, curves, *map(float, seconds))


def _check(
    rows: Sequence[ResultRow],
    curves: Sequence[CurveRow],
    facts: Facts,
    seconds: Sequence[object],
) -> None:
    run = dataclasses.astuple(facts.run)
    is_own = all(
        (row.case, row.method, row.ablation, row.seed, row.order) == run for row in (*rows, *curves)
    )
    if not rows or not is_own or not all(isinstance(each, float | int) for each in seconds):
        raise ValueError(f"Expected the results of {facts.run}, got others.")

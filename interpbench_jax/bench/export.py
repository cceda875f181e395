"""The export of a benchmark's results as a submission."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from interpbench_jax.bench.submission import FORMAT, CaseTruth, check_submission
from interpbench_jax.bench.table import read_results, read_scores
from interpbench_jax.names import Level
from interpbench_jax.report.rows import ResultRow, ScoreRow
from interpbench_jax.texts import cut_off
from interpbench_jax.universes import UniverseName

# The universe of the items in `scores.parquet`.
_UNIVERSE: UniverseName = "qkv"


def export_submission(
    folder: Path | str,
    method: str,
    truths: Mapping[str, CaseTruth],
    *,
    authors: Sequence[str],
    description: str = "",
    url: str = "",
    ablation: str | None = None,
    seed: int | None = None,
    level: Level = "edge",
) -> str:
    """Return one run of a method on every case of a benchmark as a submission's JSON text.

    Args:
        folder: the benchmark's folder, with `results.parquet` and `scores.parquet`.
        method: the name of the method.
        truths: the truths of all cases that a submission must have, by case.
        authors: the authors of the submission.
        description: what the method does.
        url: the URL of a paper or a repository.
        ablation: the ablation of the run; optional if the method ran with only one.
        seed: the seed of the run; the default is the lowest.
        level: whether to export the scores of edges or of nodes.

    Raises:
        FileNotFoundError: if a file is missing.
        ImportError: if pyarrow is not installed.
        ValueError: if a file is invalid, the run does not exist or is ambiguous, a case lacks
            its scores, a score is not finite, or the submission would be refused: the message
            says why, and which cases are missing.
    """
    results = [row for row in read_results(folder) if row.level == level]
    chosen = _choose(results, method, ablation, seed)
    items: dict[str, list[ScoreRow]] = {row.case: [] for row in chosen}
    run = (method, chosen[0].ablation, chosen[0].seed, 0, level)
    for row in read_scores(folder):
        own = (row.method, row.ablation, row.seed, row.order, row.level)
        if own == run and row.case in items:
            items[row.case].append(row)
    settings = {
        "settings": {row.case: json.loads(row.settings) for row in chosen},
        "ablation": chosen[0].ablation,
        "seed": chosen[0].seed,
        "metric": {row.case: row.metric for row in chosen},
        "n_inputs": {row.case: row.n_inputs for row in chosen},
        "package_version": chosen[0].package_version,
    }
    submission = {
        "format": FORMAT,
        "version": 1,
        "method": method,
        "authors": list(authors),
        "description": description,
        **({"url": url} if url else {}),
        "settings": settings,
        "cases": [
            {
                "case": row.case,
                "model_digest": row.model_digest,
                "universe": _UNIVERSE,
                "level": level,
                "scores": _pairs(row.case, items[row.case]),
            }
            for row in chosen
        ],
    }
    _check(submission, truths)
    return json.dumps(submission, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _check(submission: dict[str, object], truths: Mapping[str, CaseTruth]) -> None:
    """Refuse a submission that would not be accepted."""
    errors = check_submission(submission, truths).errors
    if errors:
        told = cut_off([f"{problem}" for problem in errors])
        raise ValueError(f"Expected a valid submission, got an invalid one: {told}")


def _choose(
    results: Sequence[ResultRow], method: str, ablation: str | None, seed: int | None
) -> list[ResultRow]:
    """Return the chosen run's result for each case."""
    # If a method ran in several edge orders, take the order of its settings.
    own = [row for row in results if row.method == method and row.order == 0]
    if not own:
        there = ", ".join(sorted({row.method for row in results})) or "none"
        raise ValueError(f"Expected one of the benchmark's methods ({there}), got {method!r}.")
    ablations = sorted({row.ablation for row in own})
    if ablation is None and len(ablations) > 1:
        raise ValueError(f"Expected one ablation, found {', '.join(ablations)}; choose one.")
    wanted = ablations[0] if ablation is None else ablation
    seeds = sorted({row.seed for row in own if row.ablation == wanted})
    if not seeds or (seed is not None and seed not in seeds):
        raise ValueError(
            f"Expected a run of {method!r} with one of the ablations {', '.join(ablations)} and "
            f"one of the seeds {seeds}, got {wanted!r} and {seed}."
        )
    number = seeds[0] if seed is None else seed
    by_case = {row.case: row for row in own if (row.ablation, row.seed) == (wanted, number)}
    return list(by_case.values())


def _pairs(case: str, rows: Sequence[ScoreRow]) -> list[list[object]]:
    if not rows:
        raise ValueError(
            f"Expected scores of case {case!r} beside its result, found none; run the benchmark "
            "again."
        )
    for row in rows:
        if not math.isfinite(row.value):
            raise ValueError(
                f"Expected finite scores to submit, got {row.value} for {row.item} of case "
                f"{case!r}."
            )
    return [[row.item, row.value] for row in rows]

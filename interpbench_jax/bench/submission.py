"""Submissions: one method's scores on every case as one JSON file, and the checks of such a file.

`submission.schema.json`, beside this file, defines the format. jsonschema, from the `bench`
extra, is imported where it is used.
"""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float64

from interpbench_jax.bench.problems import SubmissionProblem, at, check_schema, list_some, show
from interpbench_jax.bench.tiers import tier_of
from interpbench_jax.cases import TruthName, task_of
from interpbench_jax.circuit import Circuit
from interpbench_jax.names import Level
from interpbench_jax.report.rows import LEVELS
from interpbench_jax.sites import parse_edge, parse_node
from interpbench_jax.storage import read_bytes
from interpbench_jax.universes import UNIVERSES, UniverseName, universe
from interpbench_jax.weights import digest_weights

if TYPE_CHECKING:
    from interpbench_jax.case import Case

FORMAT = "interpbench-submission"
SCHEMA_FILE = Path(__file__).with_name("submission.schema.json")
MAX_BYTES = 64 * 2**20

# Lookups from an arbitrary string, which narrow `str` to the literal types.
_UNIVERSE_OF: Mapping[str, UniverseName] = {each: each for each in UNIVERSES}
_LEVEL_OF: Mapping[str, Level] = {each: each for each in LEVELS}


@dataclass(frozen=True)
class CaseTruth:
    """The truth that a case's scores are checked and scored against.

    Attributes:
        name: the name of the truth (see `Case.truth`).
        circuit: the true circuit.
        model_digest: SHA-256 of the model's `model.safetensors`.
        tier: the task's tier of difficulty; empty if the task is not declared.
    """

    name: TruthName
    circuit: Circuit
    model_digest: str
    tier: str

    @classmethod
    def of(cls, case: "Case") -> "CaseTruth":
        """Return the truth of a loaded case.

        Raises:
            ValueError: if its circuit is not known.
        """
        task = task_of(case.case_id)
        tier = "" if task is None else tier_of(task)
        return cls("complete", case.truth(), digest_weights(case.weights), tier)


@dataclass(frozen=True)
class CaseScores:
    """The scores of one case.

    Attributes:
        case: the case's id.
        model_digest: the digest of the model that was scored, as submitted.
        universe: the universe whose items were scored.
        level: whether the items are the universe's edges or its source nodes.
        scores: one score per item, in the universe's order; larger is more important.
    """

    case: str
    model_digest: str
    universe: UniverseName
    level: Level
    scores: Float64[np.ndarray, " items"] = field(repr=False, compare=False)


@dataclass(frozen=True)
class Submission:
    """A valid submission.

    Attributes:
        method: the method's name.
        authors: the names of its authors.
        description: what the method does.
        url: the URL of a paper or a repository; empty if none is given.
        settings: the settings of the run, as plain JSON values.
        cases: the scores of every case, for each level that occurs.
    """

    method: str
    authors: tuple[str, ...]
    description: str
    url: str
    settings: Mapping[str, object] = field(hash=False)
    cases: tuple[CaseScores, ...]


@dataclass(frozen=True)
class CheckedSubmission:
    """A submission after it was checked.

    Attributes:
        submission: the submission; None if any problem is an error.
        problems: every problem found, including warnings, ordered by its place.
    """

    submission: Submission | None
    problems: tuple[SubmissionProblem, ...]

    @property
    def errors(self) -> tuple[SubmissionProblem, ...]:
        """The problems that make a submission invalid."""
        return tuple(problem for problem in self.problems if problem.is_error)


def read_submission(path: Path | str, truths: Mapping[str, CaseTruth]) -> CheckedSubmission:
    """Read and check a submission's file.

    Args:
        path: the file.
        truths: the truths of all cases that a submission must have, by case.

    Raises:
        ImportError: if jsonschema is not installed.
        OSError: if the file cannot be read.
        ValueError: if it is not a regular file, is larger than 64 MiB, or is not JSON.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"Expected a submission at {path}, found no such file.")
    text = read_bytes(path, MAX_BYTES)
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(
            f"{path}: Expected a submission as JSON, got a file that is not JSON: {error}"
        ) from None
    return check_submission(data, truths)


def check_submission(data: object, truths: Mapping[str, CaseTruth]) -> CheckedSubmission:
    """Validate a submission and list every problem, not only the first.

    Args:
        data: the decoded JSON.
        truths: the truths of all cases that a submission must have, by case.

    Raises:
        ImportError: if jsonschema is not installed.
    """
    problems = check_schema(data, read_schema())
    if not isinstance(data, dict):
        return CheckedSubmission(None, tuple(problems))
    problems += _check_texts(data)
    entries = data.get("cases")
    read: list[CaseScores] = []
    if isinstance(entries, list):
        problems += _check_coverage(entries, truths)
        for index, entry in enumerate(entries):
            found, scores = _check_case(entry, at("cases", index), truths)
            problems += found
            read += [scores] if scores is not None else []
    problems.sort(key=lambda problem: problem.order)
    if any(problem.is_error for problem in problems):
        return CheckedSubmission(None, tuple(problems))
    submission = Submission(
        method=data["method"],
        authors=tuple(data["authors"]),
        description=data["description"],
        url=data.get("url", ""),
        settings=data["settings"],
        cases=tuple(read),
    )
    return CheckedSubmission(submission, tuple(problems))


@cache
def read_schema() -> Mapping[str, object]:
    """Return the JSON Schema (2020-12) of a submission."""
    return json.loads(SCHEMA_FILE.read_text(encoding="utf-8"))


@cache
def item_names(name: UniverseName, level: Level, n_layers: int, n_heads: int) -> tuple[str, ...]:
    """Return the names of the scored items, in the universe's order."""
    space = universe(name, n_layers, n_heads)
    return tuple(map(str, space.edges if level == "edge" else space.sources))


def _check_texts(data: Mapping[str, object]) -> Iterator[SubmissionProblem]:
    """Yield a problem for each displayed text that cannot be shown on one line."""
    authors = data.get("authors")
    texts = [("method", data.get("method")), ("url", data.get("url"))]
    if isinstance(authors, list):
        texts += [(at("authors", index), author) for index, author in enumerate(authors)]
    for path, text in texts:
        if isinstance(text, str) and (not text.isprintable() or text != text.strip()):
            yield SubmissionProblem(
                path,
                "Expected text on one line, without control characters or surrounding spaces, got "
                f"{show(text)}.",
            )


def _check_coverage(
    entries: Sequence[object], truths: Mapping[str, CaseTruth]
) -> list[SubmissionProblem]:
    """Check that every case has exactly one entry for each level that occurs."""
    problems = []
    seen: dict[tuple[object, object], int] = {}
    for index, entry in enumerate(entries):
        if not isinstance(entry, dict):
            continue
        case, level = entry.get("case"), entry.get("level")
        if not isinstance(case, str) or level not in LEVELS:
            continue
        first = seen.setdefault((level, case), index)
        if first != index:
            problems.append(
                SubmissionProblem(
                    at("cases", index),
                    f"Expected one entry for case {show(case)} and level {level!r}, got another at "
                    f"{at('cases', first)}; remove one.",
                )
            )
    for level in dict.fromkeys(level for level, _ in seen):
        missing = [case for case in truths if (level, case) not in seen]
        if missing:
            problems.append(
                SubmissionProblem(
                    "cases",
                    f"Expected {level} scores of all {len(truths)} cases, got fewer; "
                    f"missing: {list_some(missing)}.",
                )
            )
    return problems


def _check_case(
    entry: object, path: str, truths: Mapping[str, CaseTruth]
) -> tuple[list[SubmissionProblem], CaseScores | None]:
    """Return the problems of an entry that no schema finds, and its scores if complete."""
    if not isinstance(entry, dict):
        return [], None
    case = entry.get("case")
    truth = truths.get(case) if isinstance(case, str) else None
    problems = []
    if isinstance(case, str) and truth is None:
        problems.append(
            SubmissionProblem(
                f"{path}.case", f"Expected one of {', '.join(truths)}; got {show(case)}."
            )
        )
    digest = entry.get("model_digest")
    if truth is not None and isinstance(digest, str) and digest != truth.model_digest:
        problems.append(
            SubmissionProblem(
                f"{path}.model_digest",
                f"Expected the packaged model {truth.model_digest}, got {show(digest)}: the scores "
                "are of another model.",
                is_error=False,
            )
        )
    given = entry.get("scores")
    if not isinstance(given, list):
        return problems, None
    name = _UNIVERSE_OF.get(str(entry.get("universe")))
    level = _LEVEL_OF.get(str(entry.get("level")))
    names = None
    if truth is not None and name is not None and level is not None:
        names = item_names(name, level, truth.circuit.n_layers, truth.circuit.n_heads)
    found, values = _check_scores(given, f"{path}.scores", names, f"{level}s of {name}", level)
    problems += found
    if names is None or name is None or level is None or not len(values) == len(names):
        return problems, None
    scores = np.asarray([values[item] for item in names], np.float64)
    return problems, CaseScores(str(case), str(digest), name, level, scores)


def _check_scores(
    given: Sequence[object], where: str, names: Sequence[str] | None, what: str, level: Level | None
) -> tuple[list[SubmissionProblem], dict[str, float]]:
    """Return the problems of a list of names and scores, and the score of each item by name."""
    problems = []
    values: dict[str, float] = {}
    seen: dict[str, int] = {}
    known = None if names is None else frozenset(names)
    for index, pair in enumerate(given):
        if not isinstance(pair, list) or len(pair) != 2:
            continue  # The schema reports it.
        item, value = pair
        number = _finite(value)
        if number is None and isinstance(value, int | float) and not isinstance(value, bool):
            problems.append(
                SubmissionProblem(
                    at(where, index, 1), f"Expected a finite score, got {show(value)}."
                )
            )
        if not isinstance(item, str):
            continue
        if known is not None:
            item = _spelled(item, level)
            if item not in known:
                problems.append(
                    SubmissionProblem(
                        at(where, index, 0), f"Expected one of the {what}, got {show(item)}."
                    )
                )
                continue
        first = seen.setdefault(item, index)
        if first != index:
            problems.append(
                SubmissionProblem(
                    at(where, index, 0),
                    f"Expected each item once, got {show(item)} again, after {at(where, first)}.",
                )
            )
        elif number is not None:
            values[item] = number
    missing = [] if names is None else [item for item in names if item not in seen]
    if names is not None and missing:
        problems.append(
            SubmissionProblem(
                where,
                f"Expected all {len(names)} {what}; {len(missing)} are missing: "
                f"{list_some(missing)}.",
            )
        )
    return problems, values


def _spelled(item: str, level: Level | None) -> str:
    """Return a name in our spelling; text that is not a name stays as it is."""
    try:
        return str(parse_edge(item) if level == "edge" else parse_node(item))
    except ValueError:
        return item


def _finite(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None

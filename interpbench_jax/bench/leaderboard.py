"""The leaderboard: a folder's submissions and benchmarks, scored against the truth and ranked."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from interpbench_jax.bench.problems import SubmissionProblem
from interpbench_jax.bench.shards import Shard
from interpbench_jax.bench.submission import (
    CaseScores,
    CaseTruth,
    Submission,
    read_submission,
)
from interpbench_jax.bench.table import RESULTS_FILE, read_results
from interpbench_jax.bench.tiers import known_circuits
from interpbench_jax.names import Level
from interpbench_jax.report.bench import (
    RANKED,
    MethodSummary,
    case_matrix,
    leaderboard,
    leaderboard_grid,
    matrix_grid,
)
from interpbench_jax.report.grids import Grid, as_markdown
from interpbench_jax.report.groups import group_grids
from interpbench_jax.report.rows import LEVELS, ResultRow, ScoreRow
from interpbench_jax.scores import PAPER_UNIVERSE, paper_auc, paper_curve, rank_scores
from interpbench_jax.universes import UNIVERSES

_SHOWN = 3

# The content of a file: its scores, its problems, and the submission if it is a valid one.
FileContent = tuple[Sequence[ResultRow], Sequence[SubmissionProblem], Submission | None]


@dataclass(frozen=True)
class BoardFile:
    """One file of a leaderboard's folder.

    Attributes:
        name: the file's path, relative to the folder.
        problems: the problems found in it, including warnings.
        submission: the submission in it; None for a benchmark or an invalid file.
        method: the method's name on the board, for a submission; empty if there is none.
    """

    name: str
    problems: tuple[SubmissionProblem, ...]
    submission: Submission | None = None
    method: str = ""

    @property
    def is_valid(self) -> bool:
        """Whether the file is ranked."""
        return not any(problem.is_error for problem in self.problems)


@dataclass(frozen=True)
class Board:
    """A folder's methods, ranked.

    Attributes:
        rows: every result; a method name that an earlier file uses is followed by the file's name.
        sources: every file that was read, valid or not: submissions, then benchmarks.
    """

    rows: tuple[ResultRow, ...]
    sources: tuple[BoardFile, ...]

    @property
    def invalid(self) -> tuple[BoardFile, ...]:
        """The files that are not ranked."""
        return tuple(source for source in self.sources if not source.is_valid)

    def entries(self, level: Level = "edge") -> tuple[MethodSummary, ...]:
        """Return the methods, best first (`interpbench_jax.report.bench.leaderboard`)."""
        return leaderboard(self.rows, level)


def read_board(folder: Path | str, truths: Mapping[str, CaseTruth]) -> Board:
    """Score every submission (`*.json`) and every benchmark in a folder.

    A benchmark is a folder with `results.parquet`: the given one, or one directly in it. Its
    areas are taken as it measured them. A shard is none: its rows are in the joined benchmark.
    Unreadable files are listed as invalid sources.

    Args:
        folder: the folder.
        truths: the truths that submissions are scored against, by case.

    Raises:
        FileNotFoundError: if there is no such folder, or neither submission nor benchmark in it.
        ImportError: if jsonschema or pyarrow is needed and not installed.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"Expected a folder of submissions at {folder}, found none.")
    submissions = sorted(path for path in folder.glob("*.json") if path.is_file())
    benchmarks = sorted(
        path
        for path in folder.glob(f"*/{RESULTS_FILE}")
        if Shard.of_folder(path.parent.name) is None
    )
    benchmarks += [folder / RESULTS_FILE] if (folder / RESULTS_FILE).is_file() else []
    if not submissions and not benchmarks:
        raise FileNotFoundError(
            f"Expected submissions (*.json) or benchmarks ({RESULTS_FILE}) in {folder}, found "
            "neither."
        )
    read = [(path, *_read_submission(path, truths)) for path in submissions]
    read += [(path, *_read_benchmark(path, truths)) for path in benchmarks]
    rows: list[ResultRow] = []
    sources = []
    for path, own, problems, submission in read:
        name = path.relative_to(folder).as_posix()
        renamed = _renamed(own, rows, name.removesuffix(f"/{RESULTS_FILE}"))
        rows += renamed
        method = renamed[0].method if renamed and submission is not None else ""
        sources.append(BoardFile(name, tuple(problems), submission, method))
    return Board(tuple(rows), tuple(sources))


def score_submission(
    submission: Submission, truths: Mapping[str, CaseTruth]
) -> tuple[ResultRow, ...]:
    """Score a submission in its universe and in every coarser one.

    Each row has the ROC-AUC, the average precision and, for edges, InterpBench's own area, all of
    which follow from the scores alone.

    Raises:
        KeyError: if the truth of a case is not given.
    """
    return tuple(
        row for case in submission.cases for row in _score(submission.method, case, truths)
    )


def board_grids(board: Board) -> tuple[Grid, ...]:
    """Return the leaderboard by level, edges by tier and by case, and the files' problems."""
    grids = []
    for level in LEVELS:
        entries = board.entries(level)
        if not entries:
            continue
        grids.append(leaderboard_grid(entries, level))
        if level == "edge":
            grids += [
                *group_grids(board.rows, known_circuits()),
                matrix_grid(case_matrix(board.rows, RANKED)),
            ]
    return (*grids, *file_grids(board))


def file_grids(board: Board) -> tuple[Grid, ...]:
    """Return what is known about the submissions, and the problems of files, if there are any."""
    grids = []
    told = [
        (source.name, own.method, ", ".join(own.authors), own.url)
        for source in board.sources
        if (own := source.submission) is not None
    ]
    if told:
        headers = ("file", "method", "authors", "url")
        grids.append(Grid("Submissions", headers, tuple(told), n_left=4))
    problems = [
        (source.name, "yes" if source.is_valid else "no", *cells)
        for source in board.sources
        for cells in _first_problems(source)
    ]
    if problems:
        headers = ("file", "ranked", "where", "what")
        grids.append(Grid("Problems", headers, tuple(problems), n_left=4))
    return tuple(grids)


def board_scores(board: Board, truths: Mapping[str, CaseTruth]) -> list[ScoreRow]:
    """Return the scores of every submission's edges, as far as they are of the finest universe.

    Args:
        board: the board.
        truths: the truths that the submissions were scored against, by case.
    """
    return [
        ScoreRow(
            case=case.case,
            method=source.method,
            ablation="",
            seed=0,
            level=case.level,
            item=str(edge),
            value=float(value),
            truth=truth,
        )
        for source in board.sources
        if source.submission is not None
        for case in source.submission.cases
        if (case.universe, case.level) == (UNIVERSES[0], "edge")
        for (edge, truth), value in zip(
            truths[case.case].circuit.edge_truths(case.universe).items(), case.scores, strict=True
        )
    ]


def board_markdown(board: Board) -> str:
    """Return the leaderboard as Markdown."""
    return "\n".join(["# Leaderboard\n", *map(as_markdown, board_grids(board))])


def board_as_json(board: Board) -> dict[str, object]:
    """Return the leaderboard as plain JSON values."""
    return {
        **{f"{level}s": [asdict(entry) for entry in board.entries(level)] for level in LEVELS},
        "files": [
            {
                "name": source.name,
                "is_valid": source.is_valid,
                "problems": [asdict(problem) for problem in source.problems],
                "method": None if own is None else own.method,
                "authors": [] if own is None else list(own.authors),
                "url": "" if own is None else own.url,
                "description": "" if own is None else own.description,
            }
            for source in board.sources
            for own in (source.submission,)
        ],
    }


def _read_submission(path: Path, truths: Mapping[str, CaseTruth]) -> FileContent:
    try:
        checked = read_submission(path, truths)
    except (OSError, ValueError) as error:
        return (), [SubmissionProblem("", str(error).removeprefix(f"{path}: "))], None
    if checked.submission is None:
        return (), checked.problems, None
    return score_submission(checked.submission, truths), checked.problems, checked.submission


def _read_benchmark(path: Path, truths: Mapping[str, CaseTruth]) -> FileContent:
    try:
        rows = read_results(path)
    except (OSError, ValueError) as error:
        return (), [SubmissionProblem("", str(error).removeprefix(f"{path}: "))], None
    others = [
        row.case
        for row in rows
        if row.case not in truths or row.model_digest != truths[row.case].model_digest
    ]
    if not others:
        return rows, (), None
    cases = ", ".join(dict.fromkeys(others))
    told = f"Expected the packaged models, got others in cases {cases}: areas may be incomparable."
    return rows, [SubmissionProblem("model_digest", told, is_error=False)], None


def _renamed(
    rows: Sequence[ResultRow], before: Sequence[ResultRow], source: str
) -> list[ResultRow]:
    """Append the source to the names of methods that an earlier source uses."""
    taken = {row.method for row in before}
    return [
        replace(row, method=f"{row.method} [{source}]") if row.method in taken else row
        for row in rows
    ]


def _score(method: str, case: CaseScores, truths: Mapping[str, CaseTruth]) -> list[ResultRow]:
    truth = truths[case.case]
    ranks = rank_scores(case.scores, truth.circuit, case.universe, case.level, absolute=False)
    area = _paper_area(case, truth)
    return [
        replace(
            ResultRow.of_rank(
                rank,
                case=case.case,
                tier=truth.tier,
                method=method,
                truth=truth.name,
                model_digest=case.model_digest,
            ),
            paper_auc=area if rank.universe == PAPER_UNIVERSE else None,
        )
        for rank in ranks
        if rank.level == case.level
    ]


def _paper_area(case: CaseScores, truth: CaseTruth) -> float | None:
    """Return InterpBench's own area; None for nodes, and for universes that are too coarse."""
    is_fine = UNIVERSES.index(case.universe) <= UNIVERSES.index(PAPER_UNIVERSE)
    if case.level != "edge" or not is_fine:
        return None
    return paper_auc(paper_curve(case.scores, truth.circuit, case.universe, absolute=False), "edge")


def _first_problems(source: BoardFile) -> list[tuple[str, str]]:
    """Return the first errors of a file, or its first warnings if it has no errors."""
    errors = [problem for problem in source.problems if problem.is_error]
    chosen = errors or list(source.problems)
    cells = [(problem.path or "the file", problem.message) for problem in chosen[:_SHOWN]]
    more = len(chosen) - len(cells)
    return cells + ([("", f"and {more} more")] if more > 0 else [])

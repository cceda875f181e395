"""How the runs of a benchmark went, as tables: where the time went, and what failed."""

from collections.abc import Sequence
from dataclasses import dataclass

from interpbench_jax.report.grids import Grid, number


@dataclass(frozen=True)
class MethodTime:
    """What a method took, over all its runs, those of earlier calls too.

    Attributes:
        method: its name.
        runs: how many.
        seconds: of the method, without compilation.
        compile_seconds: of its programs: tracing, lowering, compiling or loading from a cache.
        scoring_seconds: of scoring what it found, compilation included.
    """

    method: str
    runs: int
    seconds: float
    compile_seconds: float
    scoring_seconds: float

    @property
    def total(self) -> float:
        """All of it."""
        return self.seconds + self.compile_seconds + self.scoring_seconds


def times_grid(times: Sequence[MethodTime]) -> Grid:
    """Where a benchmark's time went, by method, the longest first, and for all of them."""
    times = sorted(times, key=lambda each: -each.total)
    every = MethodTime(
        "all",
        sum(each.runs for each in times),
        sum((each.seconds for each in times), 0.0),
        sum((each.compile_seconds for each in times), 0.0),
        sum((each.scoring_seconds for each in times), 0.0),
    )
    rows = [
        (
            each.method,
            str(each.runs),
            number(each.seconds, 1),
            number(each.compile_seconds, 1),
            number(each.scoring_seconds, 1),
            f"{100 * each.total / every.total if every.total else 0:.0f} %",
        )
        for each in (*times, every)
    ]
    return Grid(
        "Where the time went, in seconds",
        ("method", "runs", "running", "compiling", "scoring", "share"),
        tuple(rows),
        "Runs of earlier calls count as they were measured then. Methods of one case share "
        "programs: the first to need one compiles it.",
    )


def failures_grid(failures: Sequence[tuple[str, str]]) -> Grid:
    """What failed: each run in words, with its error."""
    return Grid("Failed", ("run", "error"), tuple(failures), n_left=2)

"""The `bench` command, which benchmarks discovery methods on cases."""

import dataclasses
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, cast

import typer

from interpbench_jax.cli.compile_cache import NoCacheOption, use_cache
from interpbench_jax.cli.console import (
    EVERY_CASE,
    PACKAGED,
    Exit,
    JsonOption,
    ReleaseOption,
    RepoOption,
    RevisionOption,
    choose_cases,
    load,
    print_json,
    stoppable,
)
from interpbench_jax.cli.terminal import has_escapes, say, show_all, terminal
from interpbench_jax.storage import make_folder
from interpbench_jax.texts import count

if TYPE_CHECKING:
    from interpbench_jax.bench.plan import BenchSettings
    from interpbench_jax.bench.run import BenchOutcome, Status
    from interpbench_jax.names import AblationName
    from interpbench_jax.report.rows import CurveRow, ResultRow, ScoreRow

MARKDOWN_FILE = "results.md"
PLOTS_FOLDER = "plots"
_LINE_EVERY_SECONDS = 15.0

MethodsOption = Annotated[
    str | None,
    typer.Option(
        "--methods",
        "--method",
        metavar="eap,acdc,...",
        help="Methods by name, or package.module:function for a custom one.",
        show_default="all",
    ),
]
OrdersOption = Annotated[
    int,
    typer.Option(
        min=1,
        help="Number of edge orders to run, for methods whose result depends on the order: the "
        "method's own first, then random ones.",
    ),
]
AblationsOption = Annotated[
    str,
    typer.Option(
        metavar="resample,...",
        help="What replaces a node's output: resample, mean, zero, optimal.",
    ),
]


def bench(
    output: Annotated[
        Path,
        typer.Option("-o", "--output", metavar="DIR", help="Results folder.", show_default=False),
    ],
    cases: Annotated[
        str,
        typer.Option(metavar="3,11,...", help="Case ids or folders; 'all': packaged RASP cases."),
    ] = EVERY_CASE,
    release: ReleaseOption = "1.0.0",
    methods: MethodsOption = None,
    seeds: Annotated[
        str,
        typer.Option(
            metavar="0,1,...", help="Random seeds for sampling inputs and for the methods."
        ),
    ] = "0",
    orders: OrdersOption = 8,
    ablations: AblationsOption = "resample",
    n: Annotated[
        int | None,
        typer.Option(
            "--n",
            help="Number of input pairs.",
            min=1,
            max=1_000_000,
            show_default="1000, or 100 for a language task",
        ),
    ] = None,
    truth: Annotated[
        Literal["complete", "upstream"],
        typer.Option(help="Score against all edges that the program uses, or upstream's list."),
    ] = "complete",
    plots: Annotated[bool, typer.Option("--plots/--no-plots", help="Draw plots.")] = True,
    repo: RepoOption = PACKAGED,
    revision: RevisionOption = None,
    as_json: JsonOption = False,
    no_cache: NoCacheOption = False,
) -> None:
    """Run discovery methods on cases and score them against the known circuits.

    Writes results.parquet, scores.parquet, curves.parquet, results.md and plots;
    `interpbench report DIR` makes a page of them. Finished runs are stored in
    DIR/parts, so that the same command resumes an interrupted benchmark. A failed
    run does not stop the others; the exit code is then 1.
    """
    names = choose_cases(_split(cases, "--cases"), release)
    wanted_seeds = _numbers(seeds, "--seeds")
    use_cache(no_cache)
    from interpbench_jax.bench.parts import PARTS_FOLDER
    from interpbench_jax.bench.plan import BenchSettings, choose_methods
    from interpbench_jax.bench.run import run_bench
    from interpbench_jax.bench.table import write_tables
    from interpbench_jax.discovery import METHODS

    settings = BenchSettings(
        methods=choose_methods(_split(methods, "--methods") if methods else list(METHODS)),
        ablations=cast("tuple[AblationName, ...]", tuple(_split(ablations, "--ablations"))),
        seeds=wanted_seeds,
        n_inputs=n,
        orders=orders,
        truth=truth,
    )
    loaded = [load(name, repo, revision) for name in names]
    make_folder(output)
    started = time.perf_counter()
    earlier = _read_earlier(output)
    kept = f"Finished runs are in {output / PARTS_FOLDER}; run the same command to resume."
    with stoppable(lambda: kept), _progress() as report:
        outcome = run_bench(loaded, settings, output, report)
    outcome = _with_earlier(outcome, *earlier)
    seconds = time.perf_counter() - started
    if outcome.results:
        write_tables(output, outcome.results, outcome.scores, outcome.curves)
        _write_report(output, outcome, settings, plots)
    if as_json:
        print_json(_as_json(output, outcome, seconds))
    else:
        _print(output, outcome, seconds)
    raise typer.Exit(Exit.CHECK_FAILED if outcome.failures else Exit.DONE)


def _read_earlier(folder: Path) -> "tuple[list[ResultRow], list[ScoreRow], list[CurveRow]]":
    """Read the rows that earlier calls wrote to a folder.

    Raises:
        ValueError: if a file is damaged.
    """
    from interpbench_jax.bench.parts import PARTS_FOLDER
    from interpbench_jax.bench.table import (
        CURVES_FILE,
        RESULTS_FILE,
        SCORES_FILE,
        read_curves,
        read_results,
        read_scores,
    )

    try:
        results = read_results(folder) if (folder / RESULTS_FILE).exists() else []
        scores = read_scores(folder) if (folder / SCORES_FILE).exists() else []
        curves = read_curves(folder)
    except ValueError as error:
        raise ValueError(
            f"{error} Delete {RESULTS_FILE}, {SCORES_FILE} and {CURVES_FILE} to continue without "
            f"their rows; finished runs are read from {PARTS_FOLDER}."
        ) from None
    return results, scores, curves


def _with_earlier(
    outcome: "BenchOutcome",
    results: "list[ResultRow]",
    scores: "list[ScoreRow]",
    curves: "list[CurveRow]",
) -> "BenchOutcome":
    """Add the rows of earlier calls to an outcome, apart from runs that are also in it."""

    def run(row: "ResultRow | ScoreRow | CurveRow") -> tuple[object, ...]:
        return (row.case, row.method, row.ablation, row.seed, row.order)

    done = {run(row) for row in outcome.results}
    others = [row for row in results if run(row) not in done]
    if others:
        n_runs = len({run(row) for row in others})
        say(f"The rows of {count(n_runs, 'run')} from earlier calls are kept.", stderr=True)
    return dataclasses.replace(
        outcome,
        results=(*outcome.results, *others),
        scores=(*outcome.scores, *(row for row in scores if run(row) not in done)),
        curves=(*outcome.curves, *(row for row in curves if run(row) not in done)),
    )


def _split(text: str, option: str) -> list[str]:
    parts = list(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    if not parts:
        raise ValueError(f"Expected {option} to be comma-separated names, got {text!r}.")
    return parts


def _numbers(text: str, option: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in _split(text, option))
    except ValueError:
        raise ValueError(
            f"Expected {option} to be comma-separated numbers, such as 0,1; got {text!r}."
        ) from None


def _write_report(
    folder: Path, outcome: "BenchOutcome", settings: "BenchSettings", plots: bool
) -> None:
    """Write the Markdown and the plots."""
    from interpbench_jax.bench.tiers import known_circuits
    from interpbench_jax.bench.times import failures_grid
    from interpbench_jax.report.grids import as_markdown
    from interpbench_jax.report.results import results_markdown
    from interpbench_jax.storage import write_file

    text = results_markdown(outcome.results, known_circuits())
    if outcome.failures:
        text += "\n" + as_markdown(failures_grid(_failed(outcome)))
    write_file(folder / MARKDOWN_FILE, text)
    if not plots:
        return
    from interpbench_jax.report.plots import write_plots

    ran = {row.ablation for row in outcome.results}
    for ablation in settings.ablations:
        if ablation in ran:
            inner = [ablation] if len(settings.ablations) > 1 else []
            where = folder.joinpath(PLOTS_FOLDER, *inner)
            write_plots(outcome.results, outcome.scores, where, ablation=ablation)


def _print(folder: Path, outcome: "BenchOutcome", seconds: float) -> None:
    from interpbench_jax.bench.tiers import known_circuits
    from interpbench_jax.bench.times import failures_grid, times_grid
    from interpbench_jax.report.bench import leaderboard, leaderboard_grid
    from interpbench_jax.report.grids import as_rich
    from interpbench_jax.report.groups import group_grids

    entries = leaderboard(outcome.results)
    grids = (
        [leaderboard_grid(entries), *group_grids(outcome.results, known_circuits())]
        if entries
        else []
    )
    grids.append(times_grid(outcome.times))
    if outcome.failures:
        grids.append(failures_grid(_failed(outcome)))
    show_all(map(as_rich, grids))
    kept = f", {outcome.n_kept} of them finished earlier" if outcome.n_kept else ""
    where = f" Written to {folder}." if outcome.results else ""
    say(f"{outcome.n_runs} runs in {seconds:.0f} s{kept}; {len(outcome.failures)} failed.{where}")


def _failed(outcome: "BenchOutcome") -> list[tuple[str, str]]:
    return [(str(failure.run), failure.message) for failure in outcome.failures]


def _as_json(folder: Path, outcome: "BenchOutcome", seconds: float) -> dict[str, object]:
    from interpbench_jax.report.bench import leaderboard

    total = sum(each.total for each in outcome.times) or 1.0
    return {
        "folder": str(folder),
        "runs": outcome.n_runs,
        "kept": outcome.n_kept,
        "seconds": seconds,
        "failures": [{"run": run, "message": message} for run, message in _failed(outcome)],
        "times": [
            {
                "method": each.method,
                "runs": each.runs,
                "seconds": each.seconds,
                "compile_seconds": each.compile_seconds,
                "scoring_seconds": each.scoring_seconds,
                "share": each.total / total,
            }
            for each in outcome.times
        ],
        "leaderboard": [
            {
                "method": entry.method,
                "ablation": entry.ablation,
                "cases": entry.n_cases,
                "head_no_embed": entry.head_no_embed and entry.head_no_embed.mean,
                "head": entry.head and entry.head.mean,
                "average_precision": entry.average_precision,
                "paper_auc": entry.paper_auc,
                "cpr": entry.cpr,
                "cmd": entry.cmd,
                "seconds": entry.seconds,
                "spread": entry.spread and entry.spread.mean,
                "paper_spread": entry.paper_spread and entry.paper_spread.mean,
            }
            for entry in leaderboard(outcome.results)
        ],
    }


@contextmanager
def _progress() -> "Iterator[Callable[[Status], None]]":
    """Show progress on standard error: a bar on a terminal, occasional lines elsewhere."""
    if not has_escapes(stderr=True):
        yield _Lines()
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[left]}"),
    )
    with Progress(*columns, console=terminal(stderr=True), transient=True) as bar:
        task = bar.add_task("starting", total=None, left="")

        def report(status: "Status") -> None:
            bar.update(
                task,
                description=str(status.run or "done"),
                completed=status.done,
                total=status.total,
                left=_left(status),
            )

        yield report


class _Lines:
    """Callback that prints the progress, at most once in `_LINE_EVERY_SECONDS`."""

    def __init__(self) -> None:
        self._last = time.perf_counter()

    def __call__(self, status: "Status") -> None:
        if time.perf_counter() - self._last >= _LINE_EVERY_SECONDS:
            self._last = time.perf_counter()
            line = f"{status.done} of {status.total} runs done; {status.run or 'done'}"
            say(f"{line}; {_left(status)}", stderr=True)


def _left(status: "Status") -> str:
    seconds = status.seconds_left
    if seconds is None:
        return "time left unknown"
    minutes, rest = divmod(round(seconds), 60)
    return f"about {minutes}:{rest:02d} left"

"""What the `bench` command writes and prints, of one machine's runs or of joined shards."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from interpbench_jax.cli.console import print_json
from interpbench_jax.cli.terminal import say, show_all
from interpbench_jax.texts import count

if TYPE_CHECKING:
    from interpbench_jax.bench.outcome import BenchOutcome
    from interpbench_jax.names import AblationName
    from interpbench_jax.report.rows import CurveRow, ResultRow, ScoreRow

    EarlierRows = tuple[list[ResultRow], list[ScoreRow], list[CurveRow]]

MARKDOWN_FILE = "results.md"
PLOTS_FOLDER = "plots"


def read_earlier(folder: Path) -> "EarlierRows":
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


def finish_bench(
    folder: Path,
    outcome: "BenchOutcome",
    earlier: "EarlierRows",
    ablations: "Sequence[AblationName]",
    *,
    plots: bool,
    as_json: bool,
    seconds: float,
) -> None:
    """Write the tables, the Markdown and the plots of a benchmark, and print it.

    Args:
        folder: the folder of the benchmark.
        outcome: the outcome of all runs.
        earlier: the rows that were in the folder, of which those of other runs are kept.
        ablations: the ablations that were asked for; if there are several, each has its own plots.
        plots: whether to draw plots.
        as_json: whether to print JSON.
        seconds: the time that it took.
    """
    from interpbench_jax.bench.table import write_tables

    outcome = _with_earlier(outcome, *earlier)
    if outcome.results:
        write_tables(folder, outcome.results, outcome.scores, outcome.curves)
        _write_report(folder, outcome, ablations, plots)
    if as_json:
        print_json(_as_json(folder, outcome, seconds))
    else:
        _print(folder, outcome, seconds)


def _with_earlier(
    outcome: "BenchOutcome",
    results: "Sequence[ResultRow]",
    scores: "Sequence[ScoreRow]",
    curves: "Sequence[CurveRow]",
) -> "BenchOutcome":
    """Add the rows of earlier calls to an outcome, apart from runs that are also in it.

    All rows are sorted as in the tables, so that a report does not depend, in the last digit of a
    mean, on which call or which machine made a row.
    """

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
    ).sorted_as_tables()


def _write_report(
    folder: Path, outcome: "BenchOutcome", ablations: "Sequence[AblationName]", plots: bool
) -> None:
    """Write the Markdown and the plots."""
    from interpbench_jax.bench.tiers import known_circuits
    from interpbench_jax.bench.times import failures_grid
    from interpbench_jax.report.grids import as_markdown
    from interpbench_jax.report.results import results_markdown
    from interpbench_jax.storage import write_file

    text = results_markdown(outcome.results, known_circuits())
    if outcome.failures:
        text += "\n" + as_markdown(failures_grid(failed_runs(outcome)))
    write_file(folder / MARKDOWN_FILE, text)
    if not plots:
        return
    from interpbench_jax.report.plots import write_plots

    ran = {row.ablation for row in outcome.results}
    for ablation in ablations:
        if ablation in ran:
            inner = [ablation] if len(ablations) > 1 else []
            where = folder.joinpath(PLOTS_FOLDER, *inner)
            write_plots(outcome.results, outcome.scores, where, ablation=ablation)


def _print(folder: Path, outcome: "BenchOutcome", seconds: float) -> None:
    from interpbench_jax.bench.tiers import known_circuits
    from interpbench_jax.bench.times import failures_grid, times_grid
    from interpbench_jax.report.bench import leaderboard, leaderboard_grid
    from interpbench_jax.report.grids import as_rich
    from interpbench_jax.report.groups import group_grids

    entries = leaderboard(outcome.results)
    grids = [leaderboard_grid(entries)] if entries else []
    grids += group_grids(outcome.results, known_circuits())
    grids.append(times_grid(outcome.times))
    if outcome.failures:
        grids.append(failures_grid(failed_runs(outcome)))
    show_all(map(as_rich, grids))
    where = f" Written to {folder}." if outcome.results else ""
    say(f"{summary(outcome, seconds)}{where}")


def summary(outcome: "BenchOutcome", seconds: float) -> str:
    """Say in one sentence how many runs there were, and how they went."""
    kept = f", {outcome.n_kept} of them finished earlier" if outcome.n_kept else ""
    return f"{outcome.n_runs} runs in {seconds:.0f} s{kept}; {len(outcome.failures)} failed."


def failed_runs(outcome: "BenchOutcome") -> list[tuple[str, str]]:
    """Return each run that raised an error, with the error."""
    return [(str(failure.run), failure.message) for failure in outcome.failures]


def runs_as_json(folder: Path, outcome: "BenchOutcome", seconds: float) -> dict[str, object]:
    """Return how the runs went as plain JSON values."""
    total = sum(each.total for each in outcome.times) or 1.0
    return {
        "folder": str(folder),
        "runs": outcome.n_runs,
        "kept": outcome.n_kept,
        "seconds": seconds,
        "failures": [{"run": run, "message": message} for run, message in failed_runs(outcome)],
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
    }


def _as_json(folder: Path, outcome: "BenchOutcome", seconds: float) -> dict[str, object]:
    from interpbench_jax.report.bench import leaderboard

    return {
        **runs_as_json(folder, outcome, seconds),
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

"""Commands on what benchmarks and submissions gave: compare, validate, leaderboard, submit."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import Console

from interpbench_jax.cli.console import Exit, JsonOption, main_cases, print_json

if TYPE_CHECKING:
    from collections.abc import Iterable

    from interpbench_jax.bench import CaseTruth
    from interpbench_jax.report.grids import Grid


Universe = Literal["qkv", "qkv-merged", "head", "head-no-embed"]
Level = Literal["edge", "node"]

LevelOption = Annotated[Level, typer.Option("--level", help="Whose scores.")]


def compare(
    first: Annotated[
        Path, typer.Argument(metavar="A", help="A benchmark's folder.", show_default=False)
    ],
    second: Annotated[
        Path, typer.Argument(metavar="B", help="The one after it.", show_default=False)
    ],
    universe: Annotated[
        Universe, typer.Option("--universe", help="In which ROC-AUC is compared.")
    ] = "head-no-embed",
    level: LevelOption = "edge",
    as_json: JsonOption = False,
) -> None:
    """Compare two benchmarks: B minus A, by method and by case, with tests over cases."""
    from interpbench_jax.bench.compare import compare_results as compare_tables
    from interpbench_jax.bench.compare import comparison_as_json, comparison_grids
    from interpbench_jax.bench.table import read_results

    tables = read_results(first), read_results(second)
    comparison = compare_tables(*tables, universe=universe, level=level)
    if as_json:
        print_json(comparison_as_json(comparison))
        return
    console = Console()
    _print_grids(console, comparison_grids(comparison))
    for text in comparison.mismatches:
        console.print(f"Not the same: {text}.", markup=False, highlight=False)
    for where, runs in ((first, comparison.only_first), (second, comparison.only_second)):
        if runs:
            shown = ", ".join("/".join(part for part in run if part) for run in runs[:8])
            more = f" and {len(runs) - 8} more" if len(runs) > 8 else ""
            text = f"Only in {where}: {len(runs)} runs: {shown}{more}."
            console.print(text, markup=False, highlight=False)
    if comparison.is_same:
        console.print("Every area is the same.")


def validate(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="A submission, JSON.", show_default=False)
    ],
    as_json: JsonOption = False,
) -> None:
    """Say everything that is wrong with a submission, and where; exits with 1 if it is invalid."""
    from interpbench_jax.bench.submission import read_submission
    from interpbench_jax.report.grids import plain

    checked = read_submission(file, _truths())
    if as_json:
        problems = [asdict(problem) for problem in checked.problems]
        print_json({"is_valid": checked.submission is not None, "problems": problems})
    else:
        console = Console(soft_wrap=True)
        for problem in checked.problems:
            console.print(plain(str(problem)), markup=False, highlight=False)
        if checked.submission is None:
            verdict = f"not valid: {len(checked.errors)} problems"
        else:
            own = checked.submission
            verdict = f"valid: {plain(own.method)}, {len(own.cases)} sets of scores"
        console.print(f"{file}: {verdict}.", markup=False, highlight=False)
    raise typer.Exit(Exit.DONE if checked.submission is not None else Exit.CHECK_FAILED)


def leaderboard(
    folder: Annotated[
        Path,
        typer.Argument(
            metavar="DIR", help="Submissions and benchmarks' folders.", show_default=False
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="FILE", help="Write it as Markdown too."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Score the submissions of a folder and rank them; exits with 1 if a file of it is invalid."""
    from interpbench_jax.bench.leaderboard import (
        board_as_json,
        board_grids,
        board_markdown,
        read_board,
    )
    from interpbench_jax.weights import write_atomically

    board = read_board(folder, _truths())
    if output is not None:
        write_atomically(output, board_markdown(board))
    if as_json:
        print_json(board_as_json(board))
    else:
        _print_grids(Console(), board_grids(board))
    raise typer.Exit(Exit.CHECK_FAILED if board.invalid else Exit.DONE)


def submit(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="A benchmark's folder.", show_default=False)
    ],
    method: Annotated[str, typer.Option("--method", help="Which method.", show_default=False)],
    author: Annotated[
        list[str], typer.Option("--author", help="Who submits; repeatable.", show_default=False)
    ],
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="FILE", help="Where.", show_default=False)
    ],
    description: Annotated[str, typer.Option(help="What the method does.")] = "",
    url: Annotated[str, typer.Option(help="Of a paper or a repository.")] = "",
    ablation: Annotated[
        str | None, typer.Option(help="Which run; needed where there are several.")
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="Which run.", show_default="the lowest", min=0)
    ] = None,
    level: LevelOption = "edge",
    as_json: JsonOption = False,
) -> None:
    """Write one method of a benchmark as a submission; `validate` says whether it is complete."""
    from interpbench_jax.bench.export import export_submission
    from interpbench_jax.weights import write_atomically

    text = export_submission(
        folder,
        method,
        authors=author,
        description=description,
        url=url,
        ablation=ablation,
        seed=seed,
        level=level,
    )
    write_atomically(output, text)
    if as_json:
        print_json({"file": str(output), "method": method, "bytes": len(text.encode())})
        return
    Console().print(f"{output}: {method}.", markup=False, highlight=False)


def _truths() -> "dict[str, CaseTruth]":
    """What every case of the leaderboard is scored against."""
    from interpbench_jax.bench.submission import CaseTruth
    from interpbench_jax.loading import load_case

    return {case: CaseTruth.of(load_case(case)) for case in main_cases()}


def _print_grids(console: Console, grids: "Iterable[Grid]") -> None:
    from interpbench_jax.report.grids import as_rich

    for grid in grids:
        console.print(as_rich(grid))
        console.print()

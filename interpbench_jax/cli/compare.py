"""Commands for benchmark results and submissions: compare, validate, leaderboard, submit."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from interpbench_jax.cli.console import (
    EVERY_CASE,
    PACKAGED,
    CasesOption,
    Exit,
    JsonOption,
    ReleaseOption,
    check_file,
    choose_cases,
    load,
    print_json,
    split_names,
)
from interpbench_jax.cli.report import PAGE_SUFFIX, board_page
from interpbench_jax.cli.terminal import say, show_all
from interpbench_jax.names import Level, ReleaseName, UniverseName
from interpbench_jax.texts import count

if TYPE_CHECKING:
    from interpbench_jax.bench import CaseTruth


LevelOption = Annotated[
    Level, typer.Option("--level", help="Whether to use the scores of edges or of nodes.")
]


def compare(
    first: Annotated[
        Path,
        typer.Argument(metavar="A", help="Folder of the first benchmark.", show_default=False),
    ],
    second: Annotated[
        Path,
        typer.Argument(metavar="B", help="Folder of the second benchmark.", show_default=False),
    ],
    universe: Annotated[
        UniverseName,
        typer.Option("--universe", help="Edge universe in which ROC-AUC is compared."),
    ] = "head-no-embed",
    level: LevelOption = "edge",
    as_json: JsonOption = False,
) -> None:
    """Compare two benchmarks (B minus A) by method and by case, with significance tests."""
    from interpbench_jax.bench.compare import compare_results as compare_tables
    from interpbench_jax.bench.compare import comparison_as_json, comparison_grids
    from interpbench_jax.bench.table import read_results
    from interpbench_jax.report.grids import as_rich

    tables = read_results(first), read_results(second)
    comparison = compare_tables(*tables, universe=universe, level=level)
    if as_json:
        print_json(comparison_as_json(comparison))
        return
    show_all(map(as_rich, comparison_grids(comparison)))
    for text in comparison.mismatches:
        say(f"Mismatch: {text}.")
    for where, runs in ((first, comparison.only_first), (second, comparison.only_second)):
        if runs:
            shown = ", ".join("/".join(part for part in run if part) for run in runs[:8])
            more = f" and {len(runs) - 8} more" if len(runs) > 8 else ""
            say(f"Only in {where}: {count(len(runs), 'run')}: {shown}{more}.")
    if comparison.is_same:
        say("Both benchmarks have the same runs with the same areas.")


def validate(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="A submission (JSON).", show_default=False)
    ],
    cases: CasesOption = EVERY_CASE,
    release: ReleaseOption = "1.0.0",
    as_json: JsonOption = False,
) -> None:
    """Validate a submission and list every problem, with its place in the file.

    Exits with 1 if the submission is invalid, and with 2 if the file cannot be read.
    """
    from interpbench_jax.bench.submission import read_submission

    checked = read_submission(file, _truths(cases, release))
    if as_json:
        problems = [asdict(problem) for problem in checked.problems]
        print_json({"is_valid": checked.submission is not None, "problems": problems})
    else:
        for problem in checked.problems:
            say(str(problem))
        if checked.submission is None:
            verdict = f"not valid: {count(len(checked.errors), 'problem')}"
        else:
            own = checked.submission
            verdict = f"valid: {own.method}, {count(len(own.cases), 'set')} of scores"
        say(f"{file}: {verdict}.")
    raise typer.Exit(Exit.DONE if checked.submission is not None else Exit.CHECK_FAILED)


def leaderboard(
    folder: Annotated[
        Path,
        typer.Argument(
            metavar="DIR", help="Folder of submissions and benchmarks.", show_default=False
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            metavar="FILE",
            help="Also write Markdown to FILE, or a page if its name ends in .html.",
        ),
    ] = None,
    cases: CasesOption = EVERY_CASE,
    release: ReleaseOption = "1.0.0",
    as_json: JsonOption = False,
) -> None:
    """Score and rank a folder's submissions and benchmarks; exits with 1 if a file is invalid."""
    from interpbench_jax.bench.leaderboard import (
        board_as_json,
        board_grids,
        board_markdown,
        read_board,
    )
    from interpbench_jax.storage import write_file

    is_page = output is not None and output.suffix.lower() == PAGE_SUFFIX
    if output is not None:
        check_file(output)
    truths = _truths(cases, release)
    board = read_board(folder, truths)
    if output is not None:
        write_file(output, board_page(board, truths) if is_page else board_markdown(board))
    if as_json:
        print_json(board_as_json(board))
    else:
        from interpbench_jax.report.grids import as_rich

        show_all(map(as_rich, board_grids(board)))
    raise typer.Exit(Exit.CHECK_FAILED if board.invalid else Exit.DONE)


def submit(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="A benchmark's folder.", show_default=False)
    ],
    method: Annotated[str, typer.Option("--method", help="Method to submit.", show_default=False)],
    author: Annotated[
        list[str],
        typer.Option("--author", help="Author of the submission; repeatable.", show_default=False),
    ],
    output: Annotated[
        Path,
        typer.Option("-o", "--output", metavar="FILE", help="File to write.", show_default=False),
    ],
    description: Annotated[str, typer.Option(help="What the method does.")] = "",
    url: Annotated[str, typer.Option(help="URL of a paper or a repository.")] = "",
    ablation: Annotated[
        str | None, typer.Option(help="Ablation of the run; required if there are several.")
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="Seed of the run.", show_default="the lowest", min=0)
    ] = None,
    level: LevelOption = "edge",
    cases: CasesOption = EVERY_CASE,
    release: ReleaseOption = "1.0.0",
    as_json: JsonOption = False,
) -> None:
    """Write one method's scores as a submission; refuses what `validate` would refuse."""
    from interpbench_jax.bench.export import export_submission
    from interpbench_jax.storage import write_file

    check_file(output)
    text = export_submission(
        folder,
        method,
        _truths(cases, release),
        authors=author,
        description=description,
        url=url,
        ablation=ablation,
        seed=seed,
        level=level,
    )
    write_file(output, text)
    if as_json:
        print_json({"file": str(output), "method": method, "bytes": len(text.encode())})
        return
    say(f"{output}: {method}.")


def _truths(cases: str, release: ReleaseName) -> "dict[str, CaseTruth]":
    """Return the truth that each case of the leaderboard is scored against."""
    from interpbench_jax.bench.submission import CaseTruth

    names = choose_cases(split_names(cases, "--cases"), release)
    loaded = [load(name, PACKAGED, None) for name in names]
    return {case.case_id: CaseTruth.of(case) for case in loaded}

"""The `report` command, which makes one HTML page of a benchmark."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from interpbench_jax.cli.console import JsonOption, check_file, print_json
from interpbench_jax.cli.terminal import say
from interpbench_jax.texts import count

if TYPE_CHECKING:
    from interpbench_jax.bench.leaderboard import Board
    from interpbench_jax.bench.submission import CaseTruth
    from interpbench_jax.report.grids import Grid
    from interpbench_jax.report.page import CaseText
    from interpbench_jax.report.rows import ResultRow

PAGE_SUFFIX = ".html"


def report(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="A benchmark's folder.", show_default=False)
    ],
    output: Annotated[
        Path,
        typer.Option(
            "-o", "--output", metavar="FILE.html", help="Page to write.", show_default=False
        ),
    ],
    as_json: JsonOption = False,
) -> None:
    """Make one HTML page of a benchmark: methods, cases, circuits, curves.

    The page needs no other file and no network. For a page of submissions, see
    `interpbench leaderboard -o FILE.html`.
    """
    check_page(output)
    from interpbench_jax.bench.table import (
        SCORES_FILE,
        read_curves,
        read_results,
        read_scores,
    )
    from interpbench_jax.report.page import report_html
    from interpbench_jax.storage import write_file

    results = read_results(folder)
    beside = folder if folder.is_dir() else folder.parent
    scores = read_scores(beside) if (beside / SCORES_FILE).exists() else []
    page = report_html(
        results,
        scores,
        read_curves(beside),
        texts=case_texts(results),
        grids=_groups(results),
    )
    write_file(output, page)
    told = {
        "file": str(output),
        "bytes": len(page.encode()),
        "cases": len({row.case for row in results}),
        "methods": len({row.method for row in results}),
    }
    if as_json:
        print_json(told)
        return
    cases, methods = count(told["cases"], "case"), count(told["methods"], "method")
    say(f"{output}: {methods} on {cases}, {told['bytes'] / 1e6:.1f} MB.")


def board_page(board: "Board", truths: "dict[str, CaseTruth]") -> str:
    """Return a leaderboard as a page."""
    from interpbench_jax.bench.leaderboard import board_scores, file_grids
    from interpbench_jax.report.page import report_html

    return report_html(
        board.rows,
        board_scores(board, truths),
        texts=case_texts(board.rows),
        title="InterpBench leaderboard",
        grids=[*_groups(board.rows), *file_grids(board)],
        # A submission may call itself anything.
        reference=None,
    )


def _groups(rows: "Sequence[ResultRow]") -> "list[Grid]":
    """Return the tables by tier and by distinct circuit, if there is anything in them."""
    from interpbench_jax.bench.tiers import known_circuits
    from interpbench_jax.report.groups import group_grids

    return group_grids(rows, known_circuits())


def check_page(output: Path) -> None:
    """Refuse a page that could not be written; create its folder.

    Raises:
        OSError: if it is a folder, or its own folder cannot be created.
        ValueError: if its name does not end in `.html`.
    """
    if output.suffix.lower() != PAGE_SUFFIX:
        raise ValueError(
            f"Expected a page to write whose name ends in {PAGE_SUFFIX}, got {output.name!r}."
        )
    check_file(output)


def case_texts(rows: "Sequence[ResultRow]") -> "dict[str, CaseText]":
    """Return what the declarations say about cases whose circuit is the declared one.

    A benchmark may have been run on other models under the same ids; their circuits differ.
    """
    from interpbench_jax.bench.plan import digest_circuit
    from interpbench_jax.cases import CASES
    from interpbench_jax.loading import load_case, packaged_cases
    from interpbench_jax.report.page import CaseText

    packaged, texts = packaged_cases(), {}
    for case, truth, digest in sorted({(row.case, row.truth, row.circuit_digest) for row in rows}):
        if case not in packaged or truth not in ("complete", "upstream"):
            continue
        # Submissions are scored against the packaged circuit, without a digest.
        if digest in ("", digest_circuit(load_case(case).truth(truth))):
            task = CASES[case]
            texts[case] = CaseText(task.description, task.program_text, task.note, task.releases)
    return texts

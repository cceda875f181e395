"""Commands for the published dataset: build, check, upload."""

from pathlib import Path
from typing import Annotated

import typer

from interpbench_jax.cli.console import Exit, JsonOption, print_json
from interpbench_jax.cli.terminal import say

app = typer.Typer(no_args_is_help=True, help="Build, check or upload the published dataset.")

FolderArgument = Annotated[
    Path | None,
    typer.Argument(
        metavar="[FOLDER]", help="The published folder.", show_default="the packaged one"
    ),
]


@app.command()
def build(folder: FolderArgument = None, as_json: JsonOption = False) -> None:
    """Write the tables, the card and the Croissant file; a folder with a card is complete."""
    from interpbench_dataset.builder import build as build_dataset
    from interpbench_dataset.loading import packaged_folder

    shown = None if as_json else lambda line: say(line, stderr=True)
    report = build_dataset(folder or packaged_folder(), progress=shown)
    if as_json:
        print_json(
            {
                "directory": str(report.directory),
                "written": len(report.written),
                "removed": len(report.removed),
                "rows": report.n_rows,
                "bytes": report.n_bytes,
            }
        )
        return
    say(
        f"{report.directory}: {report.n_rows:,} rows in {report.n_bytes:,} bytes; "
        f"{len(report.written)} files written, {len(report.removed)} removed."
    )


@app.command()
def check(folder: FolderArgument = None, as_json: JsonOption = False) -> None:
    """Compare a folder with the builder's output; exits with 1 if they differ."""
    from interpbench_dataset.builder import check as check_dataset
    from interpbench_dataset.loading import packaged_folder

    directory = folder or packaged_folder()
    problems = check_dataset(directory)
    failed = any(problem.is_error for problem in problems)
    if as_json:
        print_json({"passed": not failed, "problems": [str(problem) for problem in problems]})
    else:
        for problem in problems:
            say(str(problem))
        say(f"{directory}: {'FAILED' if failed else 'up to date'}.")
    raise typer.Exit(Exit.CHECK_FAILED if failed else Exit.DONE)


@app.command()
def upload(
    repo_id: Annotated[
        str,
        typer.Argument(
            help="Repository on the Hub, such as someone/interpbench.", show_default=False
        ),
    ],
    folder: FolderArgument = None,
) -> None:
    """Upload the folder to the Hub in one commit; authenticate with HF_TOKEN or `hf auth login`."""
    from interpbench_dataset.upload import upload as upload_dataset

    say(upload_dataset(repo_id, folder=folder))

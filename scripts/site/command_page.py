"""The page of the command line: what each `--help` says."""

import os

import typer
from typer.cli import get_docs_for_click
from typer.main import get_command

# Read when the commands are imported: help texts without rich's markup.
os.environ["NO_COLOR"] = "1"

INTRODUCTION = """
Each command prints tables for people, or JSON with `--json`. Exit codes: 0 done; 1 a check failed;
2 the arguments or the files are wrong; 3 the Hub could not be reached or refused the request; 130
interrupted.
"""


def command_page() -> str:
    """Return the Markdown of all commands."""
    from interpbench_jax.cli import app

    command = get_command(app)
    with typer.Context(command, info_name="interpbench") as context:
        text = get_docs_for_click(obj=command, ctx=context, name="interpbench", title="Commands")
    title, _, rest = text.partition("\n")
    return f"{title}\n{INTRODUCTION}{rest}"

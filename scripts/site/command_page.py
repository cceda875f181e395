"""The reference of the command line."""

import os

import typer
from typer.cli import get_docs_for_click
from typer.main import get_command

# Read when the commands are imported: help texts without rich's markup.
os.environ["NO_COLOR"] = "1"


def command_reference() -> str:
    """Return what each command's `--help` says, as Markdown."""
    from interpbench_jax.cli import app

    context = typer.Context(get_command(app), info_name="interpbench")
    text = get_docs_for_click(
        obj=context.command,
        ctx=context,  # pyright: ignore[reportArgumentType]
        name="interpbench",
    )
    # The commands' headings, without that of the whole.
    return text[text.index("\n## ") :]

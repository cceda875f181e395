"""The `interpbench` command: its subcommands, and how their errors end.

Exit codes: 0 done; 1 a check failed; 2 the arguments or the files are wrong; 3 the Hub could not
be reached or refused the request; 130 interrupted.
"""

import gc
import os
import sys
from typing import Annotated

import typer

from interpbench_jax.cli import (
    bench,
    cases,
    certify,
    compare,
    dataset,
    held_out,
    methods,
    report,
    show,
    sweeps,
    tasks,
    training,
    warmup,
)
from interpbench_jax.cli.console import ContextCommand, Exit
from interpbench_jax.cli.terminal import say
from interpbench_jax.version import __version__

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    # Without rich markup, help texts and usage errors contain no escapes.
    rich_markup_mode=None if os.environ.get("NO_COLOR") else "rich",
    pretty_exceptions_enable=False,
    help="Transformers with known circuits, in JAX: convert, inspect, patch, compare.",
)


def _print_version(asked: bool) -> bool:
    if asked:
        typer.echo(f"interpbench-jax {__version__}")
        raise typer.Exit()
    return asked


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    """Options of the command itself, given before any subcommand."""


app.command("list")(tasks.list_cases)
app.command()(show.show)
app.command()(tasks.sample)
app.command()(cases.convert)
app.command()(sweeps.sweep)
app.command()(cases.verify)
app.command()(training.train)
app.command()(certify.certify)
app.command()(methods.methods)
app.command(cls=ContextCommand)(bench.bench)
app.command()(report.report)
app.command()(compare.compare)
app.command()(compare.validate)
app.command()(compare.leaderboard)
app.command()(compare.submit)
app.command()(held_out.key)
app.command()(warmup.warmup)
app.add_typer(dataset.app, name="dataset")

# Importing JAX and tracing create many objects and hardly any garbage; with Python's default
# threshold, the collector scans them hundreds of times, a tenth of a short command's time.
_OBJECTS_BETWEEN_COLLECTIONS = 50_000
_MOST_CHARACTERS = 3_000


def main() -> None:
    """Run the command line; errors in the user's input end in a message, not a traceback."""
    if "jax" not in sys.modules:  # The process is ours alone.
        gc.set_threshold(_OBJECTS_BETWEEN_COLLECTIONS)
    try:
        app(prog_name="interpbench", standalone_mode=True)
    except KeyboardInterrupt:
        say("Stopped.", stderr=True)
        sys.exit(Exit.STOPPED)
    except MemoryError:
        say("Error: out of memory; use fewer inputs (--n) or lower --max-bytes.", stderr=True)
        sys.exit(Exit.BAD_INPUT)
    except (ValueError, OSError, ImportError) as error:
        from interpbench_conversion.hub import HubError
        from interpbench_dataset.upload import UploadError

        say(f"Error: {_message(error)}", stderr=True, style="red")
        sys.exit(Exit.HUB if isinstance(error, HubError | UploadError) else Exit.BAD_INPUT)


def _message(error: Exception) -> str:
    """Return an error's message without its errno; a very long message is truncated."""
    text = str(error)
    if isinstance(error, OSError) and error.strerror:
        text = error.strerror
        if error.filename is not None:
            text = f"{text}: {error.filename}"
    if len(text) > _MOST_CHARACTERS:
        text = f"{text[:_MOST_CHARACTERS]} ... ({len(text) - _MOST_CHARACTERS:,} characters more)"
    return text

"""Output of the commands: tables, sentences and progress, to a terminal, a pipe or a file.

Everything that a person reads goes through here, so that text from files is never interpreted as
markup or as terminal escapes. `NO_COLOR` in the environment turns off all escapes.
"""

import os
import sys
from collections.abc import Iterable

from rich.console import Console
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from interpbench_jax.texts import plain

# Lines are not wrapped when the output is not a terminal.
_WIDTH_OF_A_PIPE = 10_000


def has_escapes(stderr: bool = False) -> bool:
    """Whether the output may contain escapes, for colors and cursor movements."""
    stream = sys.stderr if stderr else sys.stdout
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def terminal(stderr: bool = False) -> Console:
    """Return a console for standard output or error, as wide as its terminal or `COLUMNS`."""
    stream = sys.stderr if stderr else sys.stdout
    is_narrow = stream.isatty() or os.environ.get("COLUMNS", "").isdigit()
    return Console(
        stderr=stderr,
        width=None if is_narrow else _WIDTH_OF_A_PIPE,
        color_system="auto" if has_escapes(stderr) else None,
        markup=False,
        highlight=False,
        emoji=False,
    )


def say(text: str, *, stderr: bool = False, style: str = "") -> None:
    """Print sentences without interpreting markup; control characters become spaces."""
    lines = "\n".join(map(plain, text.split("\n")))
    console = terminal(stderr)
    # Do not break a path across lines when another program reads the output.
    console.print(Text(lines, style=style), soft_wrap=not console.is_terminal)


def show(*parts: Table | Tree) -> None:
    """Print tables and trees, fitted to the terminal's width; elsewhere, without padding."""
    from interpbench_jax.report.fitting import FittedTable, clean_tree

    console = terminal()
    for part in parts:
        fitted = clean_tree(part) if isinstance(part, Tree) else FittedTable(part)
        if console.is_terminal:
            console.print(fitted)
            continue
        with console.capture() as captured:
            console.print(fitted)
        say("\n".join(line.rstrip() for line in captured.get().splitlines()))


def show_all(tables: Iterable[Table]) -> None:
    """Print tables with an empty line after each."""
    for table in tables:
        show(table)
        print()

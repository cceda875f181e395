"""What the commands print: tables, sentences and progress, to a terminal, a pipe or a file.

Everything that a person reads goes through here, so that text out of files is nowhere taken for
markup or for a terminal's commands. `NO_COLOR` in the environment means no escapes at all.
"""

import os
import sys
from collections.abc import Iterable

from rich.console import Console
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from interpbench_jax.texts import plain

# No line is wrapped where nobody looks at a screen.
_WIDTH_OF_A_PIPE = 10_000


def has_escapes(stderr: bool = False) -> bool:
    """Whether what is printed may move the cursor and be coloured."""
    stream = sys.stderr if stderr else sys.stdout
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def terminal(stderr: bool = False) -> Console:
    """Standard output, or standard error, as wide as its terminal or as `COLUMNS` says."""
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
    """Print sentences, as they are."""
    lines = "\n".join(map(plain, text.split("\n")))
    console = terminal(stderr)
    # A path is not cut in two where another program reads it.
    console.print(Text(lines, style=style), soft_wrap=not console.is_terminal)


def show(*parts: Table | Tree) -> None:
    """Print tables and trees, so that they can be read at this width."""
    from interpbench_jax.report.fitting import FittedTable, clean_tree

    console = terminal()
    for part in parts:
        console.print(clean_tree(part) if isinstance(part, Tree) else FittedTable(part))


def show_all(tables: Iterable[Table]) -> None:
    """Print tables with an empty line after each."""
    for table in tables:
        show(table)
        print()

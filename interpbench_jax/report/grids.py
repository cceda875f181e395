"""Tables of texts, for the terminal and for Markdown.

Texts may come from untrusted files: neither form interprets them as markup.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from rich.table import Table
from rich.text import Text

from interpbench_jax.texts import plain

_MARKDOWN = str.maketrans({each: f"\\{each}" for each in r"\`*_[]<>|#~$!&"})


@dataclass(frozen=True)
class Grid:
    """A table.

    Attributes:
        title: what the table shows.
        headers: one header per column.
        rows: the rows, each with one text per column; numbers are aligned to the right.
        note: how to read the table; empty if no explanation is needed.
        n_left: the number of columns, from the first, that hold words instead of numbers.
    """

    title: str
    headers: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""
    n_left: int = 1


def as_rich(grid: Grid) -> Table:
    """Return the table for the terminal."""
    table = Table(
        title=Text(plain(grid.title)),
        title_justify="left",
        caption=Text(plain(grid.note)) if grid.note else None,
        caption_justify="left",
        box=None,
        header_style="bold",
        padding=(0, 1, 0, 0),
    )
    for index, header in enumerate(grid.headers):
        is_left = index < grid.n_left
        table.add_column(
            Text(plain(header)), justify="left" if is_left else "right", overflow="fold"
        )
    for row in grid.rows:
        table.add_row(*(Text(plain(cell)) for cell in row))
    return table


def as_markdown(grid: Grid, heading: str = "##") -> str:
    """Return the table under a heading, as GitHub's Markdown; the text ends in a newline."""
    rules = ["---" if index < grid.n_left else "---:" for index in range(len(grid.headers))]
    lines = [f"{heading} {escape(grid.title)}", ""]
    lines += [_markdown_row(map(escape, grid.headers)), _markdown_row(rules)]
    lines += [_markdown_row(map(escape, row)) for row in grid.rows]
    if grid.note:
        lines += ["", escape(grid.note)]
    return "\n".join(lines) + "\n"


def escape(text: str) -> str:
    """Escape a text, so that Markdown shows it as it is."""
    return plain(text).translate(_MARKDOWN)


def number(value: float | None, digits: int = 3) -> str:
    """Format a number with fixed decimals; None and NaN give a dash."""
    return "-" if value is None or value != value else f"{value:.{digits}f}"


def _markdown_row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"

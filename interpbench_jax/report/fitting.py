"""Tables that stay readable in a narrow terminal, and draw nothing but their own text.

A table that is too wide wraps between words; if words would break, or a sentence would be squeezed
into a column of a few letters, each row becomes a short paragraph instead. A row whose first cell
is empty continues the one above it. Texts may come from untrusted files: none is interpreted as
markup, and none moves the cursor.
"""

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, RenderableType
from rich.table import Column, Table
from rich.text import Text
from rich.tree import Tree

from interpbench_jax.texts import plain

_UNBOUNDED = 100_000
# A column of words is not made narrower than this.
_NARROWEST = 24
_GAP = "  "


@dataclass(frozen=True)
class FittedTable:
    """A table that is drawn to fit the available width.

    Attributes:
        table: the table.
    """

    table: Table

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Table | Text]:
        """Called by rich."""
        table = _rebuild(self.table)
        natural = console.measure(table, options=options.update(width=_UNBOUNDED)).maximum
        if natural <= options.max_width:
            yield table
            return
        needed = [_needed(column) for column in table.columns]
        frame = natural - sum(most for _, most in needed)
        widths = _share_out(needed, options.max_width - frame)
        if widths is None:
            yield from _paragraphs(table, console, options.max_width)
        else:
            yield _rebuild(table, widths)


def clean_tree(tree: Tree) -> Tree:
    """Return the same tree with plain text as its labels."""
    found = Tree(_clean(tree.label))
    found.children = [clean_tree(child) for child in tree.children]
    return found


def _clean(cell: RenderableType | None) -> Text:
    """Return a cell as plain text, with the style that it had."""
    if isinstance(cell, Text):
        found = Text(plain(cell.plain), style=cell.style)
        return found
    return Text(plain("" if cell is None else str(cell)))


def _lines(text: RenderableType | None) -> Text | None:
    """Return a title or a caption, which may have several lines, as plain text."""
    if text is None:
        return None
    whole = text.plain if isinstance(text, Text) else str(text)
    return Text("\n".join(map(plain, whole.split("\n"))))


def _rebuild(table: Table, widths: Sequence[int] | None = None) -> Table:
    """Return the table with plain texts, and with columns of these widths."""
    found = copy.copy(table)
    found.title, found.caption = _lines(table.title), _lines(table.caption)
    found.columns, found.rows = [], []
    for index, column in enumerate(table.columns):
        found.add_column(
            _clean(column.header),
            justify=column.justify,
            style=column.style,
            header_style=column.header_style,
            no_wrap=column.no_wrap and widths is None,
            overflow="fold",
            width=None if widths is None else widths[index],
        )
    for style, cells in _rows(table):
        found.add_row(*map(_clean, cells), style=style)
    return found


def _rows(table: Table) -> Iterator[tuple[str, tuple[RenderableType, ...]]]:
    cells = zip(*(column.cells for column in table.columns), strict=True)
    for row, own in zip(table.rows, cells, strict=True):
        yield str(row.style or ""), own


def _needed(column: Column) -> tuple[int, int]:
    """Return the widths of a column's longest word and of its longest cell."""
    texts = [_clean(cell) for cell in (column.header, *column.cells)]
    most = max((text.cell_len for text in texts), default=0)
    if column.no_wrap:
        return most, most
    words = (Text(word).cell_len for text in texts for word in text.plain.split())
    return max(words, default=0), most


def _share_out(needed: Sequence[tuple[int, int]], width: int) -> list[int] | None:
    """Return column widths that break no word; None if no such widths are readable."""
    widths = [max(least, min(most, _NARROWEST)) for least, most in needed]
    if any(most > _NARROWEST for _, most in needed) and sum(widths) > width:
        return None
    if sum(widths) > width:
        widths = [least for least, _ in needed]
        if sum(widths) > width:
            return None
    while sum(widths) < width:
        lacking = [most - own for (_, most), own in zip(needed, widths, strict=True)]
        if max(lacking) == 0:
            break
        widths[lacking.index(max(lacking))] += 1
    return widths


def _paragraphs(table: Table, console: Console, width: int) -> Iterator[Text]:
    """Yield each row as its first cell, with the others beneath it, each after its header."""
    if isinstance(table.title, Text):
        yield Text(table.title.plain, style="italic")
    headers = [_clean(column.header).plain for column in table.columns]
    for style, cells in _rows(table):
        first, *others = map(_clean, cells)
        continues = not first.plain
        if not continues:
            yield Text(f"{headers[0]} {first.plain}".strip(), style="bold")
        facts = [
            cell.plain.strip() if continues else f"{header} {cell.plain}".strip()
            for header, cell in zip(headers[1:], others, strict=True)
            if cell.plain.strip()
        ]
        for line in _flow(facts, width - 2 * len(_GAP)):
            for number, part in enumerate(Text(line).wrap(console, width - 2 * len(_GAP))):
                yield Text(_GAP * (2 if number else 1) + part.plain.rstrip(), style=style)
    if isinstance(table.caption, Text):
        yield Text(table.caption.plain, style="dim italic")


def _flow(facts: Sequence[str], width: int) -> Iterator[str]:
    """Yield lines of facts, as many on each line as fit."""
    line = ""
    for fact in facts:
        longer = f"{line}{_GAP}{fact}" if line else fact
        if line and len(longer) > width:
            yield line
            longer = fact
        line = longer
    if line:
        yield line

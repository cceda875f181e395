"""How results show themselves: a line for a prompt, a table for a notebook."""

import html
from collections.abc import Iterable, Sequence
from typing import TypeVar

import numpy as np
from jaxtyping import Float

Name = TypeVar("Name")
# Rows of a table in a notebook.
SHOWN = 10


def largest(
    names: Sequence[Name], values: Float[np.ndarray, " items"], k: int
) -> list[tuple[Name, float]]:
    """The `k` values furthest from 0 with what they are of; of equal ones, those that come first.

    Raises:
        ValueError: if `k` is negative.
    """
    if k < 0:
        raise ValueError(f"Expected how many to show, from 0, got {k}.")
    order = np.argsort(-np.abs(values), kind="stable")[:k]
    return [(names[index], float(values[index])) for index in order]


def html_table(title: str, head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table for a notebook; all text is escaped."""

    def line(cells: Sequence[object], tag: str) -> str:
        return "<tr>" + "".join(f"<{tag}>{_text(cell)}</{tag}>" for cell in cells) + "</tr>"

    body = "".join(line(row, "td") for row in rows)
    return (
        f"<table><caption>{_text(title)}</caption><thead>{line(head, 'th')}</thead>"
        f"<tbody>{body}</tbody></table>"
    )


def _text(cell: object) -> str:
    return html.escape(f"{cell:.4g}" if isinstance(cell, float) else str(cell))

"""Helpers that display results: a line at a prompt, a table in a notebook."""

import html
from collections.abc import Iterable, Sequence
from typing import TypeVar

import numpy as np
from jaxtyping import Float

Name = TypeVar("Name")
# The number of rows of a table in a notebook.
SHOWN = 10


def largest(
    names: Sequence[Name], values: Float[np.ndarray, " items"], k: int
) -> list[tuple[Name, float]]:
    """Return the `k` values furthest from 0, with their names; ties keep their order.

    Raises:
        ValueError: if `k` is negative.
    """
    if k < 0:
        raise ValueError(f"Expected to show at least 0 values, got {k}.")
    order = np.argsort(-np.abs(values), kind="stable")[:k]
    return [(names[index], float(values[index])) for index in order]


def html_table(title: str, head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return an HTML table for a notebook; all text is escaped."""

    def line(cells: Sequence[object], tag: str) -> str:
        return "<tr>" + "".join(f"<{tag}>{_text(cell)}</{tag}>" for cell in cells) + "</tr>"

    body = "".join(line(row, "td") for row in rows)
    return (
        f"<table><caption>{_text(title)}</caption><thead>{line(head, 'th')}</thead>"
        f"<tbody>{body}</tbody></table>"
    )


def _text(cell: object) -> str:
    return html.escape(f"{cell:.4g}" if isinstance(cell, float) else str(cell))

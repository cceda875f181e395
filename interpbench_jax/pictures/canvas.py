"""Axes to draw on, and the names of nodes in pictures.

Every function that draws takes an optional `ax` and returns the Axes. Without one it creates a
figure with pyplot, so that a notebook shows it. Text is never interpreted as mathematics.
"""

from typing import TYPE_CHECKING

from interpbench_jax.extras import needs_extra
from interpbench_jax.sites import EMBEDDING_SOURCES, Kind, Node
from interpbench_jax.texts import plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def axes_for(ax: "Axes | None", width: float, height: float) -> "Axes":
    """The given Axes, or those of a new figure of so many inches.

    Raises:
        ImportError: if matplotlib is not installed.
    """
    if ax is not None:
        return ax
    with needs_extra("bench", "Drawing pictures"):
        from matplotlib import pyplot

    return pyplot.subplots(figsize=(width, height), layout="constrained")[1]


def set_title(ax: "Axes", title: str) -> None:
    """Set a title on the left, as plain text."""
    ax.set_title(plain(title), loc="left", fontsize=10, parse_math=False)


_LETTERS = {Kind.Q_INPUT: "q", Kind.K_INPUT: "k", Kind.V_INPUT: "v"}


def short_name(node: Node) -> str:
    """A short label: `0.1` for head 1 of layer 0, `0.1 q` for its queries."""
    if node.kind in EMBEDDING_SOURCES:
        return "position" if node.kind is Kind.POS_EMBED else "embed"
    if node.head is not None:
        letter = _LETTERS.get(node.kind)
        return f"{node.layer}.{node.head}" + (f" {letter}" if letter else "")
    return "output" if node.kind is Kind.RESID_POST else f"MLP {node.layer}"

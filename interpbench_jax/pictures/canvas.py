"""Axes to draw on, and the colors that all pictures share.

Every function that draws takes an optional `ax` and returns the Axes. Without one it creates a
figure with pyplot, so that a notebook shows it. Text is never interpreted as mathematics.
"""

from typing import TYPE_CHECKING

from interpbench_jax.extras import needs_extra
from interpbench_jax.sites import Kind
from interpbench_jax.texts import plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Okabe and Ito 2008, for every kind of color vision.
BLUE, ORANGE, GREEN, PURPLE = "#0072B2", "#D55E00", "#009E73", "#CC79A7"
LINES = (BLUE, ORANGE, GREEN, PURPLE, "#56B4E9", "#E69F00", "#000000")
DASHES = ("solid", "dashed", "dotted", "dashdot")
GREY, PALE = "#999999", "#DDDDDD"
EMBEDDINGS = (Kind.EMBED, Kind.POS_EMBED, Kind.RESID_PRE)


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


def line_style(index: int) -> tuple[str, str]:
    """A color and a dash for the line with this number; no two of the first 28 are alike."""
    return LINES[index % len(LINES)], DASHES[index // len(LINES) % len(DASHES)]

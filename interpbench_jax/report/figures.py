"""Figures as files: made without pyplot, in one style, of sizes that papers use."""

import io
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from interpbench_jax.extras import needs_extra

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# The resolution that journals ask for, and the widths of a column and a page, in inches.
_DPI = 300
COLUMN, PAGE = 3.3, 6.9
_STYLE = {
    "svg.hashsalt": "interpbench-jax",
    "svg.fonttype": "none",
    "font.size": 8.0,
    "axes.labelsize": 8.0,
    "legend.fontsize": 7.5,
    "xtick.labelsize": 7.5,
    "ytick.labelsize": 7.5,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "text.parse_math": False,
}
_METADATA: Mapping[str, dict[str, str | None]] = {
    "png": {"Software": None},
    "svg": {"Date": None, "Creator": None},
}


def encode_figure(figure: "Figure", kind: str) -> bytes:
    """Encode a figure of its own size as `"png"` or `"svg"`, without dates or names of programs."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format=kind, dpi=_DPI, metadata=_METADATA[kind])
    return buffer.getvalue()


def set_title(figure: "Figure", title: str) -> None:
    """Set the title at the left end of the figure, which is wider than its axes."""
    figure.suptitle(title, x=0.01, ha="left", fontsize=9)


def new_figure(width: float, height: float) -> "tuple[Figure, Axes]":
    """Return a figure of so many inches, and its Axes.

    Raises:
        ImportError: if matplotlib is not installed.
    """
    with needs_extra("bench", "Drawing plots"):
        from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.add_subplot()


@contextmanager
def house_style() -> Iterator[None]:
    """Draw in matplotlib's default style with our sizes, regardless of the user's style."""
    with needs_extra("bench", "Drawing plots"):
        from matplotlib import style
    with style.context(["default", _STYLE]):
        yield

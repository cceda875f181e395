"""ROC curves, as numbers and as lines."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, Float

from interpbench_jax.names import Level, UniverseName
from interpbench_jax.report.colors import GREY, line_style
from interpbench_jax.scores.levels import count_sides
from interpbench_jax.texts import plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# False positive rates and true positive rates, each `[points]`, from (0, 0) to (1, 1).
RatePair = tuple[np.ndarray, np.ndarray]
# The curve of random scores of the universe in which they are ranked.
DIAGONAL: RatePair = (np.asarray([0.0, 1.0]), np.asarray([0.0, 1.0]))
# A method may itself be called "chance".
EXPECTED = "expected by chance"


def roc_curve(scores: Float[np.ndarray, " items"], truth: Bool[np.ndarray, " items"]) -> RatePair:
    """Return false and true positive rates from (0, 0) to (1, 1); tied items are taken at once.

    Raises:
        ValueError: if all items are in the circuit, or all are outside it.
    """
    positives, negatives = count_sides(truth)
    order = np.argsort(-scores, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(scores[order])), len(order) - 1)
    true, false = np.cumsum(truth[order])[ends], np.cumsum(~truth[order])[ends]
    return np.append(0.0, false / negatives), np.append(0.0, true / positives)


def draw_roc(
    ax: "Axes",
    curves: Mapping[str, RatePair],
    chance: Mapping[str, RatePair],
    level: Level,
    universe: UniverseName,
) -> None:
    """Draw ROC curves as lines with their areas, on axes that name the universe.

    Args:
        ax: the Axes.
        curves: false and true positive rates by method.
        chance: the same for random scores, by label; drawn thin and grey.
        level: whether the items are edges or nodes.
        universe: the universe in which they are ranked.
    """
    for name, (false, true) in chance.items():
        label = f"{np.trapezoid(true, false):.2f}  {plain(name)}"
        ax.plot(false, true, color=GREY, linewidth=0.8, zorder=1, label=label)
    for index, (name, (false, true)) in enumerate(curves.items()):
        color, dash = line_style(index)
        label = f"{np.trapezoid(true, false):.2f}  {plain(name)}"
        ax.plot(false, true, color=color, linestyle=dash, linewidth=1.6, label=label)
    ax.set_xlim(-0.02, 1.02)
    ax.set_ylim(-0.02, 1.02)
    ax.set_aspect("equal")
    ax.set_xlabel(f"false positive rate ({level}s, universe {universe})")
    ax.set_ylabel(f"true positive rate ({level}s, universe {universe})")

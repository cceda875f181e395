"""ROC curves of scores against a circuit, and faithfulness curves."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from interpbench_jax.circuit import Circuit
from interpbench_jax.names import Level, UniverseName
from interpbench_jax.pictures.canvas import axes_for, set_title
from interpbench_jax.report.colors import GREY, line_style
from interpbench_jax.report.curves import EXPECTED, RatePair, draw_roc, roc_curve
from interpbench_jax.scores.levels import (
    Ranking,
    heard,
    importance,
    promote_node_scores,
    promote_scores,
    read_values,
)
from interpbench_jax.scores.rank import chance_curve, counted_in, truth_of
from interpbench_jax.texts import plain
from interpbench_jax.universes import UNIVERSES

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from interpbench_jax.scores.faithfulness import FaithfulnessCurve


def plot_roc(
    circuit: Circuit,
    results: Ranking | Mapping[str, Ranking],
    *,
    universe: UniverseName | None = None,
    absolute: bool = True,
    title: str | None = None,
    ax: "Axes | None" = None,
) -> "Axes":
    """Plot ROC curves of scores against a circuit, with their areas and the line of chance.

    Constant items are left out, as in `rank_scores`. Chance is the diagonal in the universe of the
    scores; in a coarser one it is the curve of random scores that were promoted likewise.

    Args:
        circuit: the known circuit.
        results: a sweep's result or a method's scores; or several by name, all of edges or all of
            nodes.
        universe: the universe in which they are compared; the default is the coarsest of their own.
        absolute: whether importance is the absolute value instead of the value itself.
        title: the title; the default names the universe and counts the items.
        ax: the Axes to draw on; the default is a new figure.

    Returns:
        The Axes.

    Raises:
        ImportError: if matplotlib is not installed.
        ValueError: if there is no result, results are of both edges and nodes, a result cannot be
            promoted to the universe, or the circuit has all of its items or none.
    """
    named: Mapping[str, Ranking] = results if isinstance(results, Mapping) else {"scores": results}
    read = {name: read_values(result, None, None) for name, result in named.items()}
    levels: set[Level] = {level for _, _, level in read.values()}
    if len(levels) != 1:
        raise ValueError(
            "Expected results that are all of edges or all of nodes, at least one, got "
            f"{', '.join(sorted(levels)) or 'none'}."
        )
    (level,) = levels
    owns: list[UniverseName] = [own for _, own, _ in read.values()]
    name = max(owns, key=UNIVERSES.index) if universe is None else universe
    counts = counted_in(circuit, name, level)
    truth = truth_of(circuit, name, level)[counts]
    promote = promote_scores if level == "edge" else promote_node_scores
    curves: dict[str, RatePair] = {}
    for method, (values, own, _) in read.items():
        sizes = importance(heard(named[method], values), absolute)
        sizes = promote(sizes, own, name, circuit.n_layers, circuit.n_heads)[counts]
        curves[method] = roc_curve(sizes, truth)
    finest = sorted(set(owns), key=UNIVERSES.index)
    chance = {
        EXPECTED if len(finest) == 1 else f"{EXPECTED}, scores of {own}": chance_curve(
            circuit, own, name, level
        )
        for own in finest
    }
    ax = axes_for(ax, 4.8, 4.4)
    draw_roc(ax, curves, chance, level, name)
    _explain(ax)
    default = f"{int(truth.sum())} of {len(truth)} {level}s (universe {name})"
    set_title(ax, default if title is None else title)
    return ax


def plot_faithfulness(
    curves: "FaithfulnessCurve | Mapping[str, FaithfulnessCurve]",
    *,
    title: str = "",
    ax: "Axes | None" = None,
) -> "Axes":
    """Plot how faithful the circuits of growing size are, with CPR and CMD.

    Args:
        curves: a curve of `faithfulness_curve`, or several by name.
        title: the title.
        ax: the Axes to draw on; the default is a new figure.

    Returns:
        The Axes.

    Raises:
        ImportError: if matplotlib is not installed.
        ValueError: if there is no curve, or faithfulness is not defined because cutting every
            edge has no effect.
    """
    named = curves if isinstance(curves, Mapping) else {"scores": curves}
    if not named:
        raise ValueError("Expected at least one curve, got none.")
    ax = axes_for(ax, 5.6, 4.0)
    ax.axhline(1, color=GREY, linewidth=0.8, label="the whole model")
    for index, (name, curve) in enumerate(named.items()):
        if curve.faithfulness is None:
            raise ValueError(
                f"Expected curves whose faithfulness is defined, but cutting every edge has no "
                f"effect for {name!r}."
            )
        color, dash = line_style(index)
        label = f"CPR {curve.cpr:.2f}, CMD {curve.cmd:.2f}  {plain(name)}"
        ax.plot(
            np.asarray(curve.fractions),
            curve.faithfulness,
            color=color,
            linestyle=dash,
            marker="o",
            markersize=3,
            label=label,
        )
    ax.set_xscale("log")
    ax.set_xlabel("share of the edges or nodes that is kept")
    ax.set_ylabel("faithfulness")
    _explain(ax)
    set_title(ax, title)
    return ax


def _explain(ax: "Axes") -> None:
    legend = ax.legend(frameon=False, fontsize=8)
    for text in legend.get_texts():
        text.set_parse_math(False)

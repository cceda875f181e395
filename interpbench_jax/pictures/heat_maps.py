"""Heat maps of effects and scores: nodes by layer and head, edges by reader and writer."""

from typing import TYPE_CHECKING, cast

import numpy as np
from jaxtyping import Float

from interpbench_jax.pictures.canvas import axes_for, set_title, short_name
from interpbench_jax.scores.levels import Ranking, read_values
from interpbench_jax.sites import EMBEDDING_SOURCES, Edge, Kind, Node

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Grid = Float[np.ndarray, "rows columns"]


def plot_effects(result: Ranking, *, title: str | None = None, ax: "Axes | None" = None) -> "Axes":
    """Show the effects of a sweep, or the scores of a method, as a heat map.

    Nodes: one row per layer, the last one on top, and a row for the embeddings; one column per
    head, and one for MLPs. Edges: one row per reader and one column per writer.

    Args:
        result: a sweep's result or a method's scores, of edges or nodes of a universe. Of several
            positions, the largest effect is shown.
        title: the title; the default says what is shown.
        ax: the Axes to draw on; the default is a new figure.

    Returns:
        The Axes.

    Raises:
        ImportError: if matplotlib is not installed.
        ValueError: if the result is of other edits, has several ablations or no names.
    """
    values, universe, level = read_values(result, None, None)
    names = tuple(getattr(result, "names", ()))
    if len(names) != len(values):
        raise ValueError(
            f"Expected a name for each of {len(values)} values, got {len(names)}: results of "
            "sweeps and of `discover` have them."
        )
    if level == "node":
        grid, rows, columns = _node_grid(cast("tuple[Node, ...]", names), values)
    else:
        grid, rows, columns = _edge_grid(cast("tuple[Edge, ...]", names), values)
    ax = axes_for(ax, 0.3 * len(columns) + 3.0, 0.22 * len(rows) + 2.0)
    limit = float(np.nanmax(np.abs(grid), initial=0.0)) or 1.0
    image = ax.imshow(
        grid, cmap="RdBu_r", vmin=-limit, vmax=limit, aspect="auto", interpolation="nearest"
    )
    ax.set_xticks(range(len(columns)), columns, rotation=90, fontsize=7)
    ax.set_yticks(range(len(rows)), rows, fontsize=7)
    ax.set_xlabel("component" if level == "node" else "writer")
    ax.set_ylabel("layer" if level == "node" else "reader")
    ax.set_facecolor("#EEEEEE")
    metric = getattr(result, "metric", None)
    colors = ax.figure.colorbar(image, ax=ax, shrink=0.8)
    colors.set_label("score" if metric is None else f"effect ({metric})", parse_math=False)
    default = f"{level}s of universe {universe}"
    set_title(ax, default if title is None else title)
    return ax


def _node_grid(
    names: tuple[Node, ...], values: Float[np.ndarray, " nodes"]
) -> tuple[Grid, list[str], list[str]]:
    layers = 1 + max((node.layer for node in names if node.layer is not None), default=-1)
    heads = 1 + max((node.head for node in names if node.head is not None), default=-1)
    columns = [f"head {head}" for head in range(heads)] + ["MLP"]
    rows = [str(layer) for layer in reversed(range(layers))] + ["embeddings"]
    grid = np.full((len(rows), max(len(columns), 2)), np.nan)
    n_embeddings = 0
    for node, value in zip(names, values, strict=True):
        if node.kind in EMBEDDING_SOURCES:
            grid[-1, n_embeddings] = value
            n_embeddings += 1
        else:
            assert node.layer is not None
            column = heads if node.head is None else node.head
            grid[layers - 1 - node.layer, column] = value
    columns += [""] * (grid.shape[1] - len(columns))
    if n_embeddings > 1:
        rows[-1] = "embed, position"
    return grid, rows, columns


def _edge_grid(
    names: tuple[Edge, ...], values: Float[np.ndarray, " edges"]
) -> tuple[Grid, list[str], list[str]]:
    readers = list(dict.fromkeys(edge.dst for edge in names))[::-1]
    writers = sorted({edge.src for edge in names}, key=_forward)
    grid = np.full((len(readers), len(writers)), np.nan)
    row = {node: index for index, node in enumerate(readers)}
    column = {node: index for index, node in enumerate(writers)}
    for edge, value in zip(names, values, strict=True):
        grid[row[edge.dst], column[edge.src]] = value
    return grid, [short_name(node) for node in readers], [short_name(node) for node in writers]


def _forward(node: Node) -> tuple[int, bool, int]:
    layer = -1 if node.layer is None or node.kind in EMBEDDING_SOURCES else node.layer
    return layer, node.head is None and node.kind is not Kind.EMBED, node.head or 0

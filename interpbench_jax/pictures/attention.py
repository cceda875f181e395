"""Pictures of attention patterns."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Array, Float

from interpbench_jax.pictures.canvas import axes_for, set_title
from interpbench_jax.texts import plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def plot_attention(
    pattern: Float[Array | np.ndarray, "q_pos k_pos"],
    tokens: Sequence[str] | None = None,
    *,
    title: str = "",
    ax: "Axes | None" = None,
) -> "Axes":
    """Show an attention pattern: how much each query position attends to each key position.

    For head 0 of layer 1 on the first input: `plot_attention(cache["pattern", 1][0, 0], tokens)`.

    Args:
        pattern: attention probabilities of one head on one input, in 0..1; rows add up to 1.
        tokens: the tokens, as labels of both axes; the default is the positions.
        title: the title.
        ax: the Axes to draw on; the default is a new figure.

    Returns:
        The Axes.

    Raises:
        ImportError: if matplotlib is not installed.
        ValueError: if the pattern does not have two axes, or there is not one token for each
            position.
    """
    values = np.asarray(pattern)
    if values.ndim != 2:
        raise ValueError(
            f"Expected the pattern of one head on one input, [q_pos, k_pos], got shape "
            f'{values.shape}; choose one, such as cache["pattern", layer][0, head].'
        )
    n_queries, n_keys = values.shape
    labels = [str(position) for position in range(n_keys)] if tokens is None else list(tokens)
    if len(labels) != n_keys or n_queries > n_keys:
        raise ValueError(
            f"Expected a token for each of {n_keys} key positions and at most as many queries, got "
            f"{len(labels)} tokens and {n_queries} queries."
        )
    size = 0.28 * n_keys + 1.6 + 0.075 * max(map(len, labels), default=0)
    ax = axes_for(ax, size + 0.8, size)
    image = ax.imshow(values, vmin=0, vmax=1, cmap="Blues", interpolation="nearest")
    # Fewer queries than keys are those of the last positions.
    _label(ax, labels, labels[n_keys - n_queries :])
    ax.set_xlabel("attended to (key)")
    ax.set_ylabel("attends (query)")
    colors = ax.figure.colorbar(image, ax=ax, shrink=0.8)
    colors.set_label("attention")
    set_title(ax, title)
    return ax


def _label(ax: "Axes", columns: Sequence[str], rows: Sequence[str]) -> None:
    """Label columns and rows with text that is not interpreted."""
    options = {"fontsize": 8, "parse_math": False}
    ax.set_xticks(range(len(columns)), [plain(each) for each in columns], rotation=90, **options)
    ax.set_yticks(range(len(rows)), [plain(each) for each in rows], **options)

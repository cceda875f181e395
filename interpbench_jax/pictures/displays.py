"""Drawings as HTML, for notebooks.

A drawing is an image with its data in the page, so that its names of elements, styles and texts
stay apart from those of the page and of other drawings.
"""

import base64
import html
from importlib.util import find_spec

from interpbench_jax.case import Case
from interpbench_jax.circuit import Circuit
from interpbench_jax.pictures.circuits import encode_circuit
from interpbench_jax.texts import count

# Larger models take too long to build for a display.
_MOST_WEIGHTS = 100_000


def drawing_of(thing: object) -> str:
    """Return HTML that draws a circuit, or a case's circuit and model.

    Returns:
        The HTML; empty if there is nothing to draw, or matplotlib is not installed.
    """
    match thing:
        case Circuit():
            return _draw(thing)
        case Case():
            circuit = "" if thing.circuit is None else _draw(thing.circuit)
            return circuit + _show_model(thing)
    return ""


def _draw(circuit: Circuit) -> str:
    if find_spec("matplotlib") is None:
        return ""
    svg = encode_circuit(circuit)
    edges = "; ".join(sorted(str(edge) for edge in circuit.in_universe("head")))
    told = f"Drawing of a circuit of {count(len(circuit), 'edge')}: {edges}"
    data = base64.b64encode(svg).decode("ascii")
    return (
        f'<img alt="{html.escape(told)}" style="max-width:100%;background:white" '
        f'src="data:image/svg+xml;base64,{data}">'
    )


def _show_model(case: Case) -> str:
    """Return a collapsed view of a small model's layers."""
    if sum(weight.size for weight in case.weights.values()) > _MOST_WEIGHTS:
        return ""
    import treescope

    # Not as a model shows itself, with its weights in small: that takes up to six times the bytes.
    shown = treescope.render_to_html(case.model, compressed=True)
    style = "flex-basis:100%;overflow-x:auto"
    return f'<details style="{style}"><summary>The model</summary>{shown}</details>'

"""A trained model's certificate as tables."""

from rich.table import Table
from rich.text import Text

from interpbench_jax.certificates.certificate import Certificate
from interpbench_jax.certificates.parts import Measure

# The number of edges outside the circuit to show, strongest first.
_MOST_OUTSIDE = 5


def certified_nodes_table(certificate: Certificate, unit: str, bar: float) -> Table:
    """A table of a model's nodes: what each computes, how well, and the effect of resampling it.

    The columns are IIA or strict accuracy, the effect in the case's metric and in centred logits,
    and the loss of accuracy through resampling. Shares below the bar are red.
    """
    table = _table(f"Nodes, resampled one at a time: effect in {unit}, and in centred logits")
    table.add_column("node", no_wrap=True)
    table.add_column("computes", overflow="fold")
    for header in ("IIA", "strict", "effect", "logits", "drop"):
        table.add_column(header, justify="right")
    for name, node in certificate.nodes.items():
        variables = [each for each, nodes in certificate.alignment.items() if name in nodes]
        iia = [certificate.iia[each] for each in variables]
        share = min(iia) if iia else certificate.strict_accuracy[name]
        shown = Text(show_down(share), "" if share >= bar else "red")
        shares = (shown, Text()) if variables else (Text(), shown)
        cells = (f"{node.effect:.3g}", f"{node.centred:.3g}", f"{node.accuracy_drop:.4f}")
        style = "" if variables else "dim"
        table.add_row(Text(name), Text(", ".join(variables)), *shares, *cells, style=style)
    return table


def certified_edges_table(certificate: Certificate, unit: str) -> Table:
    """A table of the circuit's edges and the strongest ones outside it, in universe `head`."""
    edges = certificate.edges.edges.get("head", ())
    outside = sorted((e for e in edges if e.truth == "out"), key=lambda edge: -edge.centred)
    shown = outside[:_MOST_OUTSIDE]
    table = _table(
        f"Edges, resampled one at a time: effect in {unit}, and in centred logits; the "
        f"{len(shown)} strongest of {len(outside)} outside the circuit"
    )
    for header in ("from", "to", "circuit"):
        table.add_column(header, overflow="fold")
    for header in ("effect", "logits", "drop"):
        table.add_column(header, justify="right")
    for edge in (*(edge for edge in edges if edge.truth != "out"), *shown):
        cells = (f"{edge.effect:.3g}", f"{edge.centred:.3g}", f"{edge.accuracy_drop:.4f}")
        style = "" if edge.truth == "in" else "dim"
        table.add_row(Text(edge.src), Text(edge.dst), edge.truth, *cells, style=style)
    return table


def separations_table(certificate: Certificate) -> Table:
    """A table of how clearly the circuit's edges stand out, by universe and measure."""
    table = _table("The circuit's edges compared with the others")
    for header in ("universe", "effect in"):
        table.add_column(header)
    for header in ("median in", "smallest in", "largest out", "of the median", "in / out"):
        table.add_column(header, justify="right")
    names: dict[Measure, str] = {"effect": certificate.metric, "centred": "centred logits"}
    for universe in certificate.edges.edges:
        for measure, name in names.items():
            found = certificate.edges.separation(universe, measure)
            if found is None:
                continue
            largest = 0.0 if found.largest is None else abs(getattr(found.largest, measure))
            smallest = abs(getattr(found.smallest, measure))
            numbers = (f"{found.median:.3g}", f"{smallest:.3g}", f"{largest:.2g}")
            shares = (f"{found.outside_share:.3%}", f"{found.clearance:.3g}x")
            table.add_row(universe, name, *numbers, *shares)
    return table


def show_down(share: float) -> str:
    """Format a share with four decimals, rounded down."""
    # The small term makes up for rounding: 0.9997 * 10_000 is 9996.999...
    return f"{int(share * 10_000 + 1e-9) / 10_000:.4f}"


def _table(title: str) -> Table:
    return Table(
        title=title, title_justify="left", box=None, header_style="bold", padding=(0, 1, 0, 0)
    )

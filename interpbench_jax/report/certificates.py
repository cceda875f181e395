"""A trained model's certificate as tables."""

from collections.abc import Sequence
from typing import NamedTuple

from rich.table import Table
from rich.text import Text


class CertifiedNode(NamedTuple):
    """One head or MLP.

    Attributes:
        name: the node's.
        computes: the variables that it stands for; empty outside the circuit.
        share: IIA of those, or strict accuracy outside the circuit.
        effect: of resampling the node.
        accuracy_drop: of resampling the node.
    """

    name: str
    computes: str
    share: float
    effect: float
    accuracy_drop: float


class Contradiction(NamedTuple):
    """One edge at which a model and its truth disagree.

    Attributes:
        ends: writer and reader.
        in_circuit: what the truth says.
        effect: of cutting the edge.
        accuracy_drop: of cutting the edge.
    """

    ends: tuple[str, str]
    in_circuit: bool
    effect: float
    accuracy_drop: float


def certified_nodes_table(rows: Sequence[CertifiedNode], unit: str, bar: float) -> Table:
    """Every node of a model: what it computes, how well, and what resampling it does.

    The columns: IIA or strict accuracy, the effect, and the accuracy that resampling costs.
    Shares below the bar stand out.
    """
    table = _table(f"Nodes, resampled one at a time: effect in {unit}, drop in accuracy")
    table.add_column("node", no_wrap=True)
    table.add_column("computes", overflow="fold")
    for header in ("IIA", "strict", "effect", "drop"):
        table.add_column(header, justify="right")
    for row in rows:
        share = Text(show_down(row.share), "" if row.share >= bar else "red")
        shares = (share, Text()) if row.computes else (Text(), share)
        cells = (f"{row.effect:.3g}", f"{row.accuracy_drop:.4f}")
        style = "" if row.computes else "dim"
        table.add_row(Text(row.name), Text(row.computes), *shares, *cells, style=style)
    return table


def contradictions_table(rows: Sequence[Contradiction], unit: str) -> Table:
    """The edges whose effect contradicts the circuit."""
    table = _table(f"Edges that contradict the circuit: effect in {unit}, drop in accuracy")
    for header in ("from", "to"):
        table.add_column(header, overflow="fold")
    for header in ("effect", "drop"):
        table.add_column(header, justify="right")
    table.add_column("finding", overflow="fold")
    for row in rows:
        finding = "in the circuit, hardly used" if row.in_circuit else "not in the circuit, used"
        cells = (f"{row.effect:.3g}", f"{row.accuracy_drop:.4f}", finding)
        table.add_row(*map(Text, row.ends), *cells)
    return table


def show_down(share: float) -> str:
    """A share with four decimals, never more than it is."""
    # Near misses of the decimal: 0.9997 * 10_000 is 9996.999...
    return f"{int(share * 10_000 + 1e-9) / 10_000:.4f}"


def _table(title: str) -> Table:
    return Table(
        title=title, title_justify="left", box=None, header_style="bold", padding=(0, 1, 0, 0)
    )

"""Rich tables of the commands' results."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from interpbench_jax.circuit import Circuit, TruthValue
from interpbench_jax.sites import Kind, Node

_BAR = 8
_METRIC = {"distance": "distance from the clean run", "loss": "loss against the targets"}


class EffectRow(NamedTuple):
    """One edge (with its two ends) or node of a sweep, at one position or at all (None).

    `truth` is None if the circuit is not known.
    """

    ends: tuple[str, ...]
    effect: float
    truth: TruthValue | None
    position: int | None = None


class Area(NamedTuple):
    """How well a sweep's effects distinguish a circuit from the rest.

    Attributes:
        value: the ROC-AUC; None if the circuit or the rest is empty.
        n_true: the number of edges, or nodes, in the circuit.
        n_items: the number of edges, or nodes, without constant ones.
        n_constant: the number of those left out because they are constant.
        n_silent: the number of the circuit's that have no effect above rounding.
        is_tied: whether all effects have the same magnitude.
    """

    value: float | None
    n_true: int
    n_items: int
    n_constant: int
    n_silent: int = 0
    is_tied: bool = False

    def note(self, level: str) -> str:
        """Return a note that explains the number; empty if none is needed."""
        if self.n_true == 0:
            return f"the circuit has no {level} here"
        if self.n_true == self.n_items:
            return f"the circuit has every {level} here"
        if self.is_tied:
            return "all effects are equal"
        if self.n_silent:
            return f"{self.n_silent} of the circuit's {level}s have no effect above rounding"
        return ""


class SweepRow(NamedTuple):
    """One sweep among several.

    Attributes:
        case_id: the id of the case.
        ablation: the ablation.
        metric: the metric that measures the effects.
        largest: the effect of largest magnitude, with its sign.
        areas: ROC-AUC by universe, None if it is not defined; empty without a known circuit.
        notes: notes that explain an area, by universe.
    """

    case_id: str
    ablation: str
    metric: str
    largest: float
    areas: Mapping[str, float | None]
    notes: Mapping[str, str]


class ErrorRow(NamedTuple):
    """One hook, or one kind of patch, of a conversion certificate."""

    name: str
    float64: float
    float32: float


def case_table(title: str, facts: Mapping[str, str | tuple[str, ...]]) -> Table:
    """Tabulate facts about a case: a row for each, or for each line of one with several."""
    table = Table(title=title, title_justify="left", show_header=False, box=None, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in facts.items():
        lines = (value,) if isinstance(value, str) else value
        for index, line in enumerate(lines):
            table.add_row("" if index else name, Text(line))
    return table


def circuit_table(edges: Sequence[tuple[str, str]]) -> Table:
    """Tabulate a circuit's edges, in their order."""
    table = Table(title="Circuit, as given", title_justify="left", box=None, pad_edge=False)
    table.add_column("from", no_wrap=True)
    table.add_column("to", no_wrap=True)
    for src, dst in edges:
        table.add_row(Text(src), Text(dst))
    return table


def tasks_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    """Tabulate the declared tasks, one per row."""
    table = Table(title="Tasks", title_justify="left", box=None, header_style="bold")
    table.add_column("case", no_wrap=True)
    table.add_column("release", no_wrap=True)
    table.add_column("task", overflow="fold")
    for header in ("shape", "output", "edges", "circuit", "tier", "packaged"):
        table.add_column(header, overflow="fold")
    for row in rows:
        shape = f"{row['n_layers']}x{row['n_heads']}, d {row['d_model']}, {row['attention']}"
        packaged = "yes" if row["is_packaged"] else "no"
        cells = [str(row[cell]) for cell in ("outputs", "circuit_edges", "circuit", "tier")]
        release = " and ".join(row["releases"])
        shown = (str(row["case_id"]), release, str(row["task"]), shape, *cells, packaged)
        table.add_row(*map(Text, shown))
        for flag in row["flags"]:
            table.add_row("", "", Text(f"({flag})"))
    return table


def methods_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    """Tabulate the discovery methods, one per row."""
    table = Table(title="Methods", title_justify="left", box=None, header_style="bold")
    table.add_column("method", no_wrap=True)
    for header in ("computes", "default metric", "depends on"):
        table.add_column(header, overflow="fold")
    for row in rows:
        facts = {"its seed": row["is_random"], "the order of edges": row["depends_on_order"]}
        depends_on = " and ".join(fact for fact, is_so in facts.items() if is_so)
        shown = (row["method"], row["computes"], _METRIC[row["default_metric"]], depends_on)
        table.add_row(*map(Text, shown))
    return table


def pairs_table(title: str, rows: Sequence[Mapping[str, Sequence[str]]]) -> Table:
    """Tabulate sampled pairs: the tokens, and the program's output at each."""
    table = Table(title=title, title_justify="left", box=None, header_style="bold")
    for header in ("", "tokens", "outputs"):
        table.add_column(header, overflow="fold")
    for row in rows:
        for name, tokens, outputs in (
            ("clean", "input", "output"),
            ("corrupted", "corrupted_input", "corrupted_output"),
        ):
            style = "dim" if name == "corrupted" else ""
            cells = (Text(" ".join(row[key]), style) for key in (tokens, outputs))
            table.add_row(Text(name, style), *cells)
    return table


def circuit_tree(circuit: Circuit) -> Tree:
    """Draw the circuit in the `head` universe, from the output back to the embedding."""
    edges = sorted(circuit.in_universe("head"), key=str)
    output = Node(Kind.RESID_POST, circuit.n_layers - 1)
    tree = Tree(Text(f"{output} (output) reads"))

    read_by: dict[Node, list[Node]] = {}
    for edge in edges:
        read_by.setdefault(edge.dst, []).append(edge.src)
    drawn: set[Node] = set()

    def grow(branch: Tree, reader: Node) -> None:
        for src in read_by.get(reader, ()):
            # A node that several read is drawn once: the number of paths can be astronomical.
            is_again = src in drawn and src in read_by
            inner = branch.add(Text(f"{src} (as above)" if is_again else str(src)))
            if not is_again:
                drawn.add(src)
                grow(inner, src)

    grow(tree, output)
    return tree


def effects_table(title: str, rows: Sequence[EffectRow], top: int) -> Table:
    """Tabulate the effects of largest magnitude, with bars, and whether each is in the circuit."""
    ordered = sorted(rows, key=lambda row: -abs(row.effect))
    shown = ordered[:top]
    caption = None
    if len(ordered) > len(shown):
        caption = f"{len(ordered) - len(shown)} smaller effects not shown; --top 0 shows all"
    table = Table(
        title=title,
        title_justify="left",
        caption=caption,
        caption_justify="left",
        box=None,
        pad_edge=False,
        header_style="bold underline",
        padding=(0, 1, 0, 0),
    )
    for header in ("from", "to") if ordered and len(ordered[0].ends) == 2 else ("node",):
        table.add_column(header, overflow="fold")
    by_position = any(row.position is not None for row in shown)
    if by_position:
        table.add_column("position", justify="right")
    table.add_column("effect", justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    table.add_column("circuit", no_wrap=True)
    largest = max((abs(row.effect) for row in shown), default=0.0) or 1.0
    marks = {
        "in": Text("in", "green"),
        "out": Text("out", "dim"),
        "constant": Text("constant", "dim"),
        None: Text("?", "dim"),
    }
    for row in shown:
        bar = "█" * round(_BAR * abs(row.effect) / largest)
        where = [*map(Text, row.ends), *([str(row.position)] if by_position else [])]
        table.add_row(*where, f"{row.effect:.3g}", bar, marks[row.truth])
    return table


def sweeps_table(title: str, rows: Sequence[SweepRow], by_position: bool) -> Table:
    """Tabulate several sweeps, one per row: the largest effect, and ROC-AUC by universe."""
    over = ", each at its position of largest effect" if by_position else ""
    universes = list(dict.fromkeys(name for row in rows for name in row.areas))
    notes = [
        f"{row.case_id}, {row.ablation}, {name}: {note}"
        for row in rows
        for name, note in row.notes.items()
    ]
    table = Table(
        title=title,
        title_justify="left",
        caption="\n".join(
            [
                f"largest: the largest effect; by universe: ROC-AUC of the effects{over} (-: not "
                "defined)",
                *notes,
            ]
        ),
        caption_justify="left",
        box=None,
        header_style="bold",
        padding=(0, 1, 0, 0),
    )
    table.add_column("case", no_wrap=True)
    table.add_column("ablation", no_wrap=True)
    table.add_column("metric", no_wrap=True)
    for header in ("largest", *universes):
        table.add_column(header, justify="right", no_wrap=True)
    for row in rows:
        areas = (row.areas.get(name) for name in universes)
        shown = ("-" if area is None else f"{area:.4f}" for area in areas)
        table.add_row(Text(row.case_id), row.ablation, row.metric, f"{row.largest:.3g}", *shown)
    return table


def auc_table(title: str, areas: Mapping[str, Area], level: str) -> Table:
    """Tabulate ROC-AUC by universe, with the number of items in the circuit and of all items.

    Notes that explain the numbers stand beneath the table.
    """
    notes = [f"{name}: {area.note(level)}" for name, area in areas.items() if area.note(level)]
    table = Table(
        title=title,
        title_justify="left",
        caption="\n".join(notes) or None,
        caption_justify="left",
    )
    table.add_column("universe", no_wrap=True)
    for header in ("ROC-AUC", "in circuit", "of", "constant, left out"):
        table.add_column(header, justify="right")
    for name, area in areas.items():
        shown = "not defined" if area.value is None else f"{area.value:.4f}"
        counts = (area.n_true, area.n_items, area.n_constant)
        table.add_row(name, shown, *map(str, counts))
    return table


def certificate_table(rows: Sequence[ErrorRow], limit: float) -> Table:
    """Tabulate the worst relative error by hook; float64 errors above the limit stand out."""
    table = Table(title="Worst relative error, max|a-b| / max(1, max|b|)", title_justify="left")
    table.add_column("activation", no_wrap=True)
    table.add_column("float64", justify="right")
    table.add_column("float32", justify="right")
    for row in rows:
        style = "red" if not row.float64 <= limit else ""
        table.add_row(Text(row.name), Text(f"{row.float64:.1e}", style), f"{row.float32:.1e}")
    return table

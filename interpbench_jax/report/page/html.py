"""The rendering of the page: templates, styles and scripts joined into one HTML document.

Jinja2, from the `bench` extra, is imported where it is used. Every text from the benchmark is
escaped, in HTML by Jinja2 and in the data block by `escape_json`; the script sets text only as the
content of text nodes. A Content-Security-Policy with the digests of our own style and script
forbids everything else, network requests included.
"""

import base64
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from interpbench_jax.extras import needs_extra
from interpbench_jax.report.bench import show_interval
from interpbench_jax.report.grids import Grid
from interpbench_jax.report.page.data import PageData, page_as_json
from interpbench_jax.report.page.tables import chance_row, columns_of, heat_rows, method_cells
from interpbench_jax.report.page.texts import CaseText
from interpbench_jax.report.rows import CurveRow, ResultRow, ScoreRow
from interpbench_jax.statistics import Interval
from interpbench_jax.texts import count, plain

if TYPE_CHECKING:
    import jinja2

REFERENCE = "exact"
"""The method whose scores are the exact effects."""

_FOLDER = Path(__file__).parent
_STYLES = ("page.css", "tables.css", "charts.css")
# Later scripts use the functions of earlier ones; `main.js` calls them.
_SCRIPTS = (
    *("elements.js", "numbers.js", "scores.js", "address.js", "axes.js", "charts.js"),
    *("circuit.js", "overview.js", "ranking.js", "case.js", "main.js"),
)
_FACTS = (
    ("package_version", "interpbench-jax"),
    ("jax_version", "JAX"),
    ("device", "device"),
    ("metric", "metric"),
    ("truth", "circuits"),
)
_IN_JSON = {ord(each): f"\\u{ord(each):04x}" for each in "<>&\u2028\u2029"}


def report_html(
    results: Sequence[ResultRow],
    scores: Sequence[ScoreRow] = (),
    curves: Sequence[CurveRow] = (),
    *,
    texts: Mapping[str, CaseText] | None = None,
    title: str = "InterpBench results",
    grids: Sequence[Grid] = (),
    reference: str | None = REFERENCE,
) -> str:
    """Return a benchmark as one HTML page, which loads nothing else.

    The same rows, in any order, give the same page. Texts of the rows are shown as they are,
    whatever they contain; control characters become spaces.

    Args:
        results: the results, of any methods, ablations, seeds and levels; may be empty.
        scores: the scores of every item; without them there are no drawings.
        curves: the faithfulness curves; without them the page says that none were stored.
        texts: what the declaration of each case says, by case.
        title: the heading.
        grids: further tables, each in a section of its own.
        reference: the method whose scores are the exact effects; None if there is none.

    Raises:
        ImportError: if Jinja2 is not installed.
    """
    data = PageData.of(results)
    columns = columns_of(results)
    chance = chance_row(data)
    script, style = _joined("scripts", _SCRIPTS), _joined("styles", _STYLES)
    page = page_as_json(data, scores, curves, texts or {})
    page |= {"columns": [column.as_json() for column in columns], "reference": reference}
    markup = _environment()
    return markup.get_template("page.html").render(
        title=title,
        lead=_lead(data),
        facts=_facts(data, results),
        data=data,
        columns=columns,
        cells=method_cells(data, results, columns),
        heat=heat_rows(data),
        chance_cells=chance,
        chance=None if chance.mean == "-" else float(chance.mean),
        grids=grids,
        interval_text=_interval_text,
        policy=_policy(script, style),
        style=_trusted(style),
        script=_trusted(script),
        payload=_trusted(escape_json(page)),
    )


def escape_json(value: object) -> str:
    """Return a value as JSON that can stand in a script element without ending it.

    Raises:
        ValueError: if a number is NaN or infinite, which JSON does not have.
    """
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    # A lone surrogate is valid in a Python string and in JSON, but not in UTF-8.
    return text.translate(_IN_JSON).encode("utf-8", "backslashreplace").decode()


@cache
def _environment() -> "jinja2.Environment":
    with needs_extra("bench", "Making a page of a benchmark"):
        import jinja2

    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(_FOLDER / "templates", encoding="utf-8"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=_without_control,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )


def _without_control(value: object) -> object:
    """Return a text on one line, without control characters; anything else as it is."""
    return plain(value) if type(value) is str else value


def _trusted(text: str) -> object:
    """Mark a text of our own, or an escaped one, as markup."""
    with needs_extra("bench", "Making a page of a benchmark"):
        from markupsafe import Markup

    return Markup(text)


@cache
def _joined(folder: str, names: tuple[str, ...]) -> str:
    parts = [(_FOLDER / folder / name).read_text(encoding="utf-8") for name in names]
    if folder == "styles":
        return "\n".join(["", *parts])
    # Within one function, the scripts share their names with each other and nobody else.
    return "\n".join(["", '(() => {\n"use strict";\n', *parts, "})();", ""])


def _policy(script: str, style: str) -> str:
    return "; ".join(
        (
            "default-src 'none'",
            f"script-src '{_digest(script)}'",
            f"style-src '{_digest(style)}'",
            "img-src data:",
            "base-uri 'none'",
            "form-action 'none'",
        )
    )


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _lead(data: PageData) -> str:
    """Return a sentence on what was scored."""
    if not data.results:
        return "No results."
    methods = len({each.method for each in data.contenders})
    return (
        f"How well {count(methods, 'method')} of circuit discovery "
        f"{'finds' if methods == 1 else 'find'} the known circuits of "
        f"{count(len(data.cases), 'transformer')}."
    )


def _facts(data: PageData, rows: Sequence[ResultRow]) -> list[tuple[str, str]]:
    """Return what was run and with which versions, without what is not known."""
    if not rows:
        return []
    counts = [
        ("cases", str(len(data.cases))),
        ("methods", str(len({row.method for row in rows}))),
        ("ablations", _listed(row.ablation for row in rows)),
        ("seeds", _listed(row.seed for row in rows if row.ablation)),
        ("edge orders", "" if not any(row.order for row in rows) else _orders(rows)),
        ("input pairs per case", _listed(row.n_inputs or "" for row in rows)),
    ]
    named = [(label, _listed(getattr(row, name) for row in rows)) for name, label in _FACTS]
    return [(name, value) for name, value in (*counts, *named) if value]


def _orders(rows: Sequence[ResultRow]) -> str:
    return f"up to {1 + max(row.order for row in rows)} per method"


def _listed(values: Iterable[str | int]) -> str:
    """Return the distinct values in order, without empty ones."""
    distinct = {value for value in values if value != ""}
    ordered = sorted(distinct, key=lambda value: (isinstance(value, str), value))
    return ", ".join(str(each) for each in ordered)


def _interval_text(interval: Interval | None) -> str:
    """Return the brackets of an interval; empty if it has no ends."""
    return show_interval(interval).partition(" ")[2]

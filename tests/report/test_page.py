"""The page of a benchmark: its data, its tables without the script, and texts from outside."""

import base64
import hashlib
import json
import random
import sys
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from interpbench_jax.report.bench import case_matrix, leaderboard
from interpbench_jax.report.grids import Grid
from interpbench_jax.report.page import CaseText, report_html
from interpbench_jax.report.page import html as rendering
from interpbench_jax.report.page.data import PageData, page_as_json
from interpbench_jax.report.page.drawings import draw_case, shape_as_json, shorten
from interpbench_jax.report.page.html import escape_json
from interpbench_jax.report.page.tables import heat_rows, shade
from interpbench_jax.scores import promote_scores
from interpbench_jax.universes import UNIVERSES, universe
from tests.report.made_up_bench import CIRCUIT, METHODS, MadeUpBench, made_up_bench

HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "</script><h1>gone</h1>",
    "{{ 7 * 7 }} {% raw %} &lt;b&gt; &amp;",
    "line\u2028para\u2029graph",
)


class Elements(HTMLParser):
    """The elements of a page, their attributes, and its texts."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: Counter[str] = Counter()
        self.attributes: set[str] = set()
        self.links: set[str] = set()
        self.texts: list[str] = []
        self.policy = ""
        self.open: tuple[str, dict[str, str | None]] = ("", {})
        self.content: dict[str, str] = {}
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.attributes |= {name for name, _ in attrs}
        self.links |= {value or "" for name, value in attrs if name in ("href", "src")}
        self.open = (tag, dict(attrs))
        if dict(attrs).get("http-equiv") == "Content-Security-Policy":
            self.policy = dict(attrs)["content"] or ""

    def handle_endtag(self, tag: str) -> None:
        self.open = ("", {})

    def handle_data(self, data: str) -> None:
        tag, attributes = self.open
        if tag in ("script", "style"):
            name = attributes.get("type") or tag
            self.content[name] = self.content.get(name, "") + data
        else:
            self.texts.append(data.strip())


@pytest.fixture(scope="module")
def bench() -> MadeUpBench:
    return made_up_bench(seeds=(0, 1))


def page_of(bench: MadeUpBench, **options: object) -> str:
    return report_html(bench.results, bench.scores, bench.curves, **options)  # pyright: ignore[reportArgumentType]


def hostile_bench(name: str) -> MadeUpBench:
    """Return a benchmark in which a method, a case, a tier and an ablation have this name."""
    made = made_up_bench((name, "11"), ("exact", name), ablations=(name, "mean"))
    return replace(made, results=[replace(row, tier=name, device=name) for row in made.results])


@pytest.mark.parametrize("name", HOSTILE)
def test_texts_are_never_markup(name: str) -> None:
    harmless, hostile = hostile_bench("harmless"), hostile_bench(name)
    text = {name: CaseText(name, name, name)}
    grid = [Grid(name, (name,), ((name,),), name)]
    expected = Elements(page_of(harmless, title="a", grids=[replace(grid[0], title="b")]))
    page = page_of(hostile, title=name, texts=text, grids=grid)
    found = Elements(page)
    assert found.tags == expected.tags and found.attributes == expected.attributes
    assert found.links == expected.links
    shown = name.replace("\u2028", " ").replace("\u2029", " ")
    # As a method in both tables, as the heading, and as a cell.
    assert found.texts.count(shown) >= 4
    block = found.content["application/json"]
    assert not set("<>&\u2028\u2029") & set(block)
    data = json.loads(block)
    assert name in {each["method"] for each in data["contenders"]}
    (case,) = (each for each in data["cases"] if each["id"] == name)
    assert case["description"] == case["program"] == case["note"] == case["tier"] == name


@given(st.recursive(st.text() | st.integers() | st.none(), st.lists, max_leaves=8))
def test_data_come_back_from_their_block(value: object) -> None:
    text = escape_json(value)
    assert json.loads(text) == value and not set("<>&\u2028\u2029") & set(text)
    text.encode("utf-8")


def test_a_lone_surrogate_can_be_written() -> None:
    assert json.loads(escape_json("\ud800")) == "\ud800"


@pytest.mark.slow
def test_the_same_rows_in_any_order_are_the_same_page(bench: MadeUpBench) -> None:
    first = page_of(bench)
    results, scores, curves = bench.results[:], bench.scores[:], bench.curves[:]
    for rows in (results, scores, curves):
        random.Random(0).shuffle(rows)
    assert report_html(results, scores, curves) == first


def test_nothing_but_our_own_script_and_style_is_allowed(bench: MadeUpBench) -> None:
    found = Elements(page_of(bench))
    assert found.tags["script"] == 2 and found.tags["style"] == 1
    assert not {"link", "img", "iframe", "object", "base"} & set(found.tags)
    assert {link for link in found.links if not link.startswith("#")} == {
        "https://arxiv.org/abs/2407.14494"
    }
    assert not {name for name in found.attributes if name.startswith("on") or name == "style"}
    assert found.policy.startswith("default-src 'none'; ") and "unsafe" not in found.policy
    for tag in ("script", "style"):
        digest = base64.b64encode(hashlib.sha256(found.content[tag].encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in found.policy


def test_numbers_without_the_script_are_those_of_the_leaderboard(bench: MadeUpBench) -> None:
    texts = Elements(page_of(bench)).texts
    for entry in leaderboard(bench.results):
        interval = entry.head_no_embed
        assert interval is not None
        assert f"{interval.mean:.3f}" in texts
        assert f"[{interval.low:.3f}, {interval.high:.3f}]" in texts
        for value in (entry.average_precision, entry.paper_auc, entry.cpr, entry.cmd):
            assert f"{value:.3f}" in texts
    matrix = case_matrix(bench.results)
    rows = heat_rows(PageData.of(bench.results))
    assert tuple(row.label for row in rows) == matrix.methods
    for row, values, mean in zip(rows, matrix.values, matrix.means, strict=True):
        assert [cell.text for cell in row.cells] == [f"{value:.2f}" for value in values]
        assert row.mean == f"{mean:.3f}"


def test_what_does_not_exceed_chance_is_marked(bench: MadeUpBench) -> None:
    marked = {
        row.label: [cell.is_chance for cell in row.cells]
        for row in heat_rows(PageData.of(bench.results))
    }
    assert not any(marked["exact"]) and any(marked["random"])
    assert [shade(area) for area in (None, 0.0, 0.49, 0.5, 1.0)] == [None, 0, 5, 6, 11]


def test_the_circuit_follows_from_the_scores(bench: MadeUpBench) -> None:
    rows = [row for row in bench.scores if row.case == "11"]
    drawing = draw_case(rows)
    assert drawing is not None and drawing.shape == (2, 2)
    for name in UNIVERSES:
        expected = "".join(truth[0] for truth in CIRCUIT.edge_truths(name).values())
        assert drawing.truths[name] == expected
    assert "c" in drawing.truths["qkv"] and "c" in drawing.truths["head"]
    assert set(drawing.values) == {(m, "resample", s, 0) for m in METHODS for s in (0, 1)}
    values = {row.item: row.value for row in rows if (row.method, row.seed) == ("noisy", 1)}
    own = drawing.values["noisy", "resample", 1, 0]
    assert own == [values[str(edge)] for edge in universe("qkv", 2, 2).edges]


@pytest.mark.parametrize("shape", [(1, 1), (2, 4), (3, 2)])
def test_shapes_have_the_edges_and_groups_of_their_universes(shape: tuple[int, int]) -> None:
    made = shape_as_json(shape)
    spaces, nodes = made["universes"], made["nodes"]
    assert isinstance(spaces, dict) and isinstance(nodes, list)
    scores = np.random.default_rng(0).random(len(universe("qkv", *shape).edges))
    for name in UNIVERSES:
        space = universe(name, *shape)
        ends = [(nodes[src]["label"], nodes[dst]["label"]) for src, dst in spaces[name]["edges"]]
        assert len(ends) == len(set(ends)) == len(space.edges)
        groups = spaces[name]["groups"] or [[index] for index in range(len(scores))]
        merged = [max(scores[index] for index in group) for group in groups]
        assert merged == promote_scores(scores, "qkv", name, *shape).tolist()


@pytest.mark.parametrize(
    "items",
    [
        [],
        ["nonsense"],
        ["hook_embed -> blocks.0.hook_mlp_in"],
        ["hook_embed -> blocks.99999999.hook_mlp_in"],
        ["hook_embed -> blocks.0.hook_q_input[99999999]"],
    ],
)
def test_other_items_have_no_drawing(bench: MadeUpBench, items: list[str]) -> None:
    scores = [replace(bench.scores[0], item=item) for item in items]
    assert draw_case(scores) is None
    data = PageData.of(bench.results)
    page = page_as_json(data, scores, bench.curves, {})
    assert isinstance(page["cases"], list)
    assert [each["drawing"] for each in page["cases"]] == [None] * 3


def test_a_run_that_lacks_an_edge_has_no_drawing(bench: MadeUpBench) -> None:
    own = [row for row in bench.scores if row.case == "11"]
    assert draw_case(own[1:]) is None


@given(st.lists(st.floats(allow_nan=False) | st.floats(width=32, allow_nan=False), min_size=2))
def test_shortened_scores_have_the_same_order(values: list[float]) -> None:
    short = shorten(values)
    assert np.isfinite(short).all()
    clipped = np.clip(values, -sys.float_info.max, sys.float_info.max)
    for one, other in zip(clipped, short, strict=True):
        assert other == pytest.approx(one, rel=1e-7, abs=1e-38)
    before = np.unique(clipped, return_inverse=True)[1]
    assert (np.unique(short, return_inverse=True)[1] == before).all()


def test_float32_scores_are_written_shortly() -> None:
    assert shorten([float(np.float32(0.1)), 2.0]) == [0.1, 2.0]
    assert shorten([float(np.float32(0.1)), 0.2]) == [float(np.float32(0.1)), 0.2]
    assert shorten([0.0, float("inf")]) == [0.0, sys.float_info.max]


def test_of_several_runs_the_first_is_drawn(bench: MadeUpBench) -> None:
    texts = {"11": CaseText("Doubles.", releases=("1.0.0", "current"))}
    page = page_as_json(PageData.of(bench.results), bench.scores, bench.curves, texts)
    assert isinstance(page["cases"], list)
    for case in page["cases"]:
        assert case["releases"] == (["1.0.0", "current"] if case["id"] == "11" else [])
        assert [run["seed"] for run in case["drawing"]["runs"]] == [0, 0, 0]
        assert [run["of"] for run in case["drawing"]["runs"]] == [2, 2, 2]
        assert all(len(run["curves"]["absolute"]) == 10 for run in case["drawing"]["runs"])


def test_columns_without_values_are_left_out(bench: MadeUpBench) -> None:
    some = [replace(row, cpr=None, cmd=None, seconds=None) for row in bench.results]
    data = json.loads(Elements(report_html(some)).content["application/json"])
    assert [column["key"] for column in data["columns"]] == [
        *("rank", "method", "cases", "area", "precision", "paper"),
    ]
    assert not data["hasScores"] and not data["hasCurves"]
    assert "CPR" not in Elements(report_html(some)).texts


def test_pages_of_little() -> None:
    assert "There are no results to show." in report_html([])
    nodes = [row for row in made_up_bench().results if row.level == "node"]
    assert "Mean ROC-AUC of nodes" in report_html(nodes)
    fine = [row for row in made_up_bench(("11",)).results if row.universe == "qkv"]
    assert "in universe qkv, over" in report_html(fine)
    undefined = [replace(row, roc_auc=None, null_mean=None, null_high=None) for row in fine]
    assert "chance-mark" not in Elements(report_html(undefined)).texts


def test_without_jinja_the_error_names_the_extra(
    bench: MadeUpBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    rendering._environment.cache_clear()
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(ImportError, match=r"page of a benchmark needs jinja2.*\[bench\]"):
        page_of(bench)

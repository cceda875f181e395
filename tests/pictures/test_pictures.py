"""Pictures: what is drawn, and that text in them is text."""

import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.patches import FancyArrowPatch

import interpbench_jax as ib
from interpbench_jax.discovery import Scores
from interpbench_jax.pictures.routes import HALF_HEIGHT, HALF_WIDTH, place_nodes
from interpbench_jax.report.figures import encode_figure
from interpbench_jax.scores.faithfulness import FaithfulnessCurve
from tests.certificates.commands import run_command

HOSTILE = "<script>alert(1)</script> $\\frac{a$ \x1b[31m"
CASE = ib.load_case("3")
CIRCUIT = CASE.truth()
EDGES = ib.universe("qkv", 2, 4).edges
IN = [edge for edge, truth in CIRCUIT.edge_truths("qkv").items() if truth == "in"]
OUT = [edge for edge, truth in CIRCUIT.edge_truths("qkv").items() if truth == "out"]


@pytest.fixture(autouse=True)
def without_display() -> Iterator[None]:
    mpl.use("Agg")
    yield
    pyplot.close("all")


def findings(ax: Axes) -> Counter[str]:
    """How many edges are drawn of each kind."""
    arrows = [patch for patch in ax.patches if isinstance(patch, FancyArrowPatch)]
    return Counter(str(arrow.get_gid()).partition(":")[0] for arrow in arrows)


def scores_of(best: list[ib.Edge]) -> Scores:
    values = np.asarray([float(len(best) - best.index(e)) if e in best else 0.0 for e in EDGES])
    return Scores("edge", "qkv", values, names=EDGES)


# Circuits


@pytest.mark.parametrize("universe", ib.UNIVERSES)
def test_a_circuit_by_itself(universe) -> None:
    truths = Counter(CIRCUIT.edge_truths(universe).values())
    ax = ib.draw_circuit(CIRCUIT, universe=universe)
    assert findings(ax) == Counter(hit=truths["in"], constant=truths["constant"])
    labels = {text.get_text() for text in ax.texts}
    assert {"0.0", "1.3", "MLP 0", "MLP 1", "output"} <= labels
    assert f"(universe {universe})" in ax.get_title(loc="left")


def test_what_was_found() -> None:
    constant = len(CIRCUIT.constant_in("qkv"))
    found = [*IN[1:], OUT[0], OUT[7]]
    expected = Counter(hit=len(IN) - 1, missed=1, extra=2, constant=constant)
    drawn = ib.draw_circuit(CIRCUIT, found, universe="qkv")
    assert findings(drawn) == expected
    legend = drawn.get_legend()
    assert legend is not None
    texts = [text.get_text() for text in legend.get_texts()]
    assert texts[:3] == [
        "in the circuit and found",
        "in the circuit, not found",
        "found, not in the circuit",
    ]
    as_circuit = ib.Circuit(2, 4, tuple(found))
    assert findings(ib.draw_circuit(CIRCUIT, as_circuit, universe="qkv"))["extra"] >= 2


def test_the_best_edges_of_scores() -> None:
    constant = len(CIRCUIT.constant_in("qkv"))
    ranked = [*IN, *OUT[:4]]
    same = findings(ib.draw_circuit(CIRCUIT, scores_of(ranked), universe="qkv"))
    assert same == Counter(hit=len(IN), constant=constant)
    more = ib.draw_circuit(CIRCUIT, scores_of(ranked), universe="qkv", n_edges=len(IN) + 3)
    assert findings(more) == Counter(hit=len(IN), extra=3, constant=constant)
    # Scores of 0 are no findings, and scores of finer universes are promoted.
    assert findings(ib.draw_circuit(CIRCUIT, scores_of(IN[:1]), n_edges=9))["extra"] == 0


def test_axes_that_are_given_are_used() -> None:
    figure, (left, right) = pyplot.subplots(1, 2)
    assert ib.draw_circuit(CIRCUIT, ax=left) is left and not right.patches
    assert ib.plot_attention(np.eye(3), ax=right) is right
    assert len(pyplot.get_fignums()) == 1 and left.figure is figure


@pytest.mark.parametrize(
    ("found", "message"),
    [
        ([ib.parse_edge("hook_embed -> blocks.0.attn.hook_result[0]")], "Expected edges of univ"),
        (Scores("node", "qkv", np.zeros(12)), "edges"),
    ],
)
def test_findings_that_do_not_fit(found: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ib.draw_circuit(CIRCUIT, found, universe="qkv")  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("case_id", ["4", "13", "19", pytest.param("ioi", marks=pytest.mark.slow)])
@pytest.mark.parametrize("universe", ["qkv", "head", "head-no-embed"])
def test_no_edge_crosses_a_node(case_id: str, universe) -> None:
    """Neither in the circuit, nor with twenty edges at random beside it."""
    circuit = ib.CASES[case_id].complete_circuit
    space = ib.universe(universe, circuit.n_layers, circuit.n_heads)
    generator = np.random.default_rng(0)
    random = [space.edges[i] for i in generator.choice(len(space.edges), 20, replace=False)]
    places = place_nodes(space)
    for found in ([], random):
        ax = ib.draw_circuit(circuit, found, universe=universe)
        arrows = [patch for patch in ax.patches if isinstance(patch, FancyArrowPatch)]
        assert len(arrows) >= len(found)
        for arrow in arrows:
            edge = ib.parse_edge(str(arrow.get_gid()).partition(": ")[2])
            (path,) = arrow._path_original.to_polygons(closed_only=False)  # pyright: ignore
            points = np.concatenate([np.linspace(a, b, 9) for a, b in pairwise(path)])
            for node, (x, y) in places.centers.items():
                across, along = abs(points[:, 0] - x), abs(points[:, 1] - y)
                inside = (across < HALF_WIDTH) & (along < HALF_HEIGHT - 1e-9)
                assert not inside.any(), (edge, node)
        pyplot.close("all")


def test_names_in_circuits_do_not_overlap() -> None:
    for ax in (
        ib.draw_circuit(CIRCUIT),
        ib.draw_circuit(CIRCUIT, [*IN[1:], *OUT[:6]], universe="qkv"),
    ):
        figure = ax.figure
        figure.canvas.draw()
        legend = ax.get_legend()
        assert legend is not None
        texts = [text for text in (*ax.texts, *legend.get_texts()) if text.get_text()]
        boxes = [text.get_window_extent() for text in texts]  # In pixels.
        for index, box in enumerate(boxes):
            for other in boxes[:index]:
                across = min(box.x1, other.x1) - max(box.x0, other.x0)
                along = min(box.y1, other.y1) - max(box.y0, other.y0)
                assert across <= 0.5 or along <= 0.5


def test_findings_are_told_apart_without_colors() -> None:
    ax = ib.draw_circuit(CIRCUIT, [*IN[1:], OUT[0]], universe="qkv")
    arrows = [patch for patch in ax.patches if isinstance(patch, FancyArrowPatch)]
    looks = {
        str(arrow.get_gid()).partition(":")[0]: (str(arrow.get_linestyle()), arrow.get_linewidth())
        for arrow in arrows
    }
    assert len(looks) == 4 and len({dash for dash, _ in looks.values()}) == 4


# Attention


def test_an_attention_pattern() -> None:
    pattern = np.tril(np.ones((3, 3))) / np.arange(1, 4)[:, None]
    ax = ib.plot_attention(pattern, ["BOS", "a", HOSTILE], title="head 0.1")
    (image,) = ax.images
    np.testing.assert_array_equal(image.get_array(), pattern)
    assert [tick.get_text() for tick in ax.get_xticklabels()][:2] == ["BOS", "a"]
    last = ib.plot_attention(pattern[1:], ["BOS", "a", "b"])
    assert [tick.get_text() for tick in last.get_yticklabels()] == ["a", "b"]


@pytest.mark.parametrize(
    ("shape", "tokens", "message"),
    [
        ((4, 3, 3), None, r"one head on one input, \[q_pos, k_pos\], got shape \(4, 3, 3\)"),
        ((3, 3), ["a"], "a token for each of 3 key positions .* got 1 tokens"),
        ((4, 3), None, "got 3 tokens and 4 queries"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_patterns_that_do_not_fit(
    shape: tuple[int, ...], tokens: list[str] | None, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        ib.plot_attention(np.zeros(shape), tokens)


# Effects


def test_effects_of_nodes_and_edges() -> None:
    nodes = ib.universe("qkv", 2, 4).sources
    of_nodes = Scores("node", "qkv", np.arange(12.0), names=nodes)
    (image,) = ib.plot_effects(of_nodes).images
    grid = np.ma.filled(np.ma.asarray(image.get_array()), np.nan)
    # Layer 1 on top; the two embeddings at the bottom.
    np.testing.assert_array_equal(grid[:2], [np.arange(7, 12), np.arange(2, 7)])
    np.testing.assert_array_equal(grid[2, :2], [0, 1])
    assert np.isnan(grid[2, 2:]).all()

    of_edges = Scores("edge", "qkv", np.arange(1.0, 138.0), names=EDGES)
    ax = ib.plot_effects(of_edges)
    grid = np.ma.filled(np.ma.asarray(ax.images[0].get_array()), np.nan)
    assert grid.shape == (27, 12) and np.isfinite(grid).sum() == 137
    assert [tick.get_text() for tick in ax.get_xticklabels()][:3] == ["embed", "position", "0.0"]
    assert ax.get_yticklabels()[0].get_text() == "output" and np.nanmax(grid[0]) == 137


def test_effects_of_a_sweep_say_their_metric() -> None:
    result = ib.sweep_nodes(CASE.model, CASE.sample(8, 0), universe="head")
    ax = ib.plot_effects(result)
    assert ax.images[0].colorbar is not None
    assert ax.images[0].colorbar.ax.get_ylabel() == "effect (l2)"
    with pytest.raises(ValueError, match="a name for each of 12 values, got 0"):
        ib.plot_effects(Scores("node", "qkv", np.zeros(12)))


# Curves


def test_roc_curves() -> None:
    ranked = scores_of([*IN, *OUT[:4]])
    worst = Scores("edge", "qkv", -ranked.values, names=EDGES)
    ax = ib.plot_roc(CIRCUIT, {"best": ranked, HOSTILE: worst}, absolute=False)
    legend = ax.get_legend()
    assert legend is not None
    texts = [text.get_text() for text in legend.get_texts()]
    assert texts[:2] == ["0.50  expected by chance", "1.00  best"] and texts[2].startswith(
        "0.00  <script>"
    )
    assert f"{len(IN)} of {len(IN) + len(OUT)} edges (universe qkv)" in ax.get_title(loc="left")
    coarse = ib.plot_roc(CIRCUIT, ranked, universe="head")
    assert "(universe head)" in coarse.get_title(loc="left")
    assert coarse.get_xlabel() == "false positive rate (edges, universe head)"


@pytest.mark.parametrize("level", ["edge", "node"])
@pytest.mark.parametrize("universe", ib.UNIVERSES)
def test_chance_is_the_curve_of_random_scores(universe, level) -> None:
    items = ib.universe("qkv", 2, 4)
    n_items = len(items.edges if level == "edge" else items.sources)
    result = Scores(level, "qkv", np.random.default_rng(0).random(n_items))
    ax = ib.plot_roc(CIRCUIT, result, universe=universe)
    false, true = (np.asarray(each, float) for each in ax.lines[0].get_data())
    area = float(np.trapezoid(true, false))
    assert (false[0], true[0], false[-1], true[-1]) == (0, 0, 1, 1)
    if universe == "qkv":
        np.testing.assert_allclose(false, true, atol=1e-12)
    elif level == "edge":
        ranks = ib.rank_scores(result, CIRCUIT, n_draws=2_000)
        (found,) = (e.null_mean for e in ranks if (e.universe, e.level) == (universe, "edge"))
        # Five standard errors of 2,000 draws, whose deviation is at most 0.2.
        assert area == pytest.approx(found, abs=0.023)
    assert ax.get_legend().get_texts()[0].get_text().startswith(f"{area:.2f}")  # pyright: ignore


def test_roc_curves_of_different_kinds() -> None:
    nodes = Scores("node", "qkv", np.zeros(12))
    for results in ({}, {"edges": scores_of(IN), "nodes": nodes}):
        with pytest.raises(ValueError, match="all of edges or all of nodes, at least one"):
            ib.plot_roc(CIRCUIT, results)


def test_faithfulness() -> None:
    fractions = np.asarray([0.01, 0.1, 1.0])
    counts = np.asarray([1, 10, 100])
    heights = np.asarray([0.0, 0.5, 1.0])
    curve = FaithfulnessCurve(fractions, counts, counts, 1 - heights, 1.0, heights, 0.7, 0.3)
    ax = ib.plot_faithfulness({"mine": curve})
    np.testing.assert_array_equal(ax.lines[1].get_ydata(), heights)
    legend = ax.get_legend()
    assert legend is not None
    assert legend.get_texts()[1].get_text() == "CPR 0.70, CMD 0.30  mine"
    flat = FaithfulnessCurve(fractions, counts, counts, heights, 0.0, None, None, None)
    for curves, message in (({"flat": flat}, "has no effect for 'flat'"), ({}, "at least one")):
        with pytest.raises(ValueError, match=message):
            ib.plot_faithfulness(curves)


# Text, files and the command line


@pytest.mark.slow
def test_hostile_text_is_text() -> None:
    pictures = [
        ib.draw_circuit(CIRCUIT, title=HOSTILE),
        ib.plot_attention(np.eye(2), [HOSTILE, "a"], title=HOSTILE),
        ib.plot_effects(scores_of(IN), title=HOSTILE),
        ib.plot_roc(CIRCUIT, {HOSTILE: scores_of(IN)}, title=HOSTILE),
    ]
    for ax in pictures:
        svg = encode_figure(ax.figure, "svg").decode()  # pyright: ignore[reportArgumentType]
        assert "<script" not in svg and "\x1b" not in svg
        root = ElementTree.fromstring(svg)
        assert root.tag.endswith("svg")
        assert encode_figure(ax.figure, "png")[:4] == b"\x89PNG"  # pyright: ignore


def test_show_draws_into_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("circuit.svg", "circuit.PNG"):
        run_command("show", "3", "--plot", str(tmp_path / name), code=0)
        shown = " ".join(capsys.readouterr().err.split())
        assert f"Drew the circuit into {tmp_path / name}" in shown
        assert (tmp_path / name).stat().st_size > 1000
    assert sorted(path.name for path in tmp_path.iterdir()) == ["circuit.PNG", "circuit.svg"]


def test_show_refuses_other_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_command("show", "3", "--plot", str(tmp_path / "circuit.pdf"), code=2)
    assert "Expected --plot to be a .png or .svg file" in " ".join(capsys.readouterr().err.split())
    assert not list(tmp_path.iterdir())


def test_nothing_is_drawn_on_import() -> None:
    code = "import sys, interpbench_jax.pictures; print('matplotlib' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"

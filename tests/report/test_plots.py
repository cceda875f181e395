"""A benchmark's plots: file names, reproducible bytes and the data of the curves."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib.text import Text

from interpbench_jax.report.bench import Matrix
from interpbench_jax.report.curves import roc_curve
from interpbench_jax.report.figures import COLUMN, PAGE, encode_figure
from interpbench_jax.report.plots import (
    box_plot,
    effects_plot,
    heat_map,
    roc_plot,
    write_plots,
)
from interpbench_jax.scores import roc_auc
from tests.bench.fake_results import Fake, fake_bench

# 20 methods on 18 cases: the largest plot that must be legible.
LARGE = Matrix(
    "head",
    tuple(f"a-long-name-of-method-{index}" for index in range(20)),
    (*map(str, range(16)), "ioi", "ioi_next_token"),
    np.random.default_rng(0).random((20, 18)),
)


@pytest.fixture(scope="module")
def fake() -> Fake:
    return fake_bench(cases=("3", "11"), ablations=("mean", "resample"))


@pytest.fixture(scope="module")
def written(fake: Fake, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return write_plots(fake.results, fake.scores, tmp_path_factory.mktemp("plots") / "new")


@pytest.mark.slow
def test_every_plot_is_written_twice(written: list[Path]) -> None:
    names = [
        f"{plot}-{universe}"
        for universe in ("head-no-embed", "head")
        for plot in ("boxes", "heat-map")
    ]
    names += ["roc-3", "roc-11", "effects-noisy", "effects-random"]
    assert [path.name for path in written] == [
        f"{name}.{kind}" for name in names for kind in ("png", "svg")
    ]
    folder = written[0].parent
    assert sorted(folder.iterdir()) == sorted(written)  # No temporary file is left.
    for path in written:
        data = path.read_bytes()
        if path.suffix == ".png":
            assert data.startswith(b"\x89PNG") and b"Software" not in data
        else:
            assert ElementTree.fromstring(data).tag.endswith("svg")
            assert b"dc:date" not in data and b"Matplotlib" not in data


def test_plots_are_of_one_ablation(written: list[Path]) -> None:
    texts = {path.name: path.read_text() for path in written if path.suffix == ".svg"}
    assert "Case 11: edges, qkv, resample ablation" in texts["roc-11.svg"]
    for method in ("exact", "noisy", "random"):
        assert method in texts["roc-11.svg"] and method in texts["boxes-head.svg"]
    assert "(mean)" not in texts["boxes-head.svg"]


@pytest.mark.slow
def test_another_process_writes_the_same_bytes(written: list[Path], tmp_path: Path) -> None:
    code = (
        "import sys, matplotlib\n"
        "matplotlib.rcParams.update({'font.size': 30, 'figure.facecolor': 'red'})\n"
        "from interpbench_jax.report.plots import write_plots\n"
        "from tests.bench.fake_results import fake_bench\n"
        "fake = fake_bench(cases=('3', '11'), ablations=('mean', 'resample'))\n"
        # Reading the backend would choose one and import pyplot.
        "names = set(matplotlib.rcParams) - {'backend'}\n"
        "read = lambda: {name: matplotlib.rcParams[name] for name in names}\n"
        "before = read()\n"
        "write_plots(fake.results[::-1], fake.scores[::-1], sys.argv[1])\n"
        "assert read() == before\n"
        "assert 'matplotlib.pyplot' not in sys.modules and 'jax' not in sys.modules\n"
    )
    root = Path(__file__).resolve().parents[2]
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], cwd=root, check=True)
    for path in written:
        assert (tmp_path / path.name).read_bytes() == path.read_bytes(), path.name


def test_chosen_ablation_and_reference(fake: Fake, tmp_path: Path) -> None:
    paths = write_plots(fake.results, [], tmp_path, ablation="mean")
    assert len(paths) == 8  # Without scores, no curves and no effects.
    assert "Edges, head, mean ablation" in (tmp_path / "boxes-head.svg").read_text()
    with pytest.raises(ValueError, match=r"the ablation 'zero', got those of \['mean', 'resam"):
        write_plots(fake.results, [], tmp_path, ablation="zero")
    with pytest.raises(ValueError, match="got those of no edges"):
        write_plots([], [], tmp_path)


def test_curves_have_the_areas_of_the_scores() -> None:
    generator = np.random.default_rng(0)
    for _ in range(20):
        scores = generator.integers(0, 6, 40).astype(float)
        truth = generator.random(40) < 0.3
        false, true = roc_curve(scores, truth)
        assert (false[0], true[0], false[-1], true[-1]) == (0, 0, 1, 1)
        assert (np.diff(false) >= 0).all() and (np.diff(true) >= 0).all()
        assert np.trapezoid(true, false) == pytest.approx(roc_auc(scores, truth), abs=1e-12)


def test_a_curve_by_hand() -> None:
    scores = np.asarray([3.0, 2.0, 2.0, 1.0])
    truth = np.asarray([True, True, False, False])
    false, true = roc_curve(scores, truth)
    np.testing.assert_array_equal(false, [0, 0, 0.5, 1])
    np.testing.assert_array_equal(true, [0, 0.5, 1, 1])
    with pytest.raises(ValueError, match="got 2 and 0"):
        roc_curve(scores[:2], truth[:2])


@pytest.mark.slow
def test_labels_of_the_largest_plots_do_not_overlap() -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    curves = {name: (np.linspace(0, 1, 5), np.linspace(0, 1, 5)) for name in LARGE.methods}
    for figure in (box_plot(LARGE, "t"), heat_map(LARGE, "t"), roc_plot(curves, "t")):
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        axes = figure.axes[0]
        legend = axes.get_legend()
        texts = [*axes.get_xticklabels(), *axes.get_yticklabels(), *axes.texts]
        texts += [] if legend is None else legend.get_texts()
        boxes = [text.get_window_extent() for text in texts if text.get_text()]
        assert len(boxes) >= 18
        for index, box in enumerate(boxes):
            assert box.height >= 8  # Pixels at the default 100 per inch.
            for other in boxes[:index]:
                across = min(box.x1, other.x1) - max(box.x0, other.x0)
                along = min(box.y1, other.y1) - max(box.y0, other.y0)
                assert across <= 0.5 or along <= 0.5


def test_lines_of_twenty_methods_are_told_apart() -> None:
    curves = {name: (np.zeros(2), np.zeros(2)) for name in LARGE.methods}
    lines = roc_plot(curves, "t").axes[0].get_lines()[1:]
    assert len({(line.get_color(), line.get_linestyle()) for line in lines}) == 20


def test_odd_values_are_drawn() -> None:
    exact = np.asarray([0.0, 1e-30, 1.0, np.inf])
    scores = np.asarray([-1.0, 0.0, 1e300, -np.inf])
    truth = np.asarray([True, False, True, False])
    assert encode_figure(effects_plot(exact, scores, truth, "$x_"), "png")
    zeros = np.zeros(4)
    assert encode_figure(effects_plot(zeros, zeros, truth, "t"), "svg")
    empty = Matrix("head", ("a", "b"), ("3",), np.full((2, 1), np.nan))
    assert encode_figure(box_plot(empty, "t"), "png")
    assert encode_figure(heat_map(empty, "t"), "png")


@pytest.mark.slow
def test_methods_whose_names_are_alike_as_files(tmp_path: Path) -> None:
    fake = fake_bench(methods=("exact", "a b", "a/b"), cases=("11",))
    names = [path.name for path in write_plots(fake.results, fake.scores, tmp_path)]
    assert {"effects-a-b.png", "effects-a-b-2.png"} <= set(names)
    assert len(set(names)) == len(names)


HOSTILE = "<script>alert(1)</script> $\\frac{a$ \x1b[31m"


@pytest.mark.slow
def test_plots_have_the_sizes_of_papers_and_readable_letters() -> None:
    curves = {name: (np.linspace(0, 1, 5), np.linspace(0, 1, 5)) for name in LARGE.methods}
    zeros = np.zeros(4)
    figures = {
        COLUMN: [box_plot(LARGE, "t"), effects_plot(zeros, zeros, zeros > 0, "t")],
        PAGE: [heat_map(LARGE, "t"), roc_plot(curves, "t")],
    }
    for width, own in figures.items():
        for figure in own:
            data = encode_figure(figure, "png")
            assert int.from_bytes(data[16:20]) == pytest.approx(300 * width, abs=1)
            sizes = [float(text.get_fontsize()) for text in figure.findobj(Text) if text.get_text()]
            assert 6.9 < min(sizes) <= max(sizes) <= 12


def test_chance_is_drawn_where_it_lies() -> None:
    chance = np.full(LARGE.values.shape, 0.42)
    chance[0] = np.nan
    boxes = box_plot(LARGE, "t", chance)
    note = boxes._supxlabel.get_text()  # pyright: ignore[reportAttributeAccessIssue]
    assert "dashed: expected by chance, 0.42" in note
    assert boxes.axes[0].get_xlabel() == "ROC-AUC, universe head"
    chance[1] = 0.5
    note = box_plot(LARGE, "t", chance)._supxlabel  # pyright: ignore[reportAttributeAccessIssue]
    assert "chance, 0.42 to 0.50" in note.get_text()
    rows = heat_map(LARGE, "t", np.full(LARGE.values.shape, 0.42)).axes[0]
    assert [tick.get_text() for tick in rows.get_yticklabels()][-1] == "expected by chance"
    assert [text.get_text() for text in rows.texts][-18:] == ["0.42"] * 18
    unknown = heat_map(LARGE, "t", np.full(LARGE.values.shape, np.nan)).axes[0]
    assert len(unknown.get_yticklabels()) == 20
    assert "chance" not in box_plot(LARGE, "t")._supxlabel.get_text()  # pyright: ignore


@pytest.mark.slow
def test_rows_tell_chance(fake: Fake, tmp_path: Path) -> None:
    rows = [replace(row, null_mean=0.5 if row.universe == "head" else 0.37) for row in fake.results]
    write_plots(rows, [], tmp_path)
    assert "dashed: expected by chance, 0.37<" in (tmp_path / "boxes-head-no-embed.svg").read_text()
    assert "dashed: expected by chance, 0.50<" in (tmp_path / "boxes-head.svg").read_text()
    assert "expected by chance" in (tmp_path / "heat-map-head.svg").read_text()


@pytest.mark.slow
def test_hostile_text_is_text(tmp_path: Path) -> None:
    fake = fake_bench(methods=("exact", HOSTILE), cases=("11",))
    for path in write_plots(fake.results, fake.scores, tmp_path):
        assert path.parent == tmp_path and "<" not in path.name
        if path.suffix == ".svg":
            text = path.read_text()
            assert "<script" not in text and "\x1b" not in text
            assert ElementTree.fromstring(text).tag.endswith("svg")
            shows_methods = path.name.startswith(("boxes", "heat-map", "roc"))
            assert not shows_methods or "$\\frac{a$" in text


def test_curves_name_the_universe() -> None:
    diagonal = (np.asarray([0.0, 1.0]), np.asarray([0.0, 1.0]))
    axes = roc_plot({"chance": diagonal}, "t").axes[0]
    assert axes.get_xlabel() == "false positive rate (edges, universe qkv)"
    legend = axes.get_legend()
    assert legend is not None
    texts = [text.get_text() for text in legend.get_texts()]
    assert texts == ["0.50  expected by chance", "0.50  chance"]

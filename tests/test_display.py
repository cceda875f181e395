"""The display of results, and copies of them by pickling and between processes."""

import base64
import copy
import multiprocessing
import pickle
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pytest

import interpbench_jax as ib
from interpbench_dataset.packaged import packaged_folder
from interpbench_jax.cases import CASES
from interpbench_jax.certificates import read_certificate
from interpbench_jax.display import html_table, largest
from interpbench_jax.pictures import displays
from interpbench_jax.texts import count, cut_off
from interpbench_jax.training.evaluation import Accuracies
from interpbench_jax.training.result import Trained
from interpbench_jax.weights import digest_weights, random_weights

CASE = ib.load_case("3")
PAIRS = CASE.sample(8, 0)
ACCURACIES = Accuracies(1.0, {}, {}, {}, {}, 1.0)

# Treescope looks up every name that JAX has ever had.
old_names = pytest.mark.filterwarnings("ignore:jax.* is deprecated:DeprecationWarning")


@pytest.fixture(scope="module")
def objects() -> dict[str, object]:
    """Return one object of every kind that users see."""
    return {
        "case": CASE,
        "circuit": CASE.truth(),
        "pairs": PAIRS,
        "objective": PAIRS.objective,
        "sweep": ib.sweep_edges(CASE.model, PAIRS),
        "nodes": ib.sweep_nodes(CASE.model, PAIRS, ablation=("mean", "zero"), positions=[1, 2]),
        "scores": ib.discover(CASE.model, PAIRS, "exact"),
        "certificate": read_certificate(packaged_folder() / "models" / "3"),
        "faithfulness": ib.faithfulness_curve(
            CASE.model, PAIRS, ib.discover(CASE.model, PAIRS, "eap")
        ),
        "cache": ib.run_with_cache(CASE.model, PAIRS.input_ids)[1],
        "trained": Trained(CASE, 0, 5, True, ACCURACIES, ()),
        "universe": ib.universe("qkv", 2, 4),
        "config": CASE.config,
        "task": CASE.task,
        "ioi": CASES["ioi"],
        "program": CASE.high_level,
        "method": ib.METHODS["eap"],
    }


@pytest.mark.slow
def test_a_repr_fits_on_a_screen(objects: dict[str, object]) -> None:
    assert {name for name, each in objects.items() if len(repr(each)) > 600} == set()
    assert "137 edges of 'qkv', resample ablation, effect as l2 over 8 inputs" in repr(
        objects["sweep"]
    )
    assert "12 nodes of 'qkv' at 2 positions, mean, zero ablation" in repr(objects["nodes"])
    assert repr(objects["scores"]).startswith("Scores(137 edges of 'qkv'; largest: ")
    assert "4 layers" not in repr(CASE.truth()) and "(2 constant)" in repr(CASE.truth())


@old_names
@pytest.mark.parametrize(
    "name",
    [
        "case",
        "circuit",
        "sweep",
        "nodes",
        "scores",
        "certificate",
        "faithfulness",
        "cache",
        "trained",
    ],
)
def test_a_notebook_shows_a_table(objects: dict[str, object], name: str) -> None:
    shown = objects[name]._repr_html_()  # pyright: ignore[reportAttributeAccessIssue]
    assert shown.count("<table>") == shown.count("</table>") == (2 if name == "nodes" else 1)
    assert len(shown) < {"case": 120_000, "circuit": 30_000}.get(name, 8_000)


def drawings_in(shown: str) -> list[str]:
    """Return the SVG of every image."""
    found = re.findall(r'src="data:image/svg\+xml;base64,([A-Za-z0-9+/=]+)"', shown)
    return [base64.b64decode(data).decode() for data in found]


def test_a_circuit_is_drawn_beside_its_edges() -> None:
    circuit = CASES["38"].complete_circuit
    shown = circuit._repr_html_()
    (drawing,) = drawings_in(shown)
    assert ElementTree.fromstring(drawing).tag.endswith("svg")
    assert "MLP 0" in drawing and "universe head" in drawing
    assert shown.count("<tr>") == 1 + min(len(circuit), 10) + (len(circuit) > 10)
    assert f"and {len(circuit) - 10} more" in shown
    # The page has no element, style or identifier of a drawing.
    assert not re.search(r"<svg|<style|\bid=|<script", shown)


@old_names
def test_a_case_shows_facts_circuit_and_model(objects: dict[str, object]) -> None:
    shown = CASE._repr_html_()
    assert len(drawings_in(shown)) == 1 and "<details" in shown
    hostile = replace(
        CASE, task_description="<script>alert(1)</script>", provenance={"source": "<b>"}
    )
    shown = hostile._repr_html_().partition("<details")[0]
    assert "<script" not in shown and "<b>" not in shown and "&lt;script&gt;" in shown
    assert drawings_in(replace(CASE, circuit=None)._repr_html_()) == []
    # A language model is too large to build for a display.
    assert "<details" not in ib.load_case("ioi")._repr_html_()


def test_drawings_need_matplotlib_only_if_it_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(displays, "find_spec", lambda name: None)
    shown = CASE.truth()._repr_html_()
    assert shown.startswith("<table>") and shown.endswith("</table>")
    shown = CASE._repr_html_()
    assert "<img" not in shown and "<table>" in shown and "<details" in shown


@pytest.mark.slow
def test_displays_leave_pyplot_alone() -> None:
    code = (
        "import sys, interpbench_jax as ib\n"
        "shown = ib.load_case('3').truth()._repr_html_()\n"
        "assert '<img' in shown and 'matplotlib.pyplot' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@old_names
def test_a_model_is_shown_by_treescope() -> None:
    shown = CASE.model._repr_mimebundle_()
    assert "treescope" in shown["text/html"] and len(shown["text/html"]) < 200_000
    assert shown["text/plain"].startswith("Transformer(TransformerConfig(")


def test_text_is_never_markup() -> None:
    shown = html_table("<b>", ("<i>",), [("<script>alert(1)</script>",), (0.123456,)])
    assert "<b>" not in shown and "<i>" not in shown and "<script>" not in shown
    assert "0.1235" in shown


def test_the_largest() -> None:
    values = np.asarray([1.0, -3.0, 3.0, 0.5])
    assert largest("abcd", values, 3) == [("b", -3.0), ("c", 3.0), ("a", 1.0)]
    assert largest("abcd", values, 0) == []
    with pytest.raises(ValueError, match="at least 0 values, got -1"):
        largest("abcd", values, -1)
    assert (count(1, "pair"), count(1_000, "pair")) == ("1 pair", "1,000 pairs")
    assert cut_off(["a", "b"]) == "a, b"
    assert cut_off(list("abcdef")) == "a, b, c, and 3 more"


def test_top_and_columns(objects: dict[str, object]) -> None:
    sweep, scores, nodes = (objects[name] for name in ("sweep", "scores", "nodes"))
    assert isinstance(sweep, ib.SweepResult) and isinstance(nodes, ib.SweepResult)
    assert isinstance(scores, ib.Scores)
    (name, effect), *others = sweep.top(3)
    assert effect == abs(sweep.effects).max() and len(others) == 2
    assert scores.top(1) == [(name, pytest.approx(effect))]
    table = scores.to_pandas()
    assert [*table.columns] == ["name", "src", "dst", "score"] and len(table) == 137
    assert table["name"][int(table["score"].abs().argmax())] == str(name)
    np.testing.assert_array_equal(table["score"], scores.values)
    assert (sweep.level, nodes.level) == ("edge", "node")
    with pytest.raises(ValueError, match=r"of one ablation, got those of mean, zero; take result"):
        nodes.top()
    np.testing.assert_array_equal(nodes.of("mean").values, nodes.effects[0].max(axis=1))
    with pytest.raises(ValueError, match="Expected a name for each of 2 scores, got 0"):
        ib.Scores("edge", "qkv", np.zeros(2)).top()


def test_a_circuit_is_a_collection() -> None:
    circuit = CASE.truth()
    edge = circuit.edges[0]
    assert len(circuit) == len([*circuit]) == len(circuit.edges)
    assert edge in circuit and str(edge) in circuit
    assert "hook_embed -> blocks.1.hook_mlp_in" not in circuit
    assert ib.Circuit(2, 4, ()) and not len(ib.Circuit(2, 4, ()))
    with pytest.raises(ValueError):
        "nonsense" in circuit  # noqa: B015  # pyright: ignore[reportUnusedExpression]


# Scores use the result's own universe


@pytest.mark.parametrize("universe", ib.UNIVERSES)
def test_scores_of_a_result_are_in_its_universe(universe: str) -> None:
    result = ib.sweep_edges(CASE.model, PAIRS, universe=universe)  # pyright: ignore
    circuit = CASE.truth()
    heard = np.where(abs(result.effects) > result.noise_floor, result.effects, 0)
    by_hand = ib.edge_auc_by_universe(heard, circuit, result.universe)
    assert ib.edge_auc_by_universe(result, circuit) == by_hand
    ranks = ib.rank_scores(result, circuit, n_draws=5)
    assert ranks == ib.rank_scores(heard, circuit, result.universe, n_draws=5)
    assert ib.structure_scores(result, circuit) == ib.structure_scores(
        result.effects, circuit, result.universe
    )
    assert ib.scores.mib_edge_auc(result, circuit) == ib.scores.mib_edge_auc(
        result.effects, circuit, result.universe
    )
    curve = ib.faithfulness_curve(CASE.model, PAIRS, result)
    np.testing.assert_array_equal(
        curve.effects,
        ib.faithfulness_curve(CASE.model, PAIRS, result.effects, universe=result.universe).effects,
    )


def test_scores_of_nodes_are_nodes(objects: dict[str, object]) -> None:
    scores, circuit = ib.discover(CASE.model, PAIRS, "exact-nodes"), CASE.truth()
    expected = ib.rank_scores(scores.values, circuit, "qkv", "node", n_draws=5)
    assert ib.rank_scores(scores, circuit, n_draws=5) == expected
    for refuse in (
        ib.edge_auc_by_universe,
        ib.scores.paper_curve,
        ib.scores.mib_edge_auc,
        ib.structure_scores,
    ):
        with pytest.raises(ValueError, match="Expected scores of edges, got scores of nodes"):
            refuse(scores, circuit)
    with pytest.raises(ValueError, match="Expected universe='qkv' for this result, or none, got"):
        ib.rank_scores(scores, circuit, "head")
    with pytest.raises(ValueError, match="Expected level='node' for this result, or none, got"):
        ib.rank_scores(scores, circuit, level="edge")
    with pytest.raises(ValueError, match="of a universe, got those of other edits"):
        ib.rank_scores(ib.sweep_neurons(CASE.model, PAIRS), circuit)


def test_numbers_of_another_universe_are_recognised() -> None:
    with pytest.raises(
        ValueError, match="137 edges of 'qkv', got 53, the number of edges of 'head'"
    ):
        ib.edge_auc_by_universe(np.zeros(53), CASE.truth())


# Copies and other processes


def same(one: object, other: object) -> bool:
    return pickle.dumps(one) == pickle.dumps(other)


@pytest.mark.parametrize("carry", [lambda x: pickle.loads(pickle.dumps(x)), copy.deepcopy])
def test_everything_pickles(objects: dict[str, object], carry: Callable[[object], object]) -> None:
    for name, each in objects.items():
        assert repr(carry(each)) == repr(each), name
    again = carry(CASE)
    assert isinstance(again, ib.Case) and again == CASE
    assert digest_weights(again.weights) == digest_weights(CASE.weights)
    with pytest.raises(TypeError):
        again.weights["embed.W_E"] = np.zeros(1)  # pyright: ignore[reportIndexIssue]
    np.testing.assert_array_equal(again.model(PAIRS.input_ids), CASE.model(PAIRS.input_ids))


def effects_of(case: ib.Case) -> bytes:
    return ib.sweep_nodes(case.model, case.sample(8, 0)).effects.tobytes()


@pytest.mark.slow
def test_a_spawned_process_finds_the_same_bits() -> None:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        (found,) = pool.map(effects_of, [CASE])
    assert found == effects_of(CASE)


# User-defined models


def test_a_random_model_takes_one_call() -> None:
    config = ib.TransformerConfig(
        n_layers=1,
        n_heads=2,
        d_model=8,
        d_head=4,
        d_mlp=16,
        d_vocab=5,
        d_vocab_out=3,
        n_ctx=4,
        act_fn="relu",
    )
    first, again, other = (ib.random_model(config, seed) for seed in (0, 0, 1))
    tokens = np.zeros((2, 4), np.int32)
    np.testing.assert_array_equal(first(tokens), again(tokens))
    assert not np.array_equal(first(tokens), other(tokens))
    weights = random_weights(config, std=0.1)
    assert not weights["unembed.b_U"].any()
    assert np.std(weights["blocks.0.mlp.W_in"]) == pytest.approx(0.1, rel=0.2)

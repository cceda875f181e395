"""The paper's methods on our cases, and the paper's published table."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from interpbench_jax import load_case
from interpbench_jax.bench.paper import (
    PAPER_METHODS,
    PAPER_UNIVERSE,
    PaperCell,
    PaperSettings,
    exact_patching,
    paper_cell,
    published_areas,
    run_paper_method,
    softened_divergence,
)
from interpbench_jax.case import Case
from interpbench_jax.cases import TaskPairs
from interpbench_jax.metrics import (
    by_class,
    cross_entropy_increase,
    for_targets,
    summed_cross_entropy,
)
from interpbench_jax.scores import PAPER_THRESHOLDS, paper_auc
from interpbench_jax.targets import UNSCORED
from scripts.paper_table import Explanation, as_markdown, mean_differences
from tests.fixtures import CASE_IDS, UPSTREAM, requires_upstream

SETTINGS = PaperSettings(n_inputs=16, epochs=2)


@pytest.fixture(scope="module")
def case() -> Case:
    return load_case("36")


@pytest.fixture(scope="module")
def pairs(case: Case) -> TaskPairs:
    return case.sample(SETTINGS.n_inputs, seed=0)


def test_published_areas() -> None:
    areas = published_areas()
    assert len(areas) == 16 and all(set(own) == set(PAPER_METHODS) for own in areas.values())
    assert all(0 <= area <= 1 for own in areas.values() for area in own.values())
    assert areas["11"] == {"acdc": 1, "node_sp": 0.927, "edge_sp": 1, "eap": 0, "eap_ig": 1}
    assert set(areas) - set(CASE_IDS) == {"26", "29"}
    assert set(CASE_IDS) - set(areas) == {"24", "38"}


@requires_upstream
def test_published_areas_are_upstreams() -> None:
    text = (UPSTREAM / "paper_table.json").read_text(encoding="utf-8")
    assert published_areas() == json.loads(text)["edge_auc"]
    assert tuple(json.loads(text)["thresholds"]) == PAPER_THRESHOLDS


def test_summed_cross_entropy() -> None:
    logits, clean = np.random.default_rng(0).standard_normal((2, 4, 5, 3)).astype(np.float32)
    targets = np.arange(20, dtype=np.int32).reshape(4, 5) % 3
    mean = cross_entropy_increase(jnp.asarray(logits), jnp.asarray(clean), targets)
    summed = summed_cross_entropy(jnp.asarray(logits), jnp.asarray(clean), targets)
    np.testing.assert_allclose(summed, 5 * mean, rtol=1e-6)
    # Only positions that count are summed, with and without `for_targets`.
    targets[0, 3:], targets[1, :] = UNSCORED, UNSCORED
    mean = cross_entropy_increase(jnp.asarray(logits), jnp.asarray(clean), targets)
    for metric in (summed_cross_entropy, for_targets(summed_cross_entropy, targets)):
        summed = metric(jnp.asarray(logits), jnp.asarray(clean), targets)
        np.testing.assert_allclose(summed, np.asarray([3, 0, 5, 5], np.float32) * mean, rtol=1e-6)
    by_class_first = by_class(summed_cross_entropy)(
        jnp.asarray(logits.T), jnp.asarray(clean.T), jnp.asarray(targets.T)
    )
    np.testing.assert_allclose(by_class_first, summed, rtol=1e-6)


def test_softened_divergence() -> None:
    # By hand: the softmax of (1, 0) is (e, 1) / (e + 1); its divergence from the uniform
    # distribution is log 2 minus its entropy.
    right = np.e / (np.e + 1)
    entropy = -right * np.log(right) - (1 - right) * np.log(1 - right)
    logits, targets = jnp.zeros((1, 3, 2)), np.asarray([[0, 1, 0]], np.int32)
    np.testing.assert_allclose(
        softened_divergence(logits, logits, targets), np.log(2) - entropy, rtol=1e-6
    )
    exact = jax.nn.one_hot(targets, 2)
    np.testing.assert_allclose(softened_divergence(exact, exact, targets), 0, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["acdc", "eap", "eap_ig"])
def test_a_method_gives_a_cell(name: str, case: Case, pairs: TaskPairs) -> None:
    cell = paper_cell(name, case, pairs, SETTINGS)  # pyright: ignore[reportArgumentType]
    assert cell.area is not None and 0 <= cell.area <= 1
    assert cell.published == published_areas()["36"][name]
    assert cell.difference == cell.area - published_areas()["36"][name]
    assert cell.rank_head is not None and cell.rank_own is not None and cell.largest > 0
    scores, curve = run_paper_method(name, case, pairs, SETTINGS)  # pyright: ignore
    assert scores.universe == PAPER_UNIVERSE and curve.thresholds == PAPER_THRESHOLDS
    assert paper_auc(curve) == cell.area


@pytest.mark.slow
def test_probing_is_a_curve_over_gates_or_over_strengths(case: Case, pairs: TaskPairs) -> None:
    scores, curve = run_paper_method("node_sp", case, pairs, SETTINGS)
    assert scores.level == "node" and curve.thresholds[0] == 0
    assert len(curve.thresholds) == 1 + len(np.unique(scores.values))
    assert curve.edge_tpr[-1] == 0 and curve.edge_tpr[0] == 1
    strengths = dataclasses.replace(
        SETTINGS, regularisations=(0.0, 1000.0), probing_inputs=8, probing_loss="softened"
    )
    _, curve = run_paper_method("node_sp", case, pairs, strengths)
    assert curve.thresholds == (0.0, 1000.0)
    # After two steps every gate is still open.
    assert curve.edge_tpr.tolist() == curve.edge_fpr.tolist() == [1, 1]


@pytest.mark.slow
def test_exact_patching_and_cases_without_a_truth(case: Case, pairs: TaskPairs) -> None:
    area, rank = exact_patching(case, pairs)
    assert area == rank == 1
    # The paper scores against InterpBench's list, which only a declared task has.
    with pytest.raises(ValueError, match="whose task is declared"):
        run_paper_method("acdc", dataclasses.replace(case, case_id="mine"), pairs, SETTINGS)


def test_a_cell_that_the_paper_lacks_differs_from_nothing() -> None:
    cell = PaperCell("24", "acdc", 0.5, None, 1.0, 1.0, 1.0)
    assert cell.difference is None
    assert dataclasses.replace(cell, published=0.75).difference == -0.25


def test_the_script_prints_what_is_far_off() -> None:
    cells = [
        PaperCell("11", "acdc", 0.95, 1.0, 10.0, 1.0, 0.9),
        PaperCell("11", "eap", 0.5, 0.0, 2e-6, 1.0, 0.8),
        PaperCell("24", "acdc", None, None, 1.0, None, None),
        PaperCell("24", "eap", 0.25, None, 1.0, 1.0, 1.0),
    ]
    assert mean_differences(cells) == pytest.approx({"acdc": 0.05, "eap": 0.5})
    explained = [Explanation(cells[1], 1.0, 0.9, silent=2, unexpected=3)]
    text = as_markdown(cells, explained, ["acdc", "eap"], ["11", "24"])
    assert "| 11 | 0.950 (1.000) | 0.500 (0.000) |" in text
    assert "| 24 | - (-) | 0.250 (-) |" in text
    assert "| mean difference | 0.050 | 0.500 |" in text
    assert "| 11 | eap | 0.500 | 0.000 | 2.0e-06 (below 1e-5) | 1.000 | 0.800 |" in text
    assert text.endswith("| 1.000 | 0.900 | 2 | 3 |")

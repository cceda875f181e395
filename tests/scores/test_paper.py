"""The paper's mode, compared with upstream's own runs."""

import json
from functools import lru_cache

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from interpbench_jax.circuit import Circuit
from interpbench_jax.names import Level
from interpbench_jax.scores import (
    PAPER_THRESHOLDS,
    Curve,
    kept_curve,
    paper_auc,
    paper_curve,
    promote_scores,
    roc_auc,
    staircase_auc,
    truth_of,
)
from interpbench_jax.sites import Edge, parse_node
from interpbench_jax.universes import UniverseName, universe
from tests.fixtures import UPSTREAM, read_upstream_case, requires_upstream
from tests.scores.random_edges import CIRCUIT, edge_values

# Upstream's areas are sums of at most 20 products of float64.
ATOL = 1e-9
CASES = ("3", "11")
# Methods that give scores, which thresholds turn into circuits.
SCORED = ("eap", "eapig5", "eapig10")
METHODS = (*SCORED, "acdc")
SPACE = universe("qkv-merged", 2, 4)


@lru_cache
def discovery(case_id: str) -> dict:
    """Return the results of upstream's methods on one case."""
    path = UPSTREAM / "discovery" / f"{case_id}_discovery.json"
    return json.loads(path.read_text(encoding="utf-8"))


def known_circuit(case_id: str) -> Circuit:
    return Circuit.from_names(read_upstream_case(case_id)["edges_released"], 2, 4)


def edge(src: str, dst: str) -> Edge:
    return Edge(parse_node(src), parse_node(dst))


def upstream_values(case_id: str, method: str) -> np.ndarray:
    """Return upstream's raw scores in the order of our universe."""
    raw = {edge(src, dst): score for src, dst, score in discovery(case_id)[method]}
    assert set(raw) == set(SPACE.edges)
    return np.asarray([raw[each] for each in SPACE.edges])


def kept_edges(case_id: str) -> np.ndarray:
    """Return which edges upstream's ACDC keeps at each threshold."""
    found = discovery(case_id)["acdc_kept_edges"]
    kept = [{edge(*pair) for pair in found[str(limit)]} for limit in PAPER_THRESHOLDS]
    assert all(each <= set(SPACE.edges) for each in kept)
    return np.asarray([[each in circuit for each in SPACE.edges] for circuit in kept])


def upstream_rows(case_id: str, method: str) -> np.ndarray:
    return np.asarray(discovery(case_id)[f"{method}_curve"])


def rows(curve: Curve) -> np.ndarray:
    """Return a curve in the columns of upstream's curves."""
    rates = (curve.node_tpr, curve.node_fpr, curve.edge_tpr, curve.edge_fpr)
    return np.stack([np.asarray(curve.thresholds), *rates], axis=1)


# Comparison with upstream


@requires_upstream
def test_the_thresholds_are_the_papers() -> None:
    table = json.loads((UPSTREAM / "paper_table.json").read_text(encoding="utf-8"))
    assert tuple(table["thresholds"]) == PAPER_THRESHOLDS
    assert len(PAPER_THRESHOLDS) == 19
    for case_id in CASES:
        assert tuple(discovery(case_id)["thresholds"]) == PAPER_THRESHOLDS


@requires_upstream
@pytest.mark.parametrize("case_id", CASES)
@pytest.mark.parametrize("method", METHODS)
def test_areas_of_upstreams_curves_are_upstreams(case_id: str, method: str) -> None:
    _, node_tpr, node_fpr, edge_tpr, edge_fpr = upstream_rows(case_id, method).T
    areas = discovery(case_id)[f"{method}_auc"]
    assert staircase_auc(node_fpr, node_tpr) == pytest.approx(areas["node"], abs=ATOL)
    assert staircase_auc(edge_fpr, edge_tpr) == pytest.approx(areas["edge"], abs=ATOL)


@requires_upstream
@pytest.mark.parametrize("case_id", CASES)
@pytest.mark.parametrize("method", SCORED)
def test_curves_of_upstreams_scores_are_upstreams(case_id: str, method: str) -> None:
    curve = paper_curve(upstream_values(case_id, method), known_circuit(case_id))
    np.testing.assert_array_equal(rows(curve), upstream_rows(case_id, method))
    areas = discovery(case_id)[f"{method}_auc"]
    assert paper_auc(curve, "node") == pytest.approx(areas["node"], abs=ATOL)
    assert paper_auc(curve) == pytest.approx(areas["edge"], abs=ATOL)


@requires_upstream
@pytest.mark.parametrize("case_id", CASES)
def test_curves_of_upstreams_circuits_are_upstreams(case_id: str) -> None:
    curve = kept_curve(kept_edges(case_id), known_circuit(case_id))
    np.testing.assert_array_equal(rows(curve), upstream_rows(case_id, "acdc"))
    areas = discovery(case_id)["acdc_auc"]
    assert paper_auc(curve, "node") == pytest.approx(areas["node"], abs=ATOL)
    assert paper_auc(curve) == pytest.approx(areas["edge"], abs=ATOL)


@requires_upstream
@pytest.mark.parametrize("case_id", CASES)
@pytest.mark.parametrize("method", SCORED)
def test_upstream_uses_absolute_scores(case_id: str, method: str) -> None:
    values = upstream_values(case_id, method)
    signed = paper_curve(values, known_circuit(case_id), absolute=False)
    assert (rows(signed) != upstream_rows(case_id, method)).any()


# Curves by hand


# One layer, one head; the circuit is embedding -> MLP -> output.
SMALL = Circuit(
    1,
    1,
    (
        edge("hook_embed", "blocks.0.hook_mlp_in"),
        edge("blocks.0.hook_mlp_out", "blocks.0.hook_resid_post"),
    ),
)
# embedding -> head, embedding -> MLP, head -> MLP, head -> output, MLP -> output
VALUES = np.asarray([0.1, -0.8, 0.0, 0.3, 0.4])


def test_a_curve_by_hand() -> None:
    curve = paper_curve(VALUES, SMALL, "head", thresholds=(0.0, 0.3, 0.4, 0.8))
    # 0: all but head -> MLP. 0.3: the circuit. 0.4: only embedding -> MLP. 0.8: nothing, as an
    # edge whose importance equals the threshold is not kept.
    assert curve.thresholds == (0.0, 0.3, 0.4, 0.8)
    assert curve.edge_tpr.tolist() == [1, 1, 0.5, 0]
    assert curve.edge_fpr.tolist() == [2 / 3, 0, 0, 0]
    # The embedding, the MLP and the output are the circuit's nodes; the head is not in it.
    assert curve.node_tpr.tolist() == [1, 1, 2 / 3, 0]
    assert curve.node_fpr.tolist() == [1, 0, 0, 0]
    assert (paper_auc(curve), paper_auc(curve, "node")) == (1, 1)


def test_a_signed_curve_by_hand() -> None:
    curve = paper_curve(VALUES, SMALL, "head", thresholds=(0.0, 0.3), absolute=False)
    assert curve.edge_tpr.tolist() == [0.5, 0.5]
    assert curve.edge_fpr.tolist() == [2 / 3, 0]
    assert paper_auc(curve) == 0.5


def test_thresholds_are_of_the_values_own_type() -> None:
    # The float32 nearest to 0.1 exceeds the float64 0.1; torch rounds the threshold to float32.
    values = np.full(5, 0.1, np.float32)
    assert float(values[0]) > 0.1
    curve = paper_curve(values, SMALL, "head", thresholds=(0.1,))
    assert curve.edge_tpr.tolist() == [0]


@pytest.mark.parametrize("name", ["qkv", "qkv-merged"])
@given(seed=st.integers(0, 2**32 - 1))
def test_any_edge_that_is_gathered_keeps_its_head_edge(name: UniverseName, seed: int) -> None:
    values = edge_values(name, seed)
    promoted = promote_scores(np.abs(values), name, "head", 2, 3)
    limits = (0.0, 0.3, 1.0, 2.0)
    fine = paper_curve(values, CIRCUIT, name, thresholds=limits)
    coarse = paper_curve(promoted, CIRCUIT, "head", thresholds=limits)
    np.testing.assert_array_equal(rows(fine), rows(coarse))


@given(st.integers(0, 2**32 - 1))
def test_higher_thresholds_find_less(seed: int) -> None:
    curve = paper_curve(edge_values("qkv", seed), CIRCUIT, "qkv")
    assert (np.diff(rows(curve)[:, 1:], axis=0) <= 0).all()


def test_an_area_that_is_not_defined_is_none() -> None:
    everything = Circuit(1, 1, universe("qkv", 1, 1).edges)
    curve = paper_curve(VALUES, everything, "head")
    assert np.isnan(curve.edge_fpr).all() and curve.edge_tpr[0] == 4 / 5
    assert paper_auc(curve) is None and paper_auc(curve, "node") is None
    nothing = paper_curve(VALUES, Circuit(1, 1, ()), "head")
    assert np.isnan(nothing.edge_tpr).all() and nothing.edge_fpr[0] == 4 / 5
    assert paper_auc(nothing) is None


@pytest.mark.parametrize("level", ["edge", "node"])
def test_tiny_scores_have_no_area_however_well_they_rank(level: Level) -> None:
    truth = truth_of(CIRCUIT, "head", "edge")
    values = 1e-33 * (1 + truth)
    assert roc_auc(values, truth) == 1
    assert paper_auc(paper_curve(values, CIRCUIT, "head"), level) == 0


def test_values_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match=r"each of the 38 edges of 'head', got shape \(5,\)"):
        paper_curve(VALUES, CIRCUIT, "head")
    with pytest.raises(ValueError, match="got NaN at 38 items"):
        paper_curve(np.full(38, np.nan), CIRCUIT, "head")
    values = edge_values("head-no-embed", 0)
    with pytest.raises(ValueError, match="Expected a universe finer than 'head'"):
        paper_curve(values, CIRCUIT, "head-no-embed")
    with pytest.raises(ValueError, match=r"Expected 19 circuits, .* 38 edges .* shape \(2, 38\)"):
        kept_curve(np.zeros((2, 38), bool), CIRCUIT, "head")


# staircase_auc


@pytest.mark.parametrize(
    ("fpr", "tpr", "area"),
    [
        ([0, 1], [0, 1], 0),
        ([0, 1], [1, 1], 1),
        ([0.5], [1], 0.5),
        # The height is 1/4 from 1/4 on and 1/2 from 1/2 on.
        ([0, 0.25, 0.5, 1], [0, 0.25, 0.5, 1], 0.75 * 0.25 + 0.5 * 0.25),
        # The points are unordered, and one lies below a point to its left.
        ([0.5, 0.75, 0.25], [0.75, 0.1, 0.25], 0.75 * 0.25 + 0.5 * 0.5),
        ([0.25, 0.25, 0.25], [0.5, 0, 1], 0.75),
    ],
)
def test_areas_of_staircases_by_hand(fpr: list[float], tpr: list[float], area: float) -> None:
    found = staircase_auc(np.asarray(fpr, np.float64), np.asarray(tpr, np.float64))
    assert found == pytest.approx(area, abs=1e-12)


@given(
    st.lists(st.tuples(st.integers(0, 30), st.booleans()), min_size=2, max_size=30),
)
def test_a_staircase_of_every_threshold_is_at_most_the_area_under_the_roc_curve(
    pairs: list[tuple[int, bool]],
) -> None:
    scores = np.asarray([score for score, _ in pairs], np.float64)
    truth = np.asarray([true for _, true in pairs])
    assume(truth.any() and not truth.all())
    kept = scores >= np.unique(scores)[:, None]
    found = staircase_auc(kept[:, ~truth].mean(axis=1), kept[:, truth].mean(axis=1))
    assert found <= roc_auc(scores, truth) + 1e-12
    if not set(scores[truth]) & set(scores[~truth]):
        assert found == pytest.approx(roc_auc(scores, truth), abs=1e-12)


def test_rates_that_are_none_are_refused() -> None:
    with pytest.raises(ValueError, match="from 0 to 1; got"):
        staircase_auc(np.asarray([0.0, np.nan]), np.asarray([0.0, 1.0]))
    with pytest.raises(ValueError, match="from 0 to 1; got"):
        staircase_auc(np.asarray([0.0, 1.0]), np.asarray([0.0, 1.1]))

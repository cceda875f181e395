"""Scores against known circuits."""

import itertools
import json
import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from interpbench_jax.circuit import UNIVERSES, Circuit, UniverseName, universe
from interpbench_jax.scores import (
    edge_auc,
    edge_auc_by_universe,
    node_auc,
    promote_scores,
    roc_auc,
)
from interpbench_jax.sites import parse_edge, parse_node
from tests.fixtures import UPSTREAM, read_upstream_case, requires_upstream

# Sums of at most a few hundred exact halves, divided once: float64 rounding.
ATOL = 1e-12

# Few different values, so that ties are common.
items = st.lists(st.tuples(st.integers(-6, 6), st.booleans()), min_size=2, max_size=40)
INCREASING: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "affine": lambda x: 3 * x - 7,
    "cube": lambda x: x**3,
    "exp": np.exp,
    "arctan": np.arctan,
    "tiny": lambda x: x * 1e-300,
}

CIRCUIT = Circuit(
    2,
    3,
    tuple(
        map(
            parse_edge,
            (
                "hook_embed -> blocks.0.hook_v_input[1]",
                "blocks.0.attn.hook_result[1] -> blocks.1.hook_mlp_in",
                "blocks.1.hook_mlp_out -> blocks.1.hook_resid_post",
            ),
        )
    ),
)


def split(pairs: list[tuple[int, bool]]) -> tuple[np.ndarray, np.ndarray]:
    scores = np.asarray([score for score, _ in pairs], np.float64)
    truth = np.asarray([true for _, true in pairs])
    assume(truth.any() and not truth.all())
    return scores, truth


# roc_auc


@pytest.mark.parametrize(
    ("scores", "truth", "expected"),
    [
        ([1, 2, 3, 4], [0, 0, 1, 1], 1.0),
        ([4, 3, 2, 1], [0, 0, 1, 1], 0.0),
        ([1, 1, 1, 1], [0, 0, 1, 1], 0.5),
        # Of the four pairs, (3, 1), (3, 2) and (2, 1) are right and (2, 2) is a tie.
        ([1, 2, 2, 3], [0, 0, 1, 1], 3.5 / 4),
        ([-math.inf, 0, math.inf], [0, 1, 0], 0.5),
    ],
)
def test_areas_by_hand(scores: list[float], truth: list[int], expected: float) -> None:
    assert roc_auc(np.asarray(scores, np.float64), np.asarray(truth, bool)) == expected


@given(items)
def test_the_area_is_scikit_learns(pairs: list[tuple[int, bool]]) -> None:
    scores, truth = split(pairs)
    assert roc_auc(scores, truth) == pytest.approx(roc_auc_score(truth, scores), abs=ATOL)


@given(items)
def test_the_area_is_how_often_a_positive_wins(pairs: list[tuple[int, bool]]) -> None:
    scores, truth = split(pairs)
    above = scores[truth][:, None] - scores[~truth]
    assert roc_auc(scores, truth) == pytest.approx((np.sign(above) + 1).mean() / 2, abs=ATOL)


@pytest.mark.parametrize("name", INCREASING)
@given(pairs=items)
def test_increasing_maps_change_nothing(name: str, pairs: list[tuple[int, bool]]) -> None:
    scores, truth = split(pairs)
    assert roc_auc(INCREASING[name](scores), truth) == roc_auc(scores, truth)


@given(items)
def test_turning_scores_around_turns_the_area_around(pairs: list[tuple[int, bool]]) -> None:
    scores, truth = split(pairs)
    assert roc_auc(-scores, truth) == pytest.approx(1 - roc_auc(scores, truth), abs=ATOL)
    assert roc_auc(scores, ~truth) == pytest.approx(1 - roc_auc(scores, truth), abs=ATOL)


@given(items, st.integers(0, 2**32 - 1))
def test_the_order_of_items_is_irrelevant(pairs: list[tuple[int, bool]], seed: int) -> None:
    scores, truth = split(pairs)
    order = np.random.default_rng(seed).permutation(len(pairs))
    assert roc_auc(scores[order], truth[order]) == roc_auc(scores, truth)


def test_nan_is_refused() -> None:
    with pytest.raises(ValueError, match="Expected numbers as scores, got nan at 2 items"):
        roc_auc(np.asarray([math.nan, 1, math.nan]), np.asarray([True, False, True]))


@pytest.mark.parametrize(
    ("scores", "truth"), [(np.zeros(3), np.zeros(4, bool)), (np.zeros((2, 2)), np.eye(2) > 0)]
)
@pytest.mark.usefixtures("unchecked")
def test_other_lengths_are_refused(scores: np.ndarray, truth: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"Expected one score and one truth per item, got \("):
        roc_auc(scores, truth)


@pytest.mark.parametrize(
    ("truth", "counts"), [([], "0 and 0"), ([True] * 3, "3 and 0"), ([False] * 2, "0 and 2")]
)
def test_items_on_one_side_are_refused(truth: list[bool], counts: str) -> None:
    with pytest.raises(ValueError, match=f"in the circuit and outside it, got {counts}"):
        roc_auc(np.zeros(len(truth)), np.asarray(truth, bool))


# promote_scores


@pytest.mark.parametrize("finer", UNIVERSES)
@given(seed=st.integers(0, 2**32 - 1), place=st.integers(0, 3))
def test_promotion_takes_the_largest(finer: UniverseName, seed: int, place: int) -> None:
    coarser = UNIVERSES[max(place, UNIVERSES.index(finer))]
    fine, coarse = universe(finer, 2, 3), universe(coarser, 2, 3)
    scores = np.random.default_rng(seed).standard_normal(len(fine.edges))
    of_member = {
        member: score
        for edge, score in zip(fine.edges, scores, strict=True)
        for member in fine.members[edge]
    }
    promoted = promote_scores(scores, finer, coarser, 2, 3)
    assert promoted.tolist() == [
        max(of_member[member] for member in members) for members in coarse.members.values()
    ]
    assert set(promoted) <= set(scores)


@given(st.integers(0, 2**32 - 1))
def test_promoting_in_steps_is_promoting_at_once(seed: int) -> None:
    scores = np.random.default_rng(seed).standard_normal(len(universe("qkv", 2, 3).edges))
    steps = scores
    for finer, coarser in itertools.pairwise(UNIVERSES):
        steps = promote_scores(steps, finer, coarser, 2, 3)
        np.testing.assert_array_equal(steps, promote_scores(scores, "qkv", coarser, 2, 3))


def test_promotion_to_the_same_universe_changes_nothing() -> None:
    scores = np.arange(53.0)
    np.testing.assert_array_equal(promote_scores(scores, "head", "head", 2, 4), scores)


def test_another_number_of_scores_is_refused() -> None:
    with pytest.raises(ValueError, match=r"each of the 137 edges of 'qkv', got shape \(53,\)"):
        promote_scores(np.zeros(53), "qkv", "head", 2, 4)


def test_promotion_to_a_finer_universe_is_refused() -> None:
    with pytest.raises(ValueError, match="Expected a universe finer than 'qkv', got 'head'"):
        promote_scores(np.zeros(53), "head", "qkv", 2, 4)


# edge_auc and node_auc


@pytest.mark.parametrize("name", UNIVERSES)
def test_the_truth_scores_one(name: UniverseName) -> None:
    edges = universe(name, 2, 3).edges
    truth = CIRCUIT.in_universe(name)
    scores = np.asarray([float(edge in truth) for edge in edges])
    assert edge_auc(edges, scores, CIRCUIT, name) == 1
    assert edge_auc(edges, -scores, CIRCUIT, name) == 0
    order = np.random.default_rng(0).permutation(len(edges))
    shuffled = [edges[i] for i in order]
    assert edge_auc(shuffled, scores[order], CIRCUIT, name) == 1


def test_an_edge_area_by_hand() -> None:
    # One layer, one head, no embedding: three edges, of which the last is the circuit. It ties
    # with one of the two others and beats the other: (1 + 1/2) / 2.
    names = (
        "blocks.0.attn.hook_result[0] -> blocks.0.hook_mlp_out",
        "blocks.0.attn.hook_result[0] -> blocks.0.hook_resid_post",
        "blocks.0.hook_mlp_out -> blocks.0.hook_resid_post",
    )
    edges = [parse_edge(name) for name in names]
    circuit = Circuit(1, 1, (edges[2],))
    assert edge_auc(edges, np.asarray([1.0, 3.0, 3.0]), circuit, "head-no-embed") == 0.75


def test_a_node_area_by_hand() -> None:
    # The sources of one layer and two heads; the circuit goes through head 1 alone.
    names = (
        "blocks.0.attn.hook_result[0]",
        "blocks.0.attn.hook_result[1]",
        "blocks.0.hook_mlp_out",
    )
    nodes = [parse_node(name) for name in names]
    edge = parse_edge("blocks.0.attn.hook_result[1] -> blocks.0.hook_resid_post")
    circuit = Circuit(1, 2, (edge,))
    assert node_auc(nodes, np.asarray([0.0, 1.0, 2.0]), circuit, "head-no-embed") == 0.5
    assert node_auc(nodes[::-1], np.asarray([0.0, 2.0, 1.0]), circuit, "head-no-embed") == 1


@pytest.mark.parametrize("change", ["fewer", "twice", "another"])
def test_other_edges_are_refused(change: str) -> None:
    edges = list(universe("head", 2, 3).edges)
    match change:
        case "fewer":
            edges = edges[1:]
        case "twice":
            edges[0] = edges[1]
        case "another":
            edges[0] = universe("qkv", 2, 3).edges[0]
    with pytest.raises(ValueError, match=r"Expected each of the 38 edges of universe 'head' once"):
        edge_auc(edges, np.zeros(len(edges)), CIRCUIT, "head")


def test_other_nodes_are_refused() -> None:
    nodes = universe("head", 2, 3).nodes
    with pytest.raises(ValueError, match=r"Expected each of the 9 nodes of universe 'head' once"):
        node_auc(nodes, np.zeros(len(nodes)), CIRCUIT, "head")


# edge_auc_by_universe


def test_each_universe_from_the_scored_one_on() -> None:
    scores = np.random.default_rng(0).standard_normal(len(universe("qkv", 2, 3).edges))
    areas = edge_auc_by_universe(scores, CIRCUIT)
    assert tuple(areas) == UNIVERSES
    for name, area in areas.items():
        promoted = promote_scores(scores, "qkv", name, 2, 3)
        assert area == edge_auc(universe(name, 2, 3).edges, promoted, CIRCUIT, name)
    promoted = promote_scores(scores, "qkv", "head", 2, 3)
    rest = edge_auc_by_universe(promoted, CIRCUIT, "head")
    assert rest == {name: areas[name] for name in ("head", "head-no-embed")}


def test_an_area_that_is_not_defined_is_none() -> None:
    everything = Circuit(1, 1, universe("qkv", 1, 1).edges)
    scores = np.arange(float(len(universe("qkv", 1, 1).edges)))
    assert set(edge_auc_by_universe(scores, everything).values()) == {None}
    assert set(edge_auc_by_universe(scores, Circuit(1, 1, ())).values()) == {None}


# Against upstream's own evaluation


@requires_upstream
@pytest.mark.parametrize("case_id", ["3", "11"])
@pytest.mark.parametrize("method", ["eap", "eapig5", "eapig10"])
def test_rates_at_each_threshold_are_upstreams(case_id: str, method: str) -> None:
    """Upstream keeps the edges whose absolute score exceeds a threshold, in its own universe."""
    facts = json.loads((UPSTREAM / "discovery" / f"{case_id}_discovery.json").read_text())
    raw = {(src, dst): abs(score) for src, dst, score in facts[method]}
    edges = universe("qkv-merged", 2, 4).edges
    known = [raw.get((str(edge.src), str(edge.dst))) for edge in edges]
    scores = np.asarray([-1.0 if score is None else score for score in known])
    promoted = promote_scores(scores, "qkv-merged", "head", 2, 4)
    circuit = Circuit.from_names(read_upstream_case(case_id)["edges_released"], 2, 4)
    truth = circuit.in_universe("head")
    is_true = np.asarray([edge in truth for edge in universe("head", 2, 4).edges])
    for threshold, _, _, true_rate, false_rate in facts[f"{method}_curve"]:
        kept = promoted >= threshold
        assert kept[is_true].mean() == pytest.approx(true_rate, abs=ATOL), threshold
        assert kept[~is_true].mean() == pytest.approx(false_rate, abs=ATOL), threshold

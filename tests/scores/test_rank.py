"""Scores by rank: known answers, scikit-learn's results, laws and the null distribution."""

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score

from interpbench_jax.circuit import Circuit
from interpbench_jax.names import Level
from interpbench_jax.scores import (
    average_precision,
    edge_auc,
    edge_auc_by_universe,
    edges_from_nodes,
    keep_largest,
    node_auc,
    nodes_from_edges,
    null_interval,
    promote_node_scores,
    promote_scores,
    rank_scores,
    roc_auc,
    score_kept,
    score_largest,
    truth_of,
)
from interpbench_jax.sites import parse_edge, parse_node
from interpbench_jax.universes import UNIVERSES, UniverseName, universe
from tests.scores.random_edges import CIRCUIT, edge_values, node_values

# Rounding in float64 of sums of at most a few hundred exact halves, divided once.
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
        # Of the four pairs, (3, 1), (3, 2) and (2, 1) are ordered right and (2, 2) is a tie.
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
    with pytest.raises(ValueError, match="Expected numbers as scores, got NaN at 2 items"):
        roc_auc(np.asarray([math.nan, 1, math.nan]), np.asarray([True, False, True]))


@pytest.mark.parametrize(
    ("scores", "truth"), [(np.zeros(3), np.zeros(4, bool)), (np.zeros((2, 2)), np.eye(2) > 0)]
)
@pytest.mark.usefixtures("unchecked")
def test_other_lengths_are_refused(scores: np.ndarray, truth: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"one score and one truth value per item, got shapes \("):
        roc_auc(scores, truth)


@pytest.mark.parametrize(
    ("truth", "counts"), [([], "0 and 0"), ([True] * 3, "3 and 0"), ([False] * 2, "0 and 2")]
)
def test_items_on_one_side_are_refused(truth: list[bool], counts: str) -> None:
    with pytest.raises(ValueError, match=f"in the circuit and outside it, got {counts}"):
        roc_auc(np.zeros(len(truth)), np.asarray(truth, bool))


# average_precision


@pytest.mark.parametrize(
    ("scores", "truth", "expected"),
    [
        ([1, 2, 3, 4], [0, 0, 1, 1], 1.0),
        ([4, 3, 2, 1], [0, 1, 0, 1], (1 / 2 + 2 / 4) / 2),
        # All tie, which gives the share of true items.
        ([1, 1, 1, 1], [0, 1, 0, 0], 0.25),
        # The first comes alone, then two tie and one of them is true: precision 1, then 2 of 3.
        ([3, 2, 2, 1], [1, 1, 0, 0], (1 + 2 / 3) / 2),
        ([0, 0], [1, 1], 1.0),
        ([-math.inf, 0, math.inf], [0, 1, 0], 1 / 2),
    ],
)
def test_precisions_by_hand(scores: list[float], truth: list[int], expected: float) -> None:
    found = average_precision(np.asarray(scores, np.float64), np.asarray(truth, bool))
    assert found == pytest.approx(expected, abs=ATOL)


@given(items)
def test_the_precision_is_scikit_learns(pairs: list[tuple[int, bool]]) -> None:
    scores, truth = split(pairs)
    expected = average_precision_score(truth, scores)
    assert average_precision(scores, truth) == pytest.approx(expected, abs=ATOL)


@pytest.mark.parametrize("name", INCREASING)
@given(pairs=items)
def test_increasing_maps_change_no_precision(name: str, pairs: list[tuple[int, bool]]) -> None:
    scores, truth = split(pairs)
    assert average_precision(INCREASING[name](scores), truth) == average_precision(scores, truth)


def test_a_precision_without_true_items_is_refused() -> None:
    with pytest.raises(ValueError, match="Expected at least one item in the circuit, got none"):
        average_precision(np.zeros(3), np.zeros(3, bool))


# null_interval


def test_a_null_by_hand() -> None:
    # One of three items is true, so the area is 0, 1/2 or 1 with probability 1/3 each.
    scores, truth = np.asarray([1.0, 2.0, 3.0]), np.asarray([False, False, True])
    null = null_interval(scores, truth, n_draws=20_000)
    # Tolerances are five standard errors: of 20,000 draws of deviation 0.41, and of a share of 1/3.
    assert null.mean == pytest.approx(0.5, abs=0.015)
    assert null.p_value == pytest.approx(1 / 3, abs=0.017)
    assert (null.low, null.high) == (0, 1)


def test_the_null_of_equal_scores_is_a_half() -> None:
    null = null_interval(np.zeros(10), np.arange(10) < 3)
    assert (null.mean, null.low, null.high, null.p_value) == (0.5, 0.5, 0.5, 1)


def test_the_null_has_the_width_of_its_exact_distribution() -> None:
    # Without ties, the variance of the area is (n + 1) / (12 positives negatives).
    scores, truth = np.arange(137.0), np.arange(137) < 9
    null = null_interval(scores, truth, n_draws=20_000)
    deviation = math.sqrt(138 / (12 * 9 * 128))
    assert null.high - null.low == pytest.approx(2 * 1.96 * deviation, rel=0.03)
    assert null.p_value == 1


def test_perfect_scores_have_the_smallest_p_value() -> None:
    scores = np.arange(60.0)
    null = null_interval(scores, scores > 50, n_draws=99)
    assert null.p_value == 1 / 100
    assert null.high < 1


@given(items, st.integers(0, 9))
def test_a_seed_fixes_the_null_and_the_order_of_scores_alone_does_not_matter(
    pairs: list[tuple[int, bool]], seed: int
) -> None:
    scores, truth = split(pairs)
    null = null_interval(scores, truth, 50, seed)
    assert null == null_interval(scores, truth, 50, seed)
    assert 1 / 51 <= null.p_value <= 1
    assert null.low <= null.mean <= null.high or null.low == null.high


def test_the_p_value_is_uniform_under_the_null() -> None:
    generator = np.random.default_rng(0)
    truth = np.arange(50) < 8
    drawn = [
        null_interval(generator.standard_normal(50), truth, 99, seed).p_value for seed in range(400)
    ]
    # A share q of p-values is at most q; the tolerance is five standard errors of 400 draws.
    for q in (0.05, 0.25, 0.5):
        assert np.mean(np.asarray(drawn) <= q) == pytest.approx(q, abs=5 * (q / 400) ** 0.5)


def test_a_null_without_draws_is_refused() -> None:
    with pytest.raises(ValueError, match="Expected at least one draw, got n_draws=0"):
        null_interval(np.arange(3.0), np.arange(3) > 1, n_draws=0)


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
    # One layer, one head, no embedding: three edges, the last of which is the circuit. It ties
    # with one of the other two and beats the other one: (1 + 1/2) / 2.
    names = (
        "blocks.0.attn.hook_result[0] -> blocks.0.hook_mlp_out",
        "blocks.0.attn.hook_result[0] -> blocks.0.hook_resid_post",
        "blocks.0.hook_mlp_out -> blocks.0.hook_resid_post",
    )
    edges = [parse_edge(name) for name in names]
    circuit = Circuit(1, 1, (edges[2],))
    assert edge_auc(edges, np.asarray([1.0, 3.0, 3.0]), circuit, "head-no-embed") == 0.75


def test_a_node_area_by_hand() -> None:
    # The sources of one layer and two heads; the circuit goes only through head 1.
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
    areas = edge_auc_by_universe(scores, CIRCUIT, absolute=False)
    assert tuple(areas) == UNIVERSES
    for name, area in areas.items():
        promoted = promote_scores(scores, "qkv", name, 2, 3)
        assert area == edge_auc(universe(name, 2, 3).edges, promoted, CIRCUIT, name)
    promoted = promote_scores(scores, "qkv", "head", 2, 3)
    rest = edge_auc_by_universe(promoted, CIRCUIT, "head", absolute=False)
    assert rest == {name: areas[name] for name in ("head", "head-no-embed")}
    assert edge_auc_by_universe(-abs(scores), CIRCUIT) == edge_auc_by_universe(abs(scores), CIRCUIT)


def test_an_area_that_is_not_defined_is_none() -> None:
    everything = Circuit(1, 1, universe("qkv", 1, 1).edges)
    scores = np.arange(float(len(universe("qkv", 1, 1).edges)))
    assert set(edge_auc_by_universe(scores, everything).values()) == {None}
    assert set(edge_auc_by_universe(scores, Circuit(1, 1, ())).values()) == {None}


# rank_scores


@pytest.mark.parametrize("ties", [False, True])
def test_edge_values_are_ranked_in_each_universe(ties: bool) -> None:
    values = edge_values("qkv", 1, ties)
    found = rank_scores(values, CIRCUIT, "qkv", n_draws=20, seed=5)
    assert [(each.universe, each.level) for each in found] == [
        (name, level) for name in UNIVERSES for level in ("edge", "node")
    ]
    for each in found:
        scores = promote_scores(np.abs(values), "qkv", each.universe, 2, 3)
        if each.level == "node":
            scores = nodes_from_edges(scores, each.universe, 2, 3)
        truth = truth_of(CIRCUIT, each.universe, each.level)
        assert (each.n_items, each.n_true) == (len(scores), truth.sum())
        assert each.roc_auc == pytest.approx(roc_auc_score(truth, scores), abs=ATOL)
        assert each.average_precision == pytest.approx(
            average_precision_score(truth, scores), abs=ATOL
        )
        if (each.universe, each.level) == ("qkv", "edge"):
            null = null_interval(scores, truth, 20, 5)
            assert (each.null_mean, each.null_low) == (null.mean, null.low)
            assert (each.null_high, each.p_value) == (null.high, null.p_value)


@pytest.mark.slow
@pytest.mark.parametrize("level", ["edge", "node"])
def test_the_null_is_where_chance_is_in_each_universe(level: Level) -> None:
    space = universe("qkv", 2, 3)
    n_items = len(space.edges if level == "edge" else space.sources)
    generator = np.random.default_rng(3)
    drawn = [
        rank_scores(generator.standard_normal(n_items), CIRCUIT, "qkv", level, n_draws=20)
        for _ in range(400)
    ]
    for of_one in zip(*drawn, strict=True):
        areas, nulls = (
            np.asarray([getattr(each, name) for each in of_one])
            for name in ("roc_auc", "null_mean")
        )
        # Five standard errors of the mean of 400 areas.
        assert nulls.mean() == pytest.approx(areas.mean(), abs=5 * areas.std() / 20)
        p_values = np.asarray([each.p_value for each in of_one])
        assert np.mean(p_values <= 0.25) == pytest.approx(0.25, abs=5 * (0.25 * 0.75 / 400) ** 0.5)


@pytest.mark.parametrize("name", UNIVERSES)
def test_chance_lies_where_random_scores_lie(name: UniverseName) -> None:
    """The largest of a draws exceeds the largest of b others with probability a / (a + b)."""
    values = np.random.default_rng(0).random(len(universe("qkv", 2, 3).edges))
    groups = universe(name, 2, 3).groups_of(universe("qkv", 2, 3))
    sizes = np.asarray([len(group) for group in groups])
    truth = truth_of(CIRCUIT, name, "edge")
    inside, outside = sizes[truth][:, None], sizes[~truth]
    expected = (inside / (inside + outside)).mean()
    (found,) = (
        each
        for each in rank_scores(values, CIRCUIT, n_draws=4_000)
        if (each.universe, each.level) == (name, "edge")
    )
    # Five standard errors of 4,000 draws whose deviation is at most 0.2.
    assert found.null_mean == pytest.approx(expected, abs=0.016)
    assert (abs(expected - 0.5) < 1e-9) == (name == "qkv")


def test_node_values_are_ranked_in_each_universe() -> None:
    values = node_values("qkv-merged", 2)
    found = rank_scores(values, CIRCUIT, "qkv-merged", "node", n_draws=20)
    assert [(each.universe, each.level) for each in found] == [
        (name, level) for name in UNIVERSES[1:] for level in ("edge", "node")
    ]
    for each in found:
        scores = promote_node_scores(np.abs(values), "qkv-merged", each.universe, 2, 3)
        if each.level == "edge":
            scores = edges_from_nodes(scores, each.universe, 2, 3)
        truth = truth_of(CIRCUIT, each.universe, each.level)
        assert each.roc_auc == pytest.approx(roc_auc_score(truth, scores), abs=ATOL)


@pytest.mark.parametrize("universe_name", UNIVERSES)
def test_the_truth_ranks_first_whatever_its_sign(universe_name: UniverseName) -> None:
    truth = truth_of(CIRCUIT, universe_name, "edge")
    signs = np.where(np.arange(len(truth)) % 2, 1.0, -1.0)
    first, *rest = rank_scores(truth * signs, CIRCUIT, universe_name)
    assert first.roc_auc == first.average_precision == 1
    # A draw may be the truth itself: one in 435 where two of 30 edges are true.
    assert first.p_value is not None and first.p_value <= 5 / 401
    # The same holds in coarser universes, and for the nodes of the true edges.
    assert all(each.roc_auc == 1 for each in rest)
    signed = rank_scores(truth * signs, CIRCUIT, universe_name, absolute=False)[0]
    assert signed.roc_auc is not None and signed.roc_auc < 1


def test_what_is_not_defined_is_none() -> None:
    everything = Circuit(1, 1, universe("qkv", 1, 1).edges)
    values = np.arange(float(len(universe("qkv", 1, 1).edges)))
    for each in rank_scores(values, everything, "qkv"):
        assert each.n_true == each.n_items
        assert each.average_precision == 1
        rest = (each.roc_auc, each.null_mean, each.null_low, each.null_high, each.p_value)
        assert rest == (None,) * 5
    for each in rank_scores(values, Circuit(1, 1, ()), "qkv"):
        assert (each.n_true, each.roc_auc, each.average_precision) == (0, None, None)


def test_values_of_another_universe_are_refused() -> None:
    with pytest.raises(ValueError, match=r"each of the 38 edges of 'head', got shape \(3,\)"):
        rank_scores(np.zeros(3), CIRCUIT, "head")
    with pytest.raises(ValueError, match=r"each of the 9 sources of 'head', got shape \(38,\)"):
        rank_scores(np.zeros(38), CIRCUIT, "head", "node")
    with pytest.raises(ValueError, match="Expected numbers as scores, got NaN at 38 items"):
        rank_scores(np.full(38, np.nan), CIRCUIT, "head")


# Labels and scores of other types


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("kind", [bool, np.int64, np.uint8, np.float32])
def test_labels_may_be_numbers(kind: type) -> None:
    scores = np.asarray([0.1, 0.4, 0.3, 0.9])
    truth = np.asarray([0, 1, 0, 1]).astype(kind)
    assert roc_auc(scores, truth) == average_precision(scores, truth) == 1
    assert null_interval(scores, truth) == null_interval(scores, truth == 1)
    assert score_largest(scores, truth).f1 == 1
    assert score_kept(truth, truth).hamming == 0


@pytest.mark.usefixtures("unchecked")
def test_lists_are_arrays() -> None:
    assert roc_auc([0.1, 0.9], [False, True]) == 1  # pyright: ignore[reportArgumentType]


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("truth", [[-1, 1, -1, 1], [0, 2, 0, 2], ["in", "out", "in", "in"]])
def test_other_labels_are_refused(truth: list[object]) -> None:
    labels = np.asarray(truth)
    for score in (roc_auc, average_precision, null_interval, score_largest):
        with pytest.raises(
            ValueError, match="Expected True or False, or 1 or 0, for each item, got"
        ):
            score(np.arange(4.0), labels)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("kind", [np.uint8, np.int16, bool])
def test_scores_may_be_integers(kind: type) -> None:
    truth = np.asarray([True, False, False, False])
    scores = np.asarray([1, 0, 0, 0]).astype(kind)
    assert roc_auc(scores, truth) == average_precision(scores, truth) == 1
    assert keep_largest(scores, [1])[0].tolist() == truth.tolist()

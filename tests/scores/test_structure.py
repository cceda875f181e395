"""Precision, recall, Hamming distance and paths of selected circuits."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import f1_score, precision_score, recall_score

from interpbench_jax.circuit import Circuit
from interpbench_jax.scores import (
    score_kept,
    score_largest,
    structure_scores,
    truth_of,
)
from interpbench_jax.sites import parse_edge
from interpbench_jax.universes import UNIVERSES, UniverseName, universe
from tests.scores.random_edges import CIRCUIT, edge_values

ATOL = 1e-12
items = st.lists(st.tuples(st.integers(-3, 3), st.booleans()), min_size=1, max_size=30)


def split(pairs: list[tuple[int, bool]]) -> tuple[np.ndarray, np.ndarray]:
    scores = np.asarray([score for score, _ in pairs], np.float64)
    return scores, np.asarray([true for _, true in pairs])


# score_kept and score_largest


def test_a_set_by_hand() -> None:
    kept = np.asarray([True, True, True, False, False])
    truth = np.asarray([True, False, False, True, False])
    found = score_kept(kept, truth)
    assert (found.size, found.n_true, found.n_hits) == (3, 2, 1)
    assert (found.precision, found.recall, found.f1) == (1 / 3, 1 / 2, 2 / 5)
    # Two items of the set are not true, and one true item is not in the set.
    assert found.hamming == 3


@given(items)
def test_sets_are_scored_as_scikit_learn_does(pairs: list[tuple[int, bool]]) -> None:
    scores, truth = split(pairs)
    kept = scores > 0
    found = score_kept(kept, truth)
    pairs_of = (
        (found.precision, precision_score, kept.any()),
        (found.recall, recall_score, truth.any()),
        (found.f1, f1_score, (kept | truth).any()),
    )
    for own, function, defined in pairs_of:
        if defined:
            assert own == pytest.approx(function(truth, kept), abs=ATOL)
        else:
            assert own is None
    assert found.hamming == (kept != truth).sum()


def test_largest_without_ties_by_hand() -> None:
    scores, truth = np.asarray([5.0, 4, 3, 2, 1]), np.asarray([1, 0, 1, 0, 0], bool)
    found = score_largest(scores, truth)
    assert (found.size, found.precision, found.recall, found.f1) == (2, 0.5, 0.5, 0.5)
    assert found.hamming == 2
    assert score_largest(scores, truth, 3) == score_kept(scores > 2, truth)


def test_a_tie_at_the_boundary_by_hand() -> None:
    # Two items are taken: the first, which is true, and one of three ties, of which one is true.
    scores, truth = np.asarray([9.0, 4, 4, 4, 1]), np.asarray([1, 1, 0, 0, 0], bool)
    found = score_largest(scores, truth)
    assert found.n_hits == pytest.approx(1 + 1 / 3)
    assert found.precision == found.recall == found.f1 == pytest.approx(2 / 3)
    assert found.hamming == pytest.approx(4 - 2 * (4 / 3))


@given(st.lists(st.tuples(st.integers(0, 2), st.booleans()), min_size=1, max_size=7), st.data())
def test_ties_are_the_mean_over_all_ways_to_break_them(
    pairs: list[tuple[int, bool]], data: st.DataObject
) -> None:
    scores, truth = split(pairs)
    size = data.draw(st.integers(0, len(scores)))
    found = score_largest(scores, truth, size)
    total = np.sort(scores)[::-1][:size].sum()
    # Every set of that size whose total is the largest possible.
    sets = [
        score_kept(np.isin(np.arange(len(scores)), chosen), truth)
        for chosen in itertools.combinations(range(len(scores)), size)
        if scores[list(chosen)].sum() == total
    ]
    assert found.n_hits == pytest.approx(np.mean([each.n_hits for each in sets]), abs=ATOL)
    assert found.hamming == pytest.approx(np.mean([each.hamming for each in sets]), abs=ATOL)
    if found.f1 is not None:
        f1 = [each.f1 for each in sets if each.f1 is not None]
        assert found.f1 == pytest.approx(np.mean(f1), abs=ATOL)


@given(items)
def test_at_the_true_size_precision_is_recall(pairs: list[tuple[int, bool]]) -> None:
    scores, truth = split(pairs)
    found = score_largest(scores, truth)
    assert found.size == truth.sum()
    assert found.precision == found.recall
    assert (found.precision is None) == (not truth.any())


def test_what_does_not_fit_is_refused() -> None:
    scores, truth = np.arange(3.0), np.arange(3) > 1
    with pytest.raises(ValueError, match="Expected a size from 0 to 3, got 4"):
        score_largest(scores, truth, 4)
    with pytest.raises(ValueError, match="got NaN at 3 items"):
        score_largest(scores * np.nan, truth)


@pytest.mark.usefixtures("unchecked")
def test_other_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match=r"kept and of what is true, got shapes \(2,\) and \(3,\)"):
        score_kept(np.zeros(2, bool), np.zeros(3, bool))
    with pytest.raises(ValueError, match=r"each of the 3 items, got shape \(2,\)"):
        score_largest(np.zeros(2), np.zeros(3, bool))


# structure_scores


@pytest.mark.parametrize("name", UNIVERSES)
def test_the_truth_itself(name: UniverseName) -> None:
    truth = truth_of(CIRCUIT, name, "edge")
    found = structure_scores(-truth.astype(float), CIRCUIT, name)
    assert found.universe == name
    assert (found.edges.size, found.edges.f1, found.edges.hamming) == (truth.sum(), 1, 0)
    assert found.n_on_path == truth.sum()
    assert found.has_path and found.is_connected
    assert found == structure_scores(-truth.astype(float), CIRCUIT, name, threshold=0.5)


# One layer, one head; in order: embedding -> head, embedding -> MLP, head -> MLP, head -> output,
# MLP -> output.
SMALL = Circuit(
    1,
    1,
    (
        parse_edge("hook_embed -> blocks.0.hook_mlp_in"),
        parse_edge("blocks.0.hook_mlp_out -> blocks.0.hook_resid_post"),
    ),
)


@pytest.mark.parametrize(
    ("kept", "n_on_path", "has_path", "is_connected"),
    [
        ([0, 1, 0, 0, 1], 2, True, True),
        ([1, 1, 1, 1, 1], 5, True, True),
        # The head has no input.
        ([0, 1, 1, 0, 1], 2, True, False),
        # The two edges do not meet.
        ([1, 0, 0, 0, 1], 0, False, False),
        ([0, 0, 0, 0, 0], 0, False, False),
    ],
)
def test_paths_by_hand(kept: list[int], n_on_path: int, has_path: bool, is_connected: bool) -> None:
    found = structure_scores(np.asarray(kept, np.float64), SMALL, "head", threshold=0.0)
    assert found.edges.size == sum(kept)
    assert (found.n_on_path, found.has_path, found.is_connected) == (
        n_on_path,
        has_path,
        is_connected,
    )


def test_of_edges_that_tie_the_first_are_looked_at_for_paths() -> None:
    found = structure_scores(np.zeros(5), SMALL, "head")
    # Precision is the mean over all pairs of edges; the first two edges lead nowhere.
    assert found.edges.precision == 2 / 5
    assert (found.edges.size, found.n_on_path, found.has_path) == (2, 0, False)


def test_sizes_signs_and_thresholds() -> None:
    values = edge_values("head", 4)
    truth = truth_of(CIRCUIT, "head", "edge")
    assert structure_scores(values, CIRCUIT, "head").edges == score_largest(np.abs(values), truth)
    by_size = structure_scores(values, CIRCUIT, "head", size=7, absolute=False)
    assert by_size.edges == score_largest(values, truth, 7)
    limit = float(np.sort(values)[-8])
    assert by_size == structure_scores(values, CIRCUIT, "head", threshold=limit, absolute=False)


def test_a_size_and_a_threshold_are_refused() -> None:
    with pytest.raises(ValueError, match=r"size or a threshold, got both: 3 and 0\.5"):
        structure_scores(edge_values("head", 0), CIRCUIT, "head", size=3, threshold=0.5)
    with pytest.raises(ValueError, match="each of the 38 edges of 'head'"):
        structure_scores(np.zeros(3), CIRCUIT, "head")
    assert len(universe("head", 2, 3).edges) == 38

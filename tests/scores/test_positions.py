"""Scores of edges at positions."""

import dataclasses

import numpy as np
import pytest

import interpbench_jax as ib
from interpbench_jax.cases import RASP_CASES
from interpbench_jax.position_truth import PositionTruth
from interpbench_jax.scores import average_precision, roc_auc, score_positions
from interpbench_jax.universes import universe


@pytest.fixture(scope="module")
def truth() -> PositionTruth:
    return RASP_CASES["13"].position_truth(RASP_CASES["13"].sample(32, 0))


def test_the_truth_itself_scores_1(truth: PositionTruth) -> None:
    found = score_positions(truth.is_in.astype(float), truth)
    assert [score.universe for score in found] == list(ib.UNIVERSES)
    for score in found:
        assert (score.roc_auc, score.average_precision, score.precision_at_size) == (1, 1, 1)
        n_edges = len(universe(score.universe, truth.n_layers, truth.n_heads).edges)
        assert score.n_items + score.n_constant == n_edges * truth.n_positions
    assert found[0].n_true == truth.is_in.sum()


def test_places_are_scored_as_items(truth: PositionTruth) -> None:
    values = np.random.default_rng(0).normal(size=truth.is_in.shape)
    (found, *_) = score_positions(values, truth)
    counts = truth.values() != "constant"
    is_in = truth.is_in[counts]
    assert found.roc_auc == roc_auc(np.abs(values)[counts], is_in)
    assert found.average_precision == average_precision(np.abs(values)[counts], is_in)
    largest = np.argsort(-np.abs(values)[counts])[: is_in.sum()]
    assert found.precision_at_size == pytest.approx(is_in[largest].mean())
    (signed, *_) = score_positions(values, truth, absolute=False)
    assert signed.roc_auc == roc_auc(values[counts], is_in)


@pytest.mark.slow
def test_a_sweep_and_a_method_are_scored() -> None:
    task, case = RASP_CASES["13"], ib.load_case("13")
    pairs = task.sample(64, 0)
    truth = task.position_truth(pairs)
    swept = ib.sweep_edges(case.model, pairs, positions="each")
    exact = score_positions(swept, truth)
    assert len(exact) == 4 and exact[0].roc_auc == 1
    found = ib.discover(case.model, pairs, "peap", universe="qkv-merged")
    scores = score_positions(found, truth)
    assert [score.universe for score in scores] == list(ib.UNIVERSES[1:])
    assert scores[0].average_precision is not None and 0.8 < scores[0].average_precision < 1


@pytest.mark.slow
@pytest.mark.usefixtures("unchecked")
def test_what_does_not_fit_is_refused(truth: PositionTruth) -> None:
    case = ib.load_case("13")
    pairs = RASP_CASES["13"].sample(8, 0)
    with pytest.raises(ValueError, match='positions="each", or use a method that scores positions'):
        score_positions(ib.sweep_edges(case.model, pairs), truth)
    with pytest.raises(ValueError, match="got a result without"):
        score_positions(ib.sweep_nodes(case.model, pairs, positions="each"), truth)
    with pytest.raises(ValueError, match="at each of 10 positions, got shape"):
        score_positions(ib.sweep_edges(case.model, pairs, positions=[1, 2]), truth)
    with pytest.raises(ValueError, match="Expected one score for each of the 137 edges"):
        score_positions(np.zeros((5, 10)), truth)
    with pytest.raises(ValueError, match="NaN at 1370 places"):
        score_positions(np.full((137, 10), np.nan), truth)
    with pytest.raises(ValueError, match="Expected universe='qkv' for this result"):
        score_positions(ib.discover(case.model, pairs, "peap"), truth, "head")


def test_where_nothing_matters_there_is_no_area(truth: PositionTruth) -> None:
    silent = dataclasses.replace(truth, changes=np.zeros_like(truth.changes))
    (found, *_) = score_positions(np.ones(truth.is_in.shape), silent)
    assert (found.n_true, found.roc_auc, found.average_precision) == (0, None, None)
    assert found.precision_at_size is None

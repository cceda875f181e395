"""The objective that scores runs: as one value, and everywhere a model is patched."""

from collections.abc import Callable, Sequence
from dataclasses import fields

import numpy as np
import pytest

import interpbench_jax as ib
from interpbench_jax import Objective, Pairs
from interpbench_jax.cases import CASES, RASP_CASES, RELEASES, RaspTask
from interpbench_jax.metrics import METRICS, MetricName, kl_divergence
from interpbench_jax.pairs import as_pairs
from interpbench_jax.scores.faithfulness import faithfulness_curve
from interpbench_jax.targets import UNSCORED
from tests.fixtures import random_weights, tiny_config
from tests.tiny_models import make_model

CONFIG = tiny_config(n_heads=2, d_model=4, d_head=2, d_vocab=6, d_vocab_out=4, n_ctx=5)
MODEL = ib.build_model(CONFIG, random_weights(CONFIG, seed=3))
CLEAN, CORRUPTED = np.random.default_rng(0).integers(0, 6, (2, 6, 5), np.int32)
# Every row scores different positions.
SCORED = np.asarray(
    [[2 > pos > 0, pos == 3, pos > 2, pos > 0, pos < 2, pos == 4] for pos in range(5)]
).T
# A regression, and classifications with attention in one direction and in both.
SOME = ("3", "8", "13", "20")
MASKS = np.ones((1, 15, 8), np.float32)
MASKS[0, 14, 0] = 0

Sweep = Callable[..., np.ndarray]
SWEEPS: dict[str, Sweep] = {
    "edges": lambda *given, **own: ib.sweep_edges(*given, **own).effects,
    "nodes": lambda *given, **own: ib.sweep_nodes(*given, **own).effects,
    "neurons": lambda *given, **own: ib.sweep_neurons(*given, **own).effects,
    "masks": lambda *given, **own: ib.sweep_masks(*given, masks=MASKS, **own).effects,
    "cuts": lambda *given, **own: ib.sweep_cuts(*given, cuts=_cuts(), **own).effects,
    "many": lambda model, pairs, **own: ib.sweep_many([model], [pairs], **own)[0].effects,
    "circuits": lambda *given: faithfulness_curve(*given, np.arange(61.0)).effects,  # pyright: ignore
}


def _cuts() -> Sequence[Sequence[ib.Edge]]:
    edges = ib.universe("qkv", 2, 2).edges
    return [edges[:2], edges[9:20:5]]


def test_the_model_fits_the_arrays() -> None:
    universe = ib.universe("qkv", CONFIG.n_layers, CONFIG.n_heads)
    assert (len(universe.edges), MASKS.shape[1:]) == (61, (15, 8))


@pytest.mark.slow
@pytest.mark.parametrize("name", SWEEPS)
@pytest.mark.parametrize("metric", ["kl", "logit_diff"])
def test_a_mask_counts_in_every_row_for_itself(name: str, metric: str) -> None:
    """The result is the mean over rows that are swept alone, at their own positions."""
    targets = np.random.default_rng(1).integers(0, 4, CLEAN.shape)
    objective = Objective(metric, targets, SCORED)  # pyright: ignore[reportArgumentType]
    found = SWEEPS[name](MODEL, Pairs(CLEAN, CORRUPTED, objective))
    alone = [
        SWEEPS[name](MODEL, Pairs(CLEAN, CORRUPTED, objective)[row : row + 1]) for row in range(6)
    ]
    np.testing.assert_allclose(found, np.mean(alone, axis=0), rtol=1e-5, atol=1e-6)
    everywhere = SWEEPS[name](MODEL, Pairs(CLEAN, CORRUPTED, Objective(objective.metric, targets)))
    assert np.abs(found - everywhere).max() > 1e-3 * np.abs(found).max() > 0


@pytest.mark.slow
@pytest.mark.parametrize("method", [name for name in ib.METHODS if name != "chance"])
def test_methods_are_blind_to_what_is_not_scored(method: str) -> None:
    """Targets at positions that are not scored have no influence."""
    targets = np.random.default_rng(1).integers(0, 4, CLEAN.shape).astype(np.int32)
    scored = np.broadcast_to(SCORED[3], SCORED.shape) & (np.arange(5) != 2)
    others = np.where(scored, targets, (targets + 1) % 4)
    first, second = (
        ib.discover(MODEL, Pairs(CLEAN, CORRUPTED, Objective(None, each, scored)), method).values
        for each in (targets, others)
    )
    np.testing.assert_array_equal(first, second)


def test_a_mask_without_targets_takes_the_clean_runs_own() -> None:
    own = np.asarray(MODEL(CLEAN)).argmax(axis=-1)
    for metric in ("kl", "cross_entropy"):
        found, expected = (
            ib.sweep_edges(MODEL, CLEAN, CORRUPTED, objective=Objective(metric, targets, SCORED))
            for targets in (None, own)
        )
        np.testing.assert_array_equal(found.effects, expected.effects)


@pytest.mark.usefixtures("unchecked")
def test_marks_of_targets_and_a_mask_add_up() -> None:
    targets = np.zeros((6, 5), np.uint8)
    marked = np.where(np.arange(5) == 1, UNSCORED, targets.astype(np.int32))
    fitted = Objective("kl", marked, np.arange(5) < 3).fit(MODEL, CLEAN)
    assert fitted.first_scored == 0 and fitted.targets is not None
    np.testing.assert_array_equal(
        fitted.targets != UNSCORED, [[True, False, True, False, False]] * 6
    )
    fitted = Objective("kl", targets).fit(MODEL, CLEAN)
    assert fitted.targets is not None and fitted.seen is not None
    assert fitted.first_scored == 1 and (fitted.targets[:, 0] == UNSCORED).all()
    np.testing.assert_array_equal(fitted.seen, np.zeros((6, 4)))


def test_a_metric_of_ones_own_sees_scored_positions_alone() -> None:
    def mine(logits: np.ndarray, clean: np.ndarray, targets: np.ndarray) -> np.ndarray:
        return kl_divergence(logits, clean, targets)  # pyright: ignore

    found = ib.sweep_edges(MODEL, CLEAN, CORRUPTED, objective=Objective(mine, None, SCORED))  # pyright: ignore
    named = ib.sweep_edges(MODEL, CLEAN, CORRUPTED, objective=Objective("kl", None, SCORED))
    np.testing.assert_allclose(found.effects, named.effects, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("case_id", RELEASES["1.0.0"])
def test_pairs_carry_what_their_case_is_judged_by(case_id: str) -> None:
    """For every case, the result is the same as with an objective built by hand."""
    case, task = make_model(case_id), CASES[case_id]
    pairs = case.sample(12, 0)
    by_hand = Objective(
        task.metric, pairs.metric_targets, np.arange(pairs.input_ids.shape[1]) >= task.first_scored
    )
    # Edge sweeps take longer to compile, and of a language model half a minute to run.
    for sweep in (ib.sweep_edges, ib.sweep_nodes) if case_id in SOME else (ib.sweep_nodes,):
        found = sweep(case.model, pairs)
        expected = sweep(case.model, pairs.input_ids, pairs.corrupted_input_ids, objective=by_hand)
        assert found.metric == expected.metric == task.metric
        np.testing.assert_array_equal(found.effects, expected.effects)


@pytest.mark.slow
@pytest.mark.parametrize("case_id", SOME)
def test_pairs_of_many_lengths_are_swept_as_each_alone(case_id: str) -> None:
    case = make_model(case_id)
    pairs = case.sample(6, 1, variable_length=True)
    found = ib.sweep_edges(case.model, pairs).effects
    alone = [ib.sweep_edges(case.model, pairs[row : row + 1]).effects for row in range(6)]
    np.testing.assert_allclose(found, np.mean(alone, axis=0), atol=2e-5)


def test_a_program_may_have_a_metric_of_its_own() -> None:
    class Centred(RaspTask):
        @property
        def metric(self) -> MetricName:
            return "centred_l2"

    declared = RASP_CASES["36"]
    task = Centred(**{each.name: getattr(declared, each.name) for each in fields(declared)})
    assert task.sample(3, 0).objective.metric == "centred_l2"
    assert declared.sample(3, 0).objective.metric is None


@pytest.mark.usefixtures("unchecked")
def test_some_of_the_pairs() -> None:
    pairs = CASES["ioi"].sample(5, 0)
    some = pairs[1:3]
    assert len(some) == 2 and type(some) is type(pairs)
    np.testing.assert_array_equal(some.objective.targets, pairs.metric_targets[1:3])
    np.testing.assert_array_equal(some.answer, np.asarray(pairs.answer)[1:3])
    plain = Pairs(CLEAN, CORRUPTED, Objective("kl", CLEAN % 4, np.arange(5) > 1))[2:]
    assert len(plain) == 4 and np.asarray(plain.objective.scored).shape == (5,)
    np.testing.assert_array_equal(plain.objective.targets, CLEAN[2:] % 4)
    for wrong in (pairs, plain):
        with pytest.raises(TypeError, match=r"a slice of pairs, such as pairs\[:10\]; got index 1"):
            wrong[1]  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="as many corrupted inputs as clean ones"):
        Pairs(CLEAN, CORRUPTED[:2])[:2]


def test_what_comes_later_goes_first() -> None:
    pairs = Pairs(CLEAN, CORRUPTED, Objective("l2", CLEAN % 4))
    assert as_pairs(pairs).objective is pairs.objective
    changed = as_pairs(pairs, None, Objective("kl"), "mae").objective
    assert (changed.metric, changed.targets) == ("mae", None)
    kept = as_pairs(pairs, metric=METRICS["kl"]).objective
    assert kept.metric is METRICS["kl"] and kept.targets is pairs.objective.targets


@pytest.mark.parametrize(
    ("scored", "error", "message"),
    [
        (np.ones((6, 4), bool), ValueError, r"of shape \(6, 5\), or \(5,\) for all inputs, got"),
        (np.ones((6, 5), np.int32), TypeError, r"as booleans.*np.arange\(5\) >= 2"),
        (np.arange(5) > 7, ValueError, "a scored position in every input, got none in 6 of 6"),
        (np.arange(6)[:, None] + 0 * CLEAN > 1, ValueError, "got none in 2 of 6"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_masks_that_do_not_fit(scored: np.ndarray, error: type[Exception], message: str) -> None:
    pairs = Pairs(CLEAN, CORRUPTED, Objective(scored=scored))
    for use in (ib.sweep_edges, ib.discover):
        with pytest.raises(error, match=message):
            use(MODEL, pairs)


@pytest.mark.usefixtures("unchecked")
def test_inputs_in_the_wrong_places() -> None:
    pairs = Pairs(CLEAN, CORRUPTED)
    with pytest.raises(TypeError, match="got pairs and corrupted inputs"):
        ib.sweep_edges(MODEL, pairs, CORRUPTED)
    with pytest.raises(TypeError, match="got pairs and corrupted inputs"):
        ib.discover(MODEL, pairs, CORRUPTED, "eap")
    with pytest.raises(TypeError, match="Expected corrupted inputs after the clean ones, got the"):
        ib.discover(MODEL, CLEAN, "eap")
    with pytest.raises(ValueError, match="Expected corrupted inputs, one for each clean one, to"):
        ib.discover(MODEL, Pairs(CLEAN), "eap")
    with pytest.raises(
        TypeError, match=r"Expected an Objective\(metric, targets, scored\), got 'kl'"
    ):
        ib.sweep_edges(MODEL, pairs, objective="kl")  # pyright: ignore[reportArgumentType]
    with pytest.raises(TypeError, match="Expected one value for each edge or node, got none"):
        faithfulness_curve(MODEL, pairs)
    with pytest.raises(ValueError, match="at least 2 positions, of which the first, BOS, is not"):
        ib.sweep_edges(MODEL, CLEAN[:, :1], CORRUPTED[:, :1])

"""The data of a method: targets, constants, and the constants that do the least harm."""

from typing import Literal

import jax.numpy as jnp
import numpy as np
import pytest

from interpbench_jax import load_case, random_model
from interpbench_jax.ablations import AblationName, OptimalSettings, ablation_constants
from interpbench_jax.discovery import discover
from interpbench_jax.discovery.data import data_for
from interpbench_jax.discovery.method import DiscoveryData
from interpbench_jax.interventions import replacement_outputs
from interpbench_jax.metrics import METRICS, Metric
from interpbench_jax.model import Transformer
from interpbench_jax.objective import Objective
from interpbench_jax.pairs import Pairs
from interpbench_jax.scores.faithfulness import faithfulness_curve
from interpbench_jax.sweeps import sweep_edges, sweep_many, sweep_neurons, sweep_nodes
from interpbench_jax.targets import is_scored
from tests.discovery.small import CONFIGS, full_mask, mask_metric, small_data, small_model


@pytest.mark.slow
@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("ablation", ["mean", "zero"])
def test_constants_are_the_references(name: str, ablation: Literal["mean", "zero"]) -> None:
    model = small_model(CONFIGS[name])
    given = small_data(model)
    data = data_for(model, given.clean, given.corrupted, ablation=ablation, batch_size=3)
    wanted = replacement_outputs(model, given.corrupted, ablation)
    assert data.constants is not None and data.ablation == ablation
    np.testing.assert_allclose(data.constants, wanted, atol=1e-6)


@pytest.mark.slow
def test_targets_are_the_clean_runs_own() -> None:
    for name in CONFIGS:
        model = small_model(CONFIGS[name])
        given = small_data(model)
        logits = np.asarray(model(given.clean))
        data = data_for(model, given.clean, given.corrupted, batch_size=4)
        assert data.constants is None and data.ablation == "resample"
        if model.config.is_regression:
            np.testing.assert_allclose(data.targets, logits[..., 0], atol=1e-5)
        else:
            np.testing.assert_array_equal(data.targets, logits.argmax(axis=-1))
        objective = Objective(targets=given.targets)
        kept = np.asarray(
            data_for(model, given.clean, given.corrupted, objective=objective).targets
        )
        np.testing.assert_array_equal(kept[:, 1:], np.asarray(given.targets)[:, 1:])
        assert not np.asarray(is_scored(kept))[:, 0].any()


def harms(model: Transformer, data: DiscoveryData, metric: Metric) -> np.ndarray:
    """The metric when each writer alone is replaced."""
    of_mask = mask_metric(model, data, metric)
    found = []
    for writer in range(full_mask(model).shape[1]):
        mask = full_mask(model)
        mask[:, writer] = 0
        found.append(float(of_mask(jnp.asarray(mask))))
    return np.asarray(found)


@pytest.mark.slow
@pytest.mark.parametrize("name", CONFIGS)
def test_optimal_constants_do_less_harm_than_means(name: str) -> None:
    model = small_model(CONFIGS[name])
    given = small_data(model, n_inputs=20)
    metric = METRICS["l2" if model.config.is_regression else "kl"]

    def find(ablation: AblationName, steps: int = 0) -> DiscoveryData:
        return data_for(
            model,
            given.clean,
            given.corrupted,
            ablation=ablation,
            batch_size=8,
            optimal=OptimalSettings(steps),
        )

    mean, one, many = find("mean"), find("optimal", 1), find("optimal", 25)
    assert many.ablation is None
    assert mean.constants is not None and one.constants is not None
    np.testing.assert_allclose(one.constants, mean.constants, atol=1e-6)
    before, after = harms(model, mean, metric), harms(model, many, metric)
    assert (after <= before + 1e-6).all()
    assert after.mean() < 0.95 * before.mean()
    again = find("optimal", 25).constants
    assert again is not None and many.constants is not None
    np.testing.assert_array_equal(again, many.constants)


@pytest.mark.slow
def test_a_known_circuits_constants() -> None:
    case = load_case("3")
    pairs = case.sample(200, 0)
    clean, corrupted = pairs.input_ids, pairs.corrupted_input_ids

    def find(ablation: AblationName) -> np.ndarray:
        settings = OptimalSettings(20)
        data = data_for(case.model, clean, corrupted, ablation=ablation, optimal=settings)
        return harms(case.model, data, METRICS["l2"])

    mean = find("mean")
    assert (find("optimal") <= mean + 1e-6).all()
    assert mean.mean() <= find("zero").mean()


def test_bad_arguments(unchecked: None) -> None:
    model = small_model(CONFIGS["plain"])
    data = small_data(model)
    with pytest.raises(ValueError, match="for each of the 7 clean ones, got 3"):
        data_for(model, data.clean, data.corrupted[:3])
    with pytest.raises(ValueError, match="of 6 positions"):
        data_for(model, data.clean, data.corrupted[:, :4], ablation="mean")
    with pytest.raises(ValueError, match="steps from 0"):
        OptimalSettings(steps=-1)

    with pytest.raises(ValueError, match="optimal, or an array of constants; got 'random'"):
        data_for(model, data.clean, data.corrupted, ablation="random")  # pyright: ignore

    with pytest.raises(ValueError, match="Expected corrupted inputs, one for each clean one"):
        data_for(model, data.clean)
    with pytest.raises(ValueError, match=r"\(1, pos, src, d_model\) = .* got \(2, 3\)"):
        data_for(model, data.clean, ablation=np.zeros((2, 3)))  # pyright: ignore
    with pytest.raises(ValueError, match="mean, zero or optimal; got 'resample'"):
        ablation_constants(model, data.clean, ablation="resample")  # pyright: ignore
    wrong = np.full_like(ablation_constants(model, data.clean, ablation="zero"), np.nan)
    for use in (data_for, sweep_edges):
        with pytest.raises(ValueError, match="Expected finite replacement constants"):
            use(model, data.clean, ablation=wrong)
    with pytest.raises(ValueError, match="for hidden units; got 'optimal'"):
        sweep_neurons(model, data.clean, data.corrupted, ablation="optimal")


@pytest.mark.slow
@pytest.mark.parametrize("ablation", ["mean", "zero", "optimal"])
def test_constants_mean_the_same_to_sweeps_and_methods(
    ablation: Literal["mean", "zero", "optimal"], x64: None
) -> None:
    model = small_model(CONFIGS["plain"], np.float64)
    given = small_data(model)
    pairs = Pairs(np.asarray(given.clean), np.asarray(given.corrupted))
    constants = ablation_constants(model, pairs, ablation=ablation, optimal=OptimalSettings(3))
    swept = sweep_edges(model, pairs, ablation=constants)
    for method in ("exact", "eap", "acdc"):
        by_array = discover(model, pairs, method, ablation=constants)
        if ablation != "optimal":
            by_name = discover(model, pairs, method, ablation=ablation)
            np.testing.assert_allclose(by_array.values, by_name.values, atol=1e-12)
        if method == "exact":
            np.testing.assert_allclose(by_array.values, swept.effects, atol=1e-12)
    if ablation == "optimal":
        named = sweep_edges(model, pairs, ablation=("resample", "optimal"))
        again = ablation_constants(model, pairs)
        expected = sweep_edges(model, pairs, ablation=again).effects
        np.testing.assert_allclose(named.of("optimal").effects, expected, atol=1e-12)
        plain = sweep_edges(model, pairs).effects
        np.testing.assert_allclose(named.of("resample").effects, plain, atol=1e-12)
        by_method = discover(model, pairs, "exact", ablation="optimal")
        np.testing.assert_allclose(by_method.values, expected, atol=1e-12)
        mean = sweep_nodes(model, pairs, ablation="mean")
        best = sweep_nodes(model, pairs, ablation=constants)
        assert (best.effects <= mean.effects + 1e-12).all() and (best.effects < mean.effects).any()
    else:
        by_name = sweep_edges(model, pairs, ablation=ablation)
        np.testing.assert_allclose(swept.effects, by_name.effects, atol=1e-12)
    values = swept.values
    curve = faithfulness_curve(model, pairs, values, ablation=constants)
    assert curve.effects[-1] == pytest.approx(0, abs=1e-12) and curve.empty_effect > 0


@pytest.mark.slow
@pytest.mark.parametrize("ablation", ["mean", "zero", "optimal"])
def test_corrupted_inputs_are_not_needed_where_nothing_is_paired(
    ablation: Literal["mean", "zero", "optimal"],
) -> None:
    model = small_model(CONFIGS["plain"])
    given = small_data(model)
    settings = OptimalSettings(2)
    alone = data_for(model, given.clean, ablation=ablation, optimal=settings)
    both = data_for(model, given.clean, given.clean, ablation=ablation, optimal=settings)
    assert alone.constants is not None and both.constants is not None
    np.testing.assert_array_equal(alone.constants, both.constants)
    shape = ablation_constants(model, given.clean, ablation=ablation, optimal=settings).shape
    assert shape == np.shape(alone.constants)


@pytest.mark.slow
@pytest.mark.parametrize("stacked", [False, True])
def test_every_model_of_a_sweep_of_many_has_its_own_constants(stacked: bool) -> None:
    models = [small_model(CONFIGS["plain"]), random_model(CONFIGS["plain"], seed=5)]
    given = [small_data(model) for model in models]
    pairs = [Pairs(np.asarray(own.clean), np.asarray(own.corrupted)) for own in given]
    found = sweep_many(models, pairs, ablation=("optimal", "mean"), stacked=stacked)
    for model, own, result in zip(models, pairs, found, strict=True):
        alone = sweep_edges(model, own, ablation=("optimal", "mean"))
        np.testing.assert_allclose(result.effects, alone.effects, atol=1e-5)

"""Refusals: outputs that are not finite, metrics without a slope."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from interpbench_jax import build_model, discover, sweep_edges
from interpbench_jax.axes import Logits
from interpbench_jax.discovery import METHODS
from interpbench_jax.discovery.eap import EAPSettings
from interpbench_jax.metrics import PerInput, kl_divergence
from interpbench_jax.model import Transformer
from interpbench_jax.targets import Targets
from tests.fixtures import random_weights, tiny_config

RNG = np.random.default_rng(0)
CLEAN, CORRUPTED = RNG.integers(0, tiny_config().d_vocab, (2, 4, 5)).astype(np.int32)
AT_CLEAN = [name for name, method in METHODS.items() if method.slope_at_clean]
GRADIENTS = [name for name, method in METHODS.items() if method.default_metric == "loss"]


@pytest.fixture(scope="module")
def model() -> Transformer:
    return build_model(tiny_config(), random_weights(tiny_config()))


@pytest.fixture(scope="module")
def broken() -> Transformer:
    """A model whose logits overflow, although every weight is finite."""
    weights = random_weights(tiny_config())
    weights["blocks.1.mlp.W_out"] *= 1e30
    weights["unembed.W_U"] *= 1e30
    return build_model(tiny_config(), weights)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("name", [name for name in METHODS if name != "chance"])
def test_outputs_that_are_not_finite(broken: Transformer, name: str) -> None:
    with pytest.raises(ValueError, match="Expected finite"):
        discover(broken, CLEAN, CORRUPTED, name)


def overflowing(logits: Logits, clean_logits: Logits, targets: Targets) -> PerInput:
    """A metric that is finite at the clean run and NaN elsewhere."""
    distance = kl_divergence(logits, clean_logits, targets)
    return jnp.where(distance > 1e-6, jnp.nan, distance)


def test_acdc_says_which_edge(model: Transformer) -> None:
    with pytest.raises(ValueError, match=r"Expected a finite metric with .* -> .* cut, got nan"):
        discover(model, CLEAN, CORRUPTED, "acdc", metric=overflowing)


def test_a_sweep_says_which_effects(model: Transformer) -> None:
    with pytest.warns(RuntimeWarning, match=r"effects are not finite, such as that of .* -> "):
        result = sweep_edges(model, CLEAN, CORRUPTED, metric=overflowing)
    assert np.isnan(result.effects).any() and len(result.effects) == len(result.names)


@pytest.mark.parametrize("name", GRADIENTS)
def test_accuracy_has_no_slope(model: Transformer, name: str) -> None:
    with pytest.raises(ValueError, match=r"Expected a metric with a slope, which .*accuracy"):
        discover(model, CLEAN, CORRUPTED, name, metric="accuracy")


@pytest.mark.parametrize("name", AT_CLEAN)
@pytest.mark.parametrize("metric", ["kl", "l2", "centred_l2", "mae", "mse"])
def test_distances_have_no_slope_at_the_clean_run(
    model: Transformer, name: str, metric: str
) -> None:
    with pytest.raises(ValueError, match="at the clean run, the only point at which this method"):
        discover(model, CLEAN, CORRUPTED, name, metric=metric)  # pyright: ignore


def test_which_methods_use_only_the_slope_at_the_clean_run() -> None:
    assert set(AT_CLEAN) == {"eap", "peap", "relp", "attribution-patching", "atp-star", "hisp"}
    assert set(AT_CLEAN) < set(GRADIENTS)


def test_other_settings_keep_what_a_method_needs(model: Transformer) -> None:
    with pytest.raises(ValueError, match="at the clean run, the only point at which this method"):
        discover(model, CLEAN, CORRUPTED, "eap", settings=EAPSettings(), metric="kl")


@pytest.mark.parametrize("name", ["eap-ig-inputs", "mask-gradient"])
def test_distances_have_a_slope_elsewhere(model: Transformer, name: str) -> None:
    assert discover(model, CLEAN, CORRUPTED, name, metric="kl").values.any()


def flat(logits: Logits, clean_logits: Logits, targets: Targets) -> PerInput:
    return jax.lax.stop_gradient(kl_divergence(logits, clean_logits, targets))


def test_scores_that_are_all_the_same(model: Transformer) -> None:
    with pytest.warns(
        RuntimeWarning, match="Every edge has the score 0, so that nothing is ranked"
    ):
        discover(model, CLEAN, CORRUPTED, "eap", metric=flat)
    with pytest.warns(
        RuntimeWarning, match="Every edge has the score 0, so that nothing is ranked"
    ):
        discover(model, CLEAN, CLEAN, "exact")

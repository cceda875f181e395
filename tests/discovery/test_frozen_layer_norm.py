"""Methods whose runs and derivatives divide by what the clean run divided by."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from interpbench_jax import (
    METHODS,
    Objective,
    Pairs,
    Scores,
    Transformer,
    discover,
    masked_forward,
)
from interpbench_jax.ablations import OptimalSettings
from interpbench_jax.discovery import (
    ACDCSettings,
    AtPStarSettings,
    CEAPSettings,
    DiscoveryData,
    EAPIGSettings,
    EdgePruningSettings,
    MaskGradientSettings,
    ProbingSettings,
    data_for,
)
from interpbench_jax.discovery.method import edge_groups
from interpbench_jax.engine.programs import n_compiled
from interpbench_jax.interventions import layer_norm_scales, replacement_outputs
from interpbench_jax.metrics import METRICS
from interpbench_jax.sites import Kind
from interpbench_jax.sweeps import sweep_nodes
from interpbench_jax.targets import UNSCORED
from tests.discovery.small import CONFIGS, full_mask, make_small, small_data, small_model

QUICK: dict[str, Any] = {
    "acdc": ACDCSettings((1e-3, 0.01, 0.1)),
    "mask-gradient": MaskGradientSettings(3),
    "eap-ig-inputs": EAPIGSettings(3),
    "eap-ig-activations": EAPIGSettings(2),
    "ceap": CEAPSettings(3),
    "edge-probing": ProbingSettings(epochs=5),
    "node-probing": ProbingSettings(epochs=5),
    "edge-pruning": EdgePruningSettings(steps=5),
}
# The scores of these methods do not depend on a layer norm.
BLIND = ("chance", "flow-routes")


def run(model: Transformer, data: DiscoveryData, name: str, **changes: Any) -> Scores:
    given = {"settings": QUICK.get(name), "method": name} | changes
    objective = Objective(targets=given.pop("targets", data.targets))
    given.setdefault("freeze_layer_norm", data.freeze_layer_norm)
    pairs = Pairs(np.asarray(data.clean), np.asarray(data.corrupted), objective)
    return discover(model, pairs, **given)


def first_logit(logits: jax.Array, clean: jax.Array, targets: jax.Array) -> jax.Array:
    return (clean - logits)[..., 0].mean(axis=1)


@pytest.mark.slow
@pytest.mark.parametrize("name", METHODS)
def test_every_method_honours_it(name: str) -> None:
    model, data = make_small("frozen layer norm", np.float32)
    frozen = run(model, data, name)
    compiled = n_compiled()
    again = run(model, data, name)
    assert n_compiled() == compiled, "a second call compiled something"
    np.testing.assert_array_equal(frozen.values, again.values)
    own = run(model, data, name, freeze_layer_norm=False)
    told = [{"": scores.values, **scores.details} for scores in (frozen, own)]
    differ = any((told[0][key] != told[1][key]).any() for key in told[0])
    assert differ == (name not in BLIND)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["exact", "acdc", "eap"])
def test_models_without_layer_norm_are_not_affected(name: str) -> None:
    model = small_model(CONFIGS["plain"])
    data = small_data(model)
    own = run(model, data, name)
    compiled = n_compiled()
    frozen = run(model, data, name, freeze_layer_norm=True)
    np.testing.assert_array_equal(frozen.values, own.values)
    assert n_compiled() == compiled, "the same programs serve both"


@pytest.mark.slow
def test_eap_is_a_finite_difference_of_frozen_runs(x64: None) -> None:
    model, data = make_small("frozen layer norm")
    metric = METRICS["cross_entropy"]
    replacement = replacement_outputs(model, data.corrupted)
    scales = layer_norm_scales(model, data.clean)
    clean = model(data.clean)[:, 1:]
    groups = edge_groups(data.edges(model.config))

    @jax.jit
    def of_mask(mask: jax.Array) -> jax.Array:
        logits = masked_forward(model, data.clean, mask, replacement, scales)
        return metric(logits[:, 1:], clean, jnp.asarray(data.targets)[:, 1:]).mean()

    found = run(model, data, "eap", metric=metric).values
    own = run(model, data, "eap", metric=metric, freeze_layer_norm=False).values
    step, ones = 1e-4, full_mask(model)
    for edge in range(0, len(found), 5):
        cut = step * (groups == edge)
        # Off by order step^2, and by rounding / step.
        slope = float(of_mask(ones - cut) - of_mask(ones + cut)) / (2 * step)
        assert found[edge] == pytest.approx(slope, rel=0, abs=1e-9)
    assert abs(found - own).max() > 1e-3


def linear_model() -> Transformer:
    """A model that is linear except for layer norms' divisors: uniform attention, active ReLUs."""
    config = dataclasses.replace(CONFIGS["layer norm"], act_fn="relu")
    model = small_model(config, np.float64)
    for block in model.blocks:
        for weight in (block.attn.W_Q, block.attn.W_K, block.attn.b_Q, block.attn.b_K):
            weight[...] = jnp.zeros_like(weight[...])
        bias = jnp.full_like(block.mlp.b_in[...], 100.0)
        block.mlp.b_in[...], block.mlp.b_out[...] = bias, -bias @ block.mlp.W_out[...]
    return model


@pytest.mark.slow
@pytest.mark.parametrize("freezes", [True, False])
def test_first_order_is_exact_where_only_divisors_were_not_linear(freezes: bool, x64: None) -> None:
    model = linear_model()
    data = small_data(model, freeze_layer_norm=freezes)
    atp_star = {"settings": AtPStarSettings(grad_drop=False)}
    ways: list[tuple[str, dict[str, Any], str]] = [
        ("eap", {}, "exact"),
        ("eap-ig-inputs", {}, "exact"),
        ("ceap", {}, "exact"),
        ("clean-corrupted", {}, "exact"),
        ("attribution-patching", {}, "exact-nodes"),
        ("atp-star", atp_star, "exact-nodes"),
    ]
    for name, settings, reference in ways:
        exact = run(model, data, reference, metric=first_logit).values
        error = abs(run(model, data, name, metric=first_logit, **settings).values - exact).max()
        assert abs(exact).max() > 0.05
        assert error <= 1e-12 if freezes else error > 1e-3, name


@pytest.mark.slow
@pytest.mark.parametrize("freezes", [True, False])
def test_eap_is_exact_for_edges_into_the_output(freezes: bool, x64: None) -> None:
    """Any model's logits are linear in these edges once the last divisor is a constant."""
    model = small_model(CONFIGS["layer norm"], np.float64)
    data = small_data(model, freeze_layer_norm=freezes)
    last = [edge.dst.kind is Kind.RESID_POST for edge in data.edges(model.config).edges]
    eap, exact = (run(model, data, name, metric=first_logit).values for name in ("eap", "exact"))
    into_output = abs(eap - exact)[last].max()
    assert into_output <= 1e-13 if freezes else into_output > 1e-2
    assert abs(eap - exact)[~np.asarray(last)].max() > 1e-3


@pytest.mark.slow
def test_optimal_constants_of_frozen_runs() -> None:
    model, given = make_small("frozen layer norm", np.float32, n_inputs=8)
    metric = METRICS["kl"]

    def find(steps: int) -> np.ndarray:
        data = data_for(
            *(model, given.clean, given.corrupted),
            ablation="optimal",
            metric=metric,
            optimal=OptimalSettings(steps),
            freeze_layer_norm=True,
        )
        assert data.freeze_layer_norm and data.constants is not None
        return np.asarray(data.constants)

    def harm(constants: np.ndarray) -> np.ndarray:
        nodes = sweep_nodes(model, given.clean, ablation=constants, freeze_layer_norm=True)
        return np.asarray(nodes.effects)

    mean, best = find(0), find(10)
    assert (harm(best) <= harm(mean) + 1e-6).all()
    assert harm(best).mean() < 0.97 * harm(mean).mean()


# Targets with a distractor


@pytest.mark.slow
@pytest.mark.parametrize("name", ["exact", "acdc", "eap", "node-probing"])
def test_methods_take_pairs_of_targets(name: str) -> None:
    model, data = make_small("plain", np.float32)
    answers = np.asarray(data.targets)
    pairs = np.stack([answers, (answers + 1) % model.config.d_vocab_out], axis=-1)
    found = run(model, data, name, targets=pairs, metric="logit_diff")

    def by_hand(logits: jax.Array, clean: jax.Array, targets: jax.Array) -> jax.Array:
        assert targets.ndim == 3 and targets.shape[2] == 2

        def difference(logits: jax.Array) -> jax.Array:
            chosen = jnp.take_along_axis(logits, targets, axis=-1)
            return (chosen[..., 0] - chosen[..., 1]).mean(axis=1)

        return difference(clean) - difference(logits)

    expected = run(model, data, name, targets=pairs, metric=by_hand)
    tolerance = 1e-4 * abs(expected.values).max()
    np.testing.assert_allclose(found.values, expected.values, rtol=0, atol=tolerance)


@pytest.mark.slow
def test_pairs_of_targets_work_with_optimal_constants_and_chunks(x64: None) -> None:
    model, data = make_small("plain")
    answers = np.asarray(data.targets)
    pairs = np.stack([answers, (answers + 1) % model.config.d_vocab_out], axis=-1)
    options: dict[str, Any] = {"targets": pairs, "metric": "logit_diff", "ablation": "mean"}
    whole = run(model, data, "eap", **options)
    chunks = run(model, data, "eap", batch_size=3, **options)
    np.testing.assert_allclose(chunks.values, whole.values, rtol=0, atol=1e-13)
    found = data_for(
        *(model, data.clean, data.corrupted),
        ablation="optimal",
        objective=Objective(targets=pairs),
        metric=METRICS["logit_diff"],
        optimal=OptimalSettings(2),
    )
    np.testing.assert_array_equal(np.asarray(found.targets)[:, 1:], pairs[:, 1:])
    assert (np.asarray(found.targets)[:, 0] == UNSCORED).all()


@pytest.mark.usefixtures("unchecked")
def test_targets_of_other_shapes_are_refused() -> None:
    model, data = make_small("plain", np.float32)
    wrong = np.zeros((*data.clean.shape, 3), np.int32)
    message = r"Expected targets of shape \(7, 6\), one per position, or \(7, 6, 2\)"
    with pytest.raises(ValueError, match=message):
        run(model, data, "eap", targets=wrong)
    with pytest.raises(ValueError, match=message):
        data_for(model, data.clean, data.corrupted, objective=Objective(targets=wrong))
    method = METHODS["eap"]
    with pytest.raises(ValueError, match=message):
        given = dataclasses.replace(data, targets=wrong)
        method.run(model, given, METRICS["kl"], method.settings, jax.random.key(0))

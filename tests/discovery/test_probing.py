"""Learned masks: the gated run against the reference, and the edges found in known circuits."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from interpbench_jax import load_case, rank_scores
from interpbench_jax.discovery.edge_probing import edge_probing
from interpbench_jax.discovery.edge_pruning import EdgePruningSettings, edge_pruning
from interpbench_jax.discovery.learned_gates import edge_slopes
from interpbench_jax.discovery.method import DiscoveryData, Scores, default_metric_of, edge_groups
from interpbench_jax.discovery.node_probing import node_probing
from interpbench_jax.discovery.probing import ProbingSettings
from interpbench_jax.discovery.runs import start_runs
from interpbench_jax.engine.gated import gated_run, replaced_values
from interpbench_jax.metrics import METRICS, Metric
from interpbench_jax.model import Transformer
from interpbench_jax.sites import Kind, readers, writers
from tests.discovery.small import KINDS, make_small, mask_metric, small_data

LEARNED = {
    "edge probing": (edge_probing, ProbingSettings(epochs=5)),
    "node probing": (node_probing, ProbingSettings(epochs=5)),
    "edge pruning": (edge_pruning, EdgePruningSettings(steps=5)),
}
Small = tuple[Transformer, DiscoveryData, Metric]


def make(kind: str, dtype: np.typing.DTypeLike = np.float32) -> Small:
    model, data = make_small(kind, dtype)
    return model, data, METRICS[default_metric_of("distance", model.config)]


def gates_as_mask(gates: jax.Array, model: Transformer) -> jax.Array:
    """The mask of gates on queries, keys, values and MLPs, of shape `[layers, gates]`."""
    config = model.config
    of_readers, of_writers = [], []
    for reader in readers(config.n_layers, config.n_heads):
        kinds = (Kind.Q_INPUT, Kind.K_INPUT, Kind.V_INPUT)
        if reader.kind in kinds:
            number = kinds.index(reader.kind) * config.n_heads + (reader.head or 0)
            of_readers.append(gates[reader.layer, number])
        else:
            of_readers.append(jnp.ones_like(gates[0, 0]))
    for writer in writers(config.n_layers, config.n_heads):
        is_mlp = writer.kind is Kind.MLP_OUT
        of_writers.append(gates[writer.layer, -1] if is_mlp else jnp.ones_like(gates[0, 0]))
    return jnp.outer(jnp.stack(of_readers), jnp.stack(of_writers))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["plain", "regression", "frozen layer norm"])
@pytest.mark.parametrize("is_shared", [False, True])
def test_a_gated_run_is_a_masked_run(name: str, is_shared: bool, x64: None) -> None:
    model, data, metric = make(name, np.float64)
    generator = np.random.default_rng(0)
    if is_shared:
        n_writers = len(writers(model.config.n_layers, model.config.n_heads))
        shape = (1, data.clean.shape[1], n_writers, model.config.d_model)
        data = replace(data, constants=generator.normal(size=shape), batch_size=4)
    gates = generator.uniform(size=(model.config.n_layers, 3 * model.config.n_heads + 1))
    runs = start_runs(model, data, metric)
    value, bars = runs.mean(gated_run, (), runs.each(replaced_values, ()), gates)
    of_mask = mask_metric(model, data, metric)
    wanted, slope = jax.value_and_grad(lambda gates: of_mask(gates_as_mask(gates, model)))(
        jnp.asarray(gates)
    )
    np.testing.assert_allclose(value, wanted, atol=1e-12)
    np.testing.assert_allclose(bars, slope, atol=1e-10)


@pytest.mark.slow
def test_a_gated_run_with_layer_norm(x64: None) -> None:
    model, data, metric = make("layer norm", np.float64)
    runs = start_runs(model, data, metric)
    replaced = runs.each(replaced_values, ())
    shape = (model.config.n_layers, 3 * model.config.n_heads + 1)
    of_mask = mask_metric(model, data, metric)
    # At 0 and 1, gating what is projected and gating what is read are the same.
    gates = np.random.default_rng(1).integers(0, 2, shape).astype(np.float64)
    value, _ = runs.mean(gated_run, (), replaced, gates)
    np.testing.assert_allclose(value, of_mask(gates_as_mask(jnp.asarray(gates), model)), atol=1e-12)
    gates, step = np.random.default_rng(2).uniform(size=shape), 1e-6
    _, bars = runs.mean(gated_run, (), replaced, gates)
    for index in [(0, 1), (1, 4), (1, 6)]:
        moved = [gates.copy(), gates.copy()]
        moved[0][index] += step
        moved[1][index] -= step
        values = [runs.mean(gated_run, (), replaced, each)[0] for each in moved]
        assert bars[index] == pytest.approx((values[0] - values[1]) / (2 * step), abs=1e-7)


@pytest.mark.parametrize("name", KINDS)
def test_slopes_of_edge_gates(name: str, x64: None) -> None:
    model, data, metric = make(name, np.float64)
    groups = edge_groups(data.edges(model.config))
    gates = np.random.default_rng(0).uniform(size=groups.max() + 1)
    value, bars = edge_slopes(start_runs(model, data, metric), groups)(gates)

    def of_gates(gates: jax.Array) -> jax.Array:
        mask = jnp.where(groups >= 0, gates[groups], 0)
        return mask_metric(model, data, metric)(mask)

    wanted, slope = jax.value_and_grad(of_gates)(jnp.asarray(gates))
    np.testing.assert_allclose(value, wanted, atol=1e-12)
    np.testing.assert_allclose(bars, slope, atol=1e-10)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "universe"), [("plain", "qkv-merged"), ("layer norm", "qkv"), ("regression", "qkv")]
)
@pytest.mark.parametrize("method", LEARNED)
def test_the_same_key_gives_the_same_bits(method: str, name: str, universe: str) -> None:
    model, _, metric = make(name)
    data = small_data(model, universe=universe)
    run, settings = LEARNED[method]
    first, again, other = (
        run(model, data, metric, settings, jax.random.key(seed)) for seed in (0, 0, 1)
    )
    space = data.edges(model.config)
    items = space.edges if first.level == "edge" else space.sources
    assert first.values.shape == (len(items),) and np.isfinite(first.values).all()
    assert (first.values > 0).all() and (first.values <= 1).all()
    np.testing.assert_array_equal(first.values, again.values)
    assert (first.values != other.values).any()


def area(case_id: str, run: object, settings: object) -> float:
    case = load_case(case_id)
    pairs = case.sample(300, 0)
    metric = METRICS[default_metric_of("distance", case.config)]
    data = DiscoveryData(pairs.input_ids, pairs.corrupted_input_ids, pairs.target)
    scores = run(case.model, data, metric, settings, jax.random.key(0))  # pyright: ignore
    assert isinstance(scores, Scores) and case.circuit is not None
    assert scores.details["loss_history"][-20:].mean() < scores.details["loss_history"].max()
    ranked = rank_scores(scores.values, case.circuit, "qkv", scores.level)
    (area,) = (r.roc_auc for r in ranked if (r.universe, r.level) == ("head-no-embed", "edge"))
    assert area is not None
    return area


@pytest.mark.optimized
@pytest.mark.slow
@pytest.mark.parametrize("case_id", ["3", "11"])
def test_known_circuits_are_found(case_id: str) -> None:
    assert area(case_id, edge_probing, ProbingSettings()) > 0.8
    assert area(case_id, node_probing, ProbingSettings()) > 0.8
    assert area(case_id, edge_pruning, EdgePruningSettings()) > 0.8


def test_embeddings_are_kept_and_heads_have_their_largest_gate() -> None:
    model, data, metric = make("plain")
    scores = node_probing(model, data, metric, ProbingSettings(epochs=3), jax.random.key(0))
    assert scores.values[:2].tolist() == [1, 1]
    gates = scores.details["gates"].reshape(2, -1)
    kept = [[*gates[i, :9].reshape(3, 3).max(axis=0), gates[i, 9]] for i in (0, 1)]
    order = scores.values[2:].argsort()
    assert order.tolist() == np.concatenate(kept).argsort().tolist()


@pytest.mark.slow
def test_pruning_reaches_its_target() -> None:
    model, data, metric = make("plain")
    settings = EdgePruningSettings(target_edge_sparsity=0.8)
    scores = edge_pruning(model, data, metric, settings, jax.random.key(0))
    assert (scores.details["gates"] < 0.5).mean() == pytest.approx(0.8, abs=0.1)


def test_bad_settings() -> None:
    with pytest.raises(ValueError, match="at least 1 epoch"):
        ProbingSettings(epochs=0)
    with pytest.raises(ValueError, match=r"shares in 0\.\.1"):
        EdgePruningSettings(target_edge_sparsity=1.5)

"""The contract of every method, and laws that relate them."""

import dataclasses
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from interpbench_jax import (
    METHODS,
    Edge,
    Method,
    Objective,
    Pairs,
    Scores,
    Transformer,
    discover,
    run_with_cache,
    run_with_hooks,
    universe,
)
from interpbench_jax.ablations import ABLATION_NAMES, AblationName, OptimalSettings
from interpbench_jax.discovery import (
    ACDCSettings,
    CEAPSettings,
    DiscoveryData,
    EAPIGSettings,
    EdgePruningSettings,
    MaskGradientSettings,
    ProbingSettings,
    data_for,
)
from interpbench_jax.discovery.method import add_up, default_metric_of, edge_groups
from interpbench_jax.engine.programs import n_compiled
from interpbench_jax.metrics import METRICS, Metric
from interpbench_jax.model.layers import ACTIVATIONS
from interpbench_jax.sites import writers
from tests.discovery.small import (
    CONFIGS,
    KINDS,
    full_mask,
    make_small,
    mask_metric,
    small_data,
    small_model,
)

# Fewer steps for methods that take many.
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
READERS = ("q_input", "k_input", "v_input", "mlp_in")
SLOPES = (
    "eap",
    "relp",
    "eap-ig-inputs",
    "eap-ig-activations",
    "ceap",
    "mask-gradient",
    "clean-corrupted",
)
NODES = ("exact-nodes", "attribution-patching", "atp-star", "hisp", "node-probing")


@pytest.fixture(scope="module")
def model() -> Transformer:
    return small_model(CONFIGS["plain"])


@pytest.fixture(scope="module")
def data(model: Transformer) -> DiscoveryData:
    return small_data(model)


def run(model: Transformer, data: DiscoveryData, name: str, **changes: Any) -> Scores:
    given = {"settings": QUICK.get(name), "method": name} | changes
    pairs = Pairs(
        np.asarray(data.clean),
        np.asarray(data.corrupted),
        Objective(targets=given.pop("targets", data.targets)),
    )
    return discover(model, pairs, **given)


def test_every_method_is_tested() -> None:
    assert set(QUICK) | set(SLOPES) | set(NODES) <= set(METHODS)
    for name, method in METHODS.items():
        settings = QUICK.get(name, method.settings)
        assert dataclasses.is_dataclass(settings) and type(settings) is type(method.settings)
        with pytest.raises(dataclasses.FrozenInstanceError):
            settings.anything = 1  # pyright: ignore[reportAttributeAccessIssue]
        assert "Source:" in (method.run.__doc__ or "") or name in ("chance", "exact", "exact-nodes")


@pytest.mark.slow
@pytest.mark.parametrize("name", METHODS)
def test_the_contract(model: Transformer, data: DiscoveryData, name: str) -> None:
    first = run(model, data, name)
    space = universe("qkv", model.config.n_layers, model.config.n_heads)
    assert first.level == ("node" if name in NODES else "edge")
    assert first.universe == "qkv"
    items = space.sources if first.level == "node" else space.edges
    assert first.values.shape == (len(items),)
    assert first.values.dtype == np.float64
    assert np.isfinite(first.values).all() and np.ptp(first.values) > 0
    compiled = n_compiled()
    again = run(model, data, name)
    assert n_compiled() == compiled, "a second call compiled something"
    np.testing.assert_array_equal(first.values, again.values, err_msg="not the same bits")


@pytest.mark.parametrize("name", [name for name in METHODS if METHODS[name].is_random])
def test_other_seeds_give_other_scores(model: Transformer, data: DiscoveryData, name: str) -> None:
    other = run(model, data, name, seed=1)
    assert (other.values != run(model, data, name).values).any()


@pytest.mark.slow
@pytest.mark.parametrize("name", METHODS)
def test_neither_order_nor_chunks_of_inputs_matter(
    model: Transformer, data: DiscoveryData, name: str
) -> None:
    expected = run(model, data, name).values
    order = np.random.default_rng(0).permutation(len(data.clean))
    shuffled = dataclasses.replace(
        data,
        clean=data.clean[order],
        corrupted=data.corrupted[order],
        targets=np.asarray(data.targets)[order],
    )
    tolerance = 1e-4 * abs(expected).max()
    # So little that the runs of one input are all that there is at a time.
    max_bytes = 1 << 20 if name.startswith("exact") else 1
    for found in (
        run(model, shuffled, name),
        run(model, data, name, batch_size=3),
        run(model, data, name, max_bytes=max_bytes),
    ):
        np.testing.assert_allclose(found.values, expected, rtol=0, atol=tolerance)


@pytest.mark.parametrize("name", ["eap", "exact", "acdc", "attribution-patching", "edge-probing"])
def test_merged_embeddings(model: Transformer, data: DiscoveryData, name: str) -> None:
    found = run(model, data, name, universe="qkv-merged")
    merged = universe("qkv-merged", model.config.n_layers, model.config.n_heads)
    assert len(found.values) == len(merged.sources if name in NODES else merged.edges)
    if name == "eap":
        groups = merged.groups_of(universe("qkv", merged.n_layers, merged.n_heads))
        fine = run(model, data, name).values
        expected = [fine[list(group)].sum() for group in groups]
        np.testing.assert_allclose(found.values, expected, rtol=1e-5, atol=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("ablation", ABLATION_NAMES)
def test_every_ablation_works_with_every_kind_of_method(ablation: AblationName, x64: None) -> None:
    model = small_model(CONFIGS["plain"], np.float64)
    given = small_data(model)
    data = data_for(
        model,
        given.clean,
        given.corrupted,
        ablation=ablation,
        objective=Objective(targets=given.targets),
        optimal=OptimalSettings(steps=3),
    )
    metric, key = METRICS["cross_entropy"], jax.random.key(0)
    of_mask = mask_metric(model, data, metric)
    mask = jnp.asarray(full_mask(model))
    slopes = METHODS["eap"].run(model, data, metric, METHODS["eap"].settings, key).values
    expected = -edge_values(model, np.asarray(jax.grad(of_mask)(mask)))
    np.testing.assert_allclose(slopes, expected, rtol=0, atol=1e-12)
    effects = METHODS["exact"].run(model, data, metric, METHODS["exact"].settings, key).values
    groups = edge_groups(data.edges(model.config))
    for edge in (0, 40, 95):
        cut = of_mask(jnp.where(groups == edge, 0, mask))
        np.testing.assert_allclose(effects[edge], float(cut), rtol=0, atol=1e-12)
    kept = METHODS["acdc"].run(model, data, METRICS["kl"], QUICK["acdc"], key).details["kept"]
    assert 0 < kept.mean() < 1


# Laws


@pytest.mark.slow
def test_eap_is_the_derivative_at_the_clean_run(x64: None) -> None:
    model = small_model(CONFIGS["layer norm"], np.float64)
    data = small_data(model)
    metric = METRICS["cross_entropy"]
    slopes = jax.grad(mask_metric(model, data, metric))(jnp.asarray(full_mask(model)))
    found = run(model, data, "eap")
    np.testing.assert_allclose(
        found.values, -edge_values(model, np.asarray(slopes)), rtol=0, atol=1e-13
    )


@pytest.fixture
def fresh_programs() -> Iterator[None]:
    """No compiled program of before, and none left: for a test that changes what they contain."""
    jax.clear_caches()
    yield
    jax.clear_caches()


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_relp_is_the_derivative_of_a_model_with_lines_and_constants(
    x64: None, fresh_programs: None, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    model, data = make_small(kind)
    metric = METRICS[default_metric_of("loss", model.config)]
    eap = run(model, data, "eap", freeze_layer_norm=data.freeze_layer_norm)
    found = run(model, data, "relp", freeze_layer_norm=data.freeze_layer_norm)
    activation = ACTIVATIONS[model.config.act_fn]

    def line(x: jax.Array) -> jax.Array:
        steep = x + jnp.where(x < 0, -1e-6, 1e-6)
        return steep * jax.lax.stop_gradient(activation(x) / steep)

    jax.clear_caches()
    if model.config.act_fn != "relu":
        monkeypatch.setitem(cast(dict[str, Any], ACTIVATIONS), model.config.act_fn, line)
    # A frozen layer norm divides by constants, as the rule for layer norms has it.
    frozen = dataclasses.replace(data, freeze_layer_norm=True)
    slopes = jax.grad(mask_metric(model, frozen, metric))(jnp.asarray(full_mask(model)))
    wanted = -edge_values(model, np.asarray(slopes))
    np.testing.assert_allclose(found.values, wanted, rtol=0, atol=1e-13)
    differs = not np.allclose(found.values, eap.values, rtol=0, atol=1e-6)
    assert differs == (kind != "regression"), "ReLU without a layer norm is a line as it is"


@pytest.mark.slow
def test_integrated_gradients_are_complete(x64: None) -> None:
    """The scores of all edges add up to the effect of cutting them all."""
    model = small_model(CONFIGS["plain"], np.float64)
    data = small_data(model)
    of_mask = mask_metric(model, data, METRICS["cross_entropy"])
    ones = jnp.asarray(full_mask(model))
    whole = float(of_mask(0 * ones) - of_mask(ones))
    errors = []
    for steps in (20, 40, 80):
        found = run(model, data, "mask-gradient", settings=MaskGradientSettings(steps))
        errors.append(abs(found.values.sum() - whole))
    assert errors[0] > 1.7 * errors[1] > 2.9 * errors[2]
    assert errors[2] < 0.1 * abs(whole)


def test_one_step_of_integrated_gradients(x64: None) -> None:
    """With one step, the only point is the corrupted run; EAP's is the clean run."""
    model = small_model(CONFIGS["plain"], np.float64)
    data = small_data(model)
    eap = run(model, data, "eap").values
    corrupted = run(model, data, "eap-ig-inputs", settings=EAPIGSettings(1)).values
    both = run(model, data, "clean-corrupted").values
    np.testing.assert_allclose(both, (eap + corrupted) / 2, rtol=0, atol=1e-14)
    assert abs(corrupted - eap).max() > 1e-3


@pytest.mark.slow
def test_integrated_gradients_of_activations(x64: None) -> None:
    """Compare with runs with hooks that set the output of one place after another."""
    model = small_model(CONFIGS["plain"], np.float64)
    data = small_data(model)
    metric = METRICS["cross_entropy"]
    places = [["hook_embed", "hook_pos_embed"]]
    for layer in range(2):
        places += [[f"blocks.{layer}.attn.hook_result"], [f"blocks.{layer}.hook_mlp_out"]]
    values = [run_with_cache(model, tokens)[1] for tokens in (data.clean, data.corrupted)]
    read = [f"blocks.{i}.hook_{kind}" for i in range(2) for kind in READERS]
    read.append("blocks.1.hook_resid_post")

    def loss(added: list[jax.Array], place: list[str], share: jax.Array) -> jax.Array:
        hooks: dict[str, Callable[[jax.Array], jax.Array]] = {
            name: partial(jnp.add, one) for name, one in zip(read, added, strict=True)
        }
        for name in place:
            mixed = share * values[0][name] + (1 - share) * values[1][name]
            hooks[name] = partial(_given, mixed)
        logits = run_with_hooks(model, data.clean, hooks)
        clean = model(data.clean)[:, 1:]
        return metric(logits[:, 1:], clean, jnp.asarray(data.targets)[:, 1:]).sum()

    nothing = [jnp.zeros_like(values[0][name]) for name in read]
    slopes = [np.zeros(one.shape) for one in nothing]
    for place in places:
        for share in (0.5, 1.0):
            found = jax.grad(loss)(nothing, place, jnp.asarray(share))
            slopes = [total + np.asarray(one) for total, one in zip(slopes, found, strict=True)]
    by_name = dict(zip(read, slopes, strict=True))
    change = [values[1][str(node.hook)] - values[0][str(node.hook)] for node in writers(2, 3)]

    def effect(edge: Edge) -> float:
        slope = by_name[str(edge.dst.hook)]
        slope = slope if edge.dst.head is None else slope[:, :, edge.dst.head]
        of_writer = change[writers(2, 3).index(edge.src)]
        of_writer = of_writer if edge.src.head is None else of_writer[:, :, edge.src.head]
        return float((slope * of_writer).sum()) / len(data.clean) / (2 * len(places))

    expected = [effect(edge) for edge in universe("qkv", 2, 3).edges]
    found = run(model, data, "eap-ig-activations", settings=EAPIGSettings(2)).values
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)


def _given(value: jax.Array, activation: jax.Array) -> jax.Array:
    return value


def edge_values(model: Transformer, of_mask: np.ndarray) -> np.ndarray:
    space = universe("qkv", model.config.n_layers, model.config.n_heads)
    return add_up(of_mask, edge_groups(space))


def linear_model() -> Transformer:
    """A model in which effects are linear in the mask: uniform attention, active ReLUs."""
    model = small_model(dataclasses.replace(CONFIGS["plain"], act_fn="relu"), np.float64)
    for block in model.blocks:
        for weight in (block.attn.W_Q, block.attn.W_K, block.attn.b_Q, block.attn.b_K):
            weight[...] = jnp.zeros_like(weight[...])
        block.mlp.b_in[...] = jnp.full_like(block.mlp.b_in[...], 100.0)
    return model


def first_logit(logits: jax.Array, clean: jax.Array, targets: jax.Array) -> jax.Array:
    return (clean - logits)[..., 0].mean(axis=1)


@pytest.mark.slow
def test_exact_patching_equals_eap_where_all_is_linear(x64: None) -> None:
    model = linear_model()
    data = small_data(model)
    exact = run(model, data, "exact", metric=first_logit).values
    for name in ("eap", "eap-ig-inputs", "ceap", "clean-corrupted"):
        found = run(model, data, name, metric=first_logit).values
        np.testing.assert_allclose(found, exact, rtol=0, atol=1e-12, err_msg=name)
    nodes = run(model, data, "exact-nodes", metric=first_logit).values
    found = run(model, data, "attribution-patching", metric=first_logit).values
    np.testing.assert_allclose(found, nodes, rtol=0, atol=1e-12)
    assert abs(exact).max() > 0.05


# Custom methods, and errors


def by_writer(
    model: Transformer, data: DiscoveryData, metric: Metric, settings: None, key: jax.Array
) -> Scores:
    space = data.edges(model.config)
    return Scores("edge", data.universe, np.arange(len(space.edges), dtype=np.float64))


def test_a_custom_method(
    model: Transformer, data: DiscoveryData, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = np.arange(len(universe("qkv", 2, 3).edges))
    np.testing.assert_array_equal(run(model, data, "", method=by_writer).values, expected)
    monkeypatch.setitem(METHODS, "mine", Method(by_writer, None))
    np.testing.assert_array_equal(run(model, data, "mine").values, expected)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"method": "guess"}, "Expected method to be one of chance, exact, .*got 'guess'"),
        ({"settings": ACDCSettings()}, "Expected settings of type EAPSettings"),
        ({"metric": "speed"}, "Expected metric to be one of"),
        ({"ablation": "noise"}, "Expected ablation to be one of resample, mean, zero, optimal"),
        ({"universe": "head"}, "Expected universe to be one of qkv, qkv-merged, got 'head'"),
        ({"batch_size": 0}, "Expected batch_size of at least 1, got 0"),
        ({"max_bytes": 0}, "Expected max_bytes of at least 1, got 0"),
        (
            {"objective": Objective(scored=np.arange(6) > 5)},
            "a scored position in every input",
        ),
        ({"targets": np.zeros((2, 2), np.int32)}, "Expected targets of shape"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_wrong_arguments(
    model: Transformer, data: DiscoveryData, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        run(model, data, "eap", **changes)


@pytest.mark.usefixtures("unchecked")
def test_no_inputs(model: Transformer) -> None:
    none = np.zeros((0, 6), np.int32)
    with pytest.raises(ValueError, match="Expected at least one input"):
        discover(model, none, none)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.zeros(3), "Expected one score for each of the 96 edges"),
        (np.full(96, np.nan), "Expected finite scores, got 96"),
    ],
)
def test_wrong_scores(
    model: Transformer, data: DiscoveryData, values: np.ndarray, message: str
) -> None:
    def wrong(*arguments: Any) -> Scores:
        return Scores("edge", "qkv", values)

    with pytest.raises(ValueError, match=message):
        run(model, data, "", method=wrong)

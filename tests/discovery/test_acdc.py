"""ACDC against a plain greedy loop over the reference."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from interpbench_jax.discovery import ACDCSettings, DiscoveryData, Scores
from interpbench_jax.discovery.acdc import EdgeOrder, acdc
from interpbench_jax.discovery.method import FineUniverse, edge_groups
from interpbench_jax.metrics import METRICS, Metric
from interpbench_jax.model import Transformer
from interpbench_jax.universes import universe
from tests.discovery.small import (
    CONFIGS,
    KINDS,
    full_mask,
    make_small,
    mask_metric,
    small_data,
    small_model,
)

# Not 0, where rounding decides about edges without effect, such as those that carry positions.
THRESHOLDS = (0.03, 1e-9, 1e-4, 1e-3, 0.01, 0.3)
KEY = jax.random.key(0)


def greedy(
    model: Transformer, data: DiscoveryData, metric: Metric, threshold: float, edges: list[int]
) -> np.ndarray:
    """Which edges are kept by a pass that tries them in this order."""
    groups = edge_groups(data.edges(model.config))
    of_mask = mask_metric(model, data, metric)
    mask, before = full_mask(model), 0.0
    for edge in edges:
        tried = np.where(groups == edge, 0, mask)
        value = float(of_mask(jnp.asarray(tried)))
        if value - before < threshold:
            mask, before = tried, value
    return np.asarray([mask[groups == edge].max() > 0 for edge in range(groups.max() + 1)])


def backward(model: Transformer, data: DiscoveryData) -> list[int]:
    """The documented order: readers from last to first, writers from last to first."""
    space = data.edges(model.config)
    n_heads = model.config.n_heads
    kinds = {f"hook_{letter}_input": i for i, letter in enumerate("qkv")}

    def place(number: int) -> tuple[int, ...]:
        edge = space.edges[number]
        name, layer = edge.dst.kind.name, edge.dst.layer or 0
        module = {"RESID_POST": 2, "MLP_IN": 1}.get(name, 0)
        kind = "QKV".index(name[0]) if module == 0 else 0
        first = space.members[edge][-1].src
        written = -1 if first.layer is None else first.layer * (n_heads + 1)
        written += n_heads if first.layer is not None and first.head is None else first.head or 0
        if first.layer is None:
            written = -2 if first.kind.name == "EMBED" else -1
        return (-layer, -module, edge.dst.head or 0, kind, -written)

    assert len(kinds) == 3
    return sorted(range(len(space.edges)), key=place)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["qkv", "qkv-merged"])
def test_every_threshold_is_a_greedy_pass(kind: str, name: FineUniverse, x64: None) -> None:
    model, data = make_small(kind, universe=name, batch_size=4)
    metric = METRICS["mse" if model.config.is_regression else "kl"]
    found = acdc(model, data, metric, ACDCSettings(THRESHOLDS), KEY)
    order = backward(model, data)
    for threshold, kept in zip(THRESHOLDS, found.details["kept"], strict=True):
        expected = greedy(model, data, metric, threshold, order)
        np.testing.assert_array_equal(kept, expected, err_msg=f"threshold {threshold}")
    sizes = found.details["kept"].sum(axis=1)
    assert sizes.min() < sizes.max()
    kept_at = np.where(found.details["kept"], np.asarray(THRESHOLDS)[:, None], 0)
    np.testing.assert_array_equal(found.values, kept_at.max(axis=0))


@pytest.mark.slow
def test_forward_is_backward_reversed(x64: None) -> None:
    model = small_model(CONFIGS["plain"], np.float64)
    data = small_data(model)
    settings = ACDCSettings((1e-3, 0.01), order="forward")
    found = acdc(model, data, METRICS["kl"], settings, KEY)
    for threshold, kept in zip(settings.thresholds, found.details["kept"], strict=True):
        order = backward(model, data)[::-1]
        np.testing.assert_array_equal(kept, greedy(model, data, METRICS["kl"], threshold, order))


@pytest.mark.slow
def test_a_threshold_does_not_depend_on_the_others(x64: None) -> None:
    model = small_model(CONFIGS["plain"], np.float64)
    data = small_data(model)
    both = acdc(model, data, METRICS["kl"], ACDCSettings(THRESHOLDS), KEY)
    for threshold, kept in zip(THRESHOLDS, both.details["kept"], strict=True):
        alone = acdc(model, data, METRICS["kl"], ACDCSettings((threshold,)), KEY)
        np.testing.assert_array_equal(alone.details["kept"][0], kept)


@pytest.mark.slow
@pytest.mark.parametrize("order", ["backward", "shuffled", "forward"])
def test_no_threshold_and_an_infinite_one(order: EdgeOrder) -> None:
    model = small_model(CONFIGS["plain"])
    data = small_data(model)
    found = run(model, data, ACDCSettings((0.0, float("inf")), order))
    none, every = found.details["kept"]
    assert not every.any()
    # At 0, an edge is cut only if that brings the output closer to the clean one.
    assert none[universe("qkv", 2, 3).edges.index(data.edges(model.config).edges[0])]
    assert none.sum() > len(none) / 2


@pytest.mark.slow
def test_shuffled_orders_differ_and_a_key_repeats() -> None:
    model = small_model(CONFIGS["plain"])
    data = small_data(model)
    settings = ACDCSettings((1e-3, 0.01, 0.1), "shuffled")
    results = [
        acdc(model, data, METRICS["kl"], settings, jax.random.key(seed)).details["kept"]
        for seed in (0, 0, 1, 2, 3)
    ]
    np.testing.assert_array_equal(results[0], results[1])
    assert any((results[0] != other).any() for other in results[2:])


def run(model: Transformer, data: DiscoveryData, settings: ACDCSettings) -> Scores:
    return acdc(model, data, METRICS["kl"], settings, KEY)


@pytest.mark.parametrize("thresholds", [(), (-1.0,), (0.1, float("nan"))])
def test_wrong_thresholds(thresholds: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="thresholds, at least 0"):
        ACDCSettings(thresholds)


def test_a_wrong_order(unchecked: None) -> None:
    with pytest.raises(ValueError, match="Expected order to be"):
        ACDCSettings(order="sideways")  # pyright: ignore[reportArgumentType]

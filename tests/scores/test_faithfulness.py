"""Faithfulness of growing circuits, compared with the masked forward and sums by hand."""

import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.metrics import auc

from interpbench_jax import (
    METRICS,
    Transformer,
    build_model,
    masked_forward,
    replacement_outputs,
    sweep_edges,
    universe,
)
from interpbench_jax.axes import Logits
from interpbench_jax.interventions import ABLATIONS, Ablation
from interpbench_jax.masks import edge_mask
from interpbench_jax.metrics import PerInput
from interpbench_jax.scores import edges_from_nodes, on_paths
from interpbench_jax.scores.faithfulness import (
    MIB_FRACTIONS,
    circuit_masks,
    faithfulness_areas,
    faithfulness_curve,
)
from interpbench_jax.scores.selection import outside_edges
from interpbench_jax.targets import Targets
from interpbench_jax.universes import UNIVERSES, UniverseName
from tests.fixtures import random_weights, tiny_config
from tests.scores.random_edges import edge_values, node_values

Pair = tuple[np.ndarray, np.ndarray]
SHAPE = (2, 3)
# Effects are float32 numbers near 1, computed with about a hundred roundings.
ATOL = 1e-5


@pytest.fixture(scope="module")
def model() -> Transformer:
    return build_model(tiny_config(), random_weights(tiny_config(), seed=2))


@pytest.fixture(scope="module")
def inputs() -> Pair:
    drawn = np.random.default_rng(1).integers(0, 7, (2, 8, 6)).astype(np.int32)
    return drawn[0], drawn[1]


def run(model: Transformer, inputs: Pair, mask: np.ndarray, ablation: Ablation) -> jnp.ndarray:
    """Return the logits of the scored positions under one mask."""
    clean, corrupted = inputs
    replacement = replacement_outputs(model, corrupted, ablation)
    return masked_forward(model, clean, mask, replacement)[:, 1:]


def effect(model: Transformer, inputs: Pair, mask: np.ndarray, ablation: Ablation) -> float:
    reference = model(inputs[0])[:, 1:]
    logits = run(model, inputs, mask, ablation)
    return float(METRICS["kl"](logits, reference, reference.argmax(axis=-1)).mean())


def kept_by_hand(values: np.ndarray, size: int, name: UniverseName, prune: bool) -> np.ndarray:
    order = sorted(range(len(values)), key=lambda i: -abs(values[i]))
    kept = np.isin(np.arange(len(values)), order[:size])
    return on_paths(kept[None], universe(name, *SHAPE))[0] if prune else kept


def mask_by_hand(kept: np.ndarray, name: UniverseName) -> np.ndarray:
    space = universe(name, *SHAPE)
    fine = [
        each
        for edge, has in zip(space.edges, kept, strict=True)
        for each in space.members[edge]
        if has
    ]
    return edge_mask([*fine, *outside_edges(space)], *SHAPE)


# circuit_masks


@pytest.mark.parametrize("name", UNIVERSES)
def test_masks_are_those_of_the_fine_edges(name: UniverseName) -> None:
    space = universe(name, *SHAPE)
    kept = np.random.default_rng(0).uniform(size=(4, len(space.edges))) < 0.5
    every = edge_mask(universe("qkv", *SHAPE).edges, *SHAPE) > 0
    for found, row in zip(circuit_masks(kept, space), kept, strict=True):
        np.testing.assert_array_equal(found[every], mask_by_hand(row, name)[every])
        # A reader that precedes the writer has no edge to cut.
        assert (found[~every] == 1).all()


# faithfulness_areas


def test_areas_by_hand() -> None:
    fractions, heights = np.asarray([0.0, 0.5, 1.0]), np.asarray([0.0, 2.0, 1.0])
    # Trapezoids: (0 + 2) / 4 + (2 + 1) / 4, and (1 + 1) / 4 + (1 + 0) / 4.
    assert faithfulness_areas(fractions, heights) == (1.25, 0.75)


def test_areas_over_mibs_fractions() -> None:
    fractions = np.asarray(MIB_FRACTIONS)
    perfect = np.ones(10)
    assert faithfulness_areas(fractions, perfect) == pytest.approx((0.999, 0), abs=1e-12)
    heights = np.random.default_rng(0).uniform(-1, 2, 10)
    cpr, cmd = faithfulness_areas(fractions, heights)
    assert cpr == pytest.approx(auc(fractions, heights), abs=1e-12)
    assert cmd == pytest.approx(auc(fractions, np.abs(1 - heights)), abs=1e-12)


# faithfulness_curve


@pytest.mark.slow
@pytest.mark.parametrize("name", UNIVERSES)
@pytest.mark.parametrize("prune", [True, False])
def test_a_curve_is_the_masked_forwards(
    model: Transformer, inputs: Pair, name: UniverseName, prune: bool
) -> None:
    values = edge_values(name, 3)
    found = faithfulness_curve(model, *inputs, values, universe=name, prune=prune)
    assert found.fractions.tolist() == list(MIB_FRACTIONS)
    n_edges = len(values)
    assert found.sizes.tolist() == [int(share * n_edges) for share in MIB_FRACTIONS]
    kept = [kept_by_hand(values, size, name, prune) for size in found.sizes]
    assert found.n_edges.tolist() == [row.sum() for row in kept]
    effects = [effect(model, inputs, mask_by_hand(row, name), "resample") for row in kept]
    empty = effect(model, inputs, mask_by_hand(np.zeros(n_edges, bool), name), "resample")
    assert empty > 0.1
    np.testing.assert_allclose(found.effects, effects, atol=ATOL)
    assert found.empty_effect == pytest.approx(empty, abs=ATOL)
    assert found.faithfulness is not None
    expected = 1 - np.asarray(effects) / empty
    np.testing.assert_allclose(found.faithfulness, expected, atol=ATOL / empty)
    assert found.faithfulness[0] == 0 and found.faithfulness[-1] == pytest.approx(1, abs=ATOL)
    assert found.cpr == pytest.approx(auc(MIB_FRACTIONS, expected), abs=ATOL / empty)
    assert found.cmd == pytest.approx(auc(MIB_FRACTIONS, abs(1 - expected)), abs=ATOL / empty)


@pytest.mark.parametrize("ablation", ABLATIONS)
def test_each_ablation(model: Transformer, inputs: Pair, ablation: Ablation) -> None:
    values = edge_values("head", 5)
    found = faithfulness_curve(
        model, *inputs, values, universe="head", ablation=ablation, fractions=(0.0, 0.4, 1.0)
    )
    kept = kept_by_hand(values, 15, "head", True)
    assert found.sizes.tolist() == [0, 15, 38]
    expected = effect(model, inputs, mask_by_hand(kept, "head"), ablation)
    assert found.effects[1] == pytest.approx(expected, abs=ATOL)


def test_a_difference_of_logits_is_as_faithful_as_mib_says(
    model: Transformer, inputs: Pair
) -> None:
    # MIB: (m(circuit) - m(nothing)) / (m(model) - m(nothing)), with m the margin itself.
    values = edge_values("qkv", 6)
    found = faithfulness_curve(model, *inputs, values, metric="logit_diff", prune=False)
    clean = model(inputs[0])[:, 1:]
    targets = np.asarray(clean.argmax(axis=-1))

    def margin(logits: jnp.ndarray) -> float:
        own = np.take_along_axis(np.asarray(logits), targets[..., None], axis=-1)[..., 0]
        others = np.where(np.eye(5, dtype=bool)[targets], -np.inf, np.asarray(logits))
        return float((own - others.max(axis=-1)).mean())

    def margin_of(size: int) -> float:
        kept = kept_by_hand(values, size, "qkv", False)
        return margin(run(model, inputs, mask_by_hand(kept, "qkv"), "resample"))

    nothing, everything = margin_of(0), margin(clean)
    expected = [(margin_of(size) - nothing) / (everything - nothing) for size in found.sizes]
    assert found.faithfulness is not None
    np.testing.assert_allclose(found.faithfulness, expected, atol=2e-5)


def test_every_size(model: Transformer, inputs: Pair) -> None:
    values = edge_values("head-no-embed", 7)
    found = faithfulness_curve(model, *inputs, values, universe="head-no-embed", fractions=None)
    assert found.sizes.tolist() == list(range(31))
    np.testing.assert_array_equal(found.fractions, np.arange(31) / 30)
    few = faithfulness_curve(
        model, *inputs, values, universe="head-no-embed", fractions=(0.0, 0.5, 1.0)
    )
    np.testing.assert_allclose(few.effects, found.effects[[0, 15, 30]], atol=ATOL)
    assert found.effects[0] == found.empty_effect


def test_a_circuit_of_nodes_has_the_edges_among_them(model: Transformer, inputs: Pair) -> None:
    values = node_values("head", 8)
    found = faithfulness_curve(
        model, *inputs, values, universe="head", level="node", fractions=None, prune=False
    )
    assert found.sizes.tolist() == list(range(10))
    scores = edges_from_nodes(values, "head", *SHAPE)
    limits = [np.inf, *np.sort(np.abs(values))[::-1]]
    kept = [scores >= limit for limit in limits]
    assert found.n_edges.tolist() == [row.sum() for row in kept]
    expected = [effect(model, inputs, mask_by_hand(row, "head"), "resample") for row in kept]
    np.testing.assert_allclose(found.effects, expected, atol=ATOL)


@pytest.mark.parametrize("name", UNIVERSES)
@pytest.mark.parametrize("seed", [9, 10])
def test_pruning_changes_no_effect_where_replacements_are_another_runs(
    model: Transformer, inputs: Pair, name: UniverseName, seed: int
) -> None:
    # A component without inputs computes the corrupted run's value, which is its replacement.
    values, fractions = edge_values(name, seed), (0.0, 0.1, 0.2, 0.3, 1.0)
    pruned, left = (
        faithfulness_curve(model, *inputs, values, universe=name, prune=prune, fractions=fractions)
        for prune in (True, False)
    )
    assert pruned.sizes.tolist() == left.sizes.tolist() == left.n_edges.tolist()
    assert (pruned.n_edges <= left.n_edges).all()
    assert (pruned.n_edges < left.n_edges).any()
    np.testing.assert_allclose(pruned.effects, left.effects, atol=ATOL)


@pytest.mark.parametrize("ablation", ["mean", "zero"])
def test_pruning_what_nothing_feeds_changes_other_effects(
    model: Transformer, inputs: Pair, ablation: Ablation
) -> None:
    # Without the edges from the embedding no path exists, so nothing is left after pruning.
    space = universe("head", *SHAPE)
    values = np.asarray([float("resid_pre" not in str(edge.src)) for edge in space.edges])
    pruned, left = (
        faithfulness_curve(
            model,
            *inputs,
            values,
            universe="head",
            ablation=ablation,
            prune=prune,
            fractions=(30.5 / 38, 1.0),
        )
        for prune in (True, False)
    )
    assert pruned.sizes.tolist() == left.sizes.tolist() == [values.sum(), 38] == [30, 38]
    assert (pruned.n_edges[0], left.n_edges[0]) == (0, 30)
    assert pruned.effects[0] == pruned.empty_effect
    assert abs(pruned.effects[0] - left.effects[0]) > 1e-3


def test_the_order_of_effects_is_more_faithful_than_its_reverse(
    model: Transformer, inputs: Pair
) -> None:
    effects = sweep_edges(model, *inputs, universe="head").effects.astype(np.float64)
    best = faithfulness_curve(model, *inputs, effects, universe="head", prune=False)
    worst = faithfulness_curve(model, *inputs, 1 / effects, universe="head", prune=False)
    assert best.cpr is not None and worst.cpr is not None and best.cpr > worst.cpr + 0.05


def test_where_cutting_everything_has_no_effect_nothing_is_faithful(
    model: Transformer, inputs: Pair
) -> None:
    clean, _ = inputs
    found = faithfulness_curve(
        model, clean, clean, edge_values("head", 0), universe="head", metric="accuracy"
    )
    assert found.empty_effect == 0 and not found.effects.any()
    assert (found.faithfulness, found.cpr, found.cmd) == (None, None, None)


@pytest.mark.parametrize("fractions", [(), (0.5,), (0.5, 0.5), (0.5, 0.1), (-0.1, 1.0), (0.5, 1.1)])
def test_fractions_that_do_not_increase_are_refused(
    model: Transformer, inputs: Pair, fractions: tuple[float, ...]
) -> None:
    with pytest.raises(ValueError, match="Expected at least two increasing fractions from 0 to 1"):
        faithfulness_curve(model, *inputs, edge_values("qkv", 0), fractions=fractions)


def test_values_that_do_not_fit_are_refused(model: Transformer, inputs: Pair) -> None:
    with pytest.raises(ValueError, match=r"each of the 38 edges of 'head', got shape \(9,\)"):
        faithfulness_curve(model, *inputs, node_values("head", 0), universe="head")
    with pytest.raises(ValueError, match=r"each of the 9 nodes of 'head', got shape \(38,\)"):
        faithfulness_curve(model, *inputs, edge_values("head", 0), universe="head", level="node")


@pytest.mark.filterwarnings("ignore:.*effects are not finite:RuntimeWarning")
def test_effects_that_are_no_numbers_are_refused(model: Transformer, inputs: Pair) -> None:
    def broken(logits: Logits, clean_logits: Logits, targets: Targets) -> PerInput:
        return jnp.full(logits.shape[0], jnp.nan)

    with pytest.raises(ValueError, match=r"Expected a finite broken for every circuit, got \[nan"):
        faithfulness_curve(model, *inputs, edge_values("qkv", 0), metric=broken)

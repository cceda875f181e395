"""The noise floor of effects, and the warnings about circuits that do not stand above it."""

from dataclasses import replace
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

import interpbench_jax as ib
from interpbench_jax.axes import Logits
from interpbench_jax.metrics import PerInput, noise_floor
from interpbench_jax.report import areas_by_universe, sweep_as_json
from interpbench_jax.sites import Kind
from interpbench_jax.sweeps.noise import ABSENT, largest_outputs
from interpbench_jax.targets import Targets

CASE = ib.load_case("11")
PAIRS = CASE.sample(40, seed=0)


@pytest.fixture(scope="module")
def silent() -> ib.Case:
    """Case 11 with a head of its circuit that writes nothing."""
    truths = CASE.truth().node_truths("qkv").items()
    (head,) = [node for node, truth in truths if node.kind is Kind.HEAD and truth == "in"]
    assert head.layer is not None
    name = f"blocks.{head.layer}.attn.W_O"
    weights = np.array(CASE.weights[name])
    weights[head.head] = 0
    return replace(CASE, weights={**CASE.weights, name: weights})


@pytest.mark.slow
def test_the_floor_is_a_few_roundings_of_the_largest_output() -> None:
    result = ib.sweep_edges(CASE.model, PAIRS)
    logits = np.asarray(CASE.model(jnp.asarray(PAIRS.input_ids)), np.float64)[:, 1:]
    centred = logits - logits.mean(axis=-1, keepdims=True)
    expected = 16 * 2.0**-23 * abs(centred).max(axis=-1).mean()
    assert result.noise_floor == pytest.approx(expected, rel=1e-5)
    for metric in ("cross_entropy", "centred_l2", "logit_diff"):
        other = ib.sweep_edges(CASE.model, PAIRS, metric=metric)  # pyright: ignore
        assert other.noise_floor == pytest.approx(expected, rel=1e-5)
    squared = ib.sweep_edges(CASE.model, PAIRS, metric="mse").noise_floor
    assert squared == pytest.approx(expected**2, rel=1e-5)
    assert ib.sweep_edges(CASE.model, PAIRS, metric="accuracy").noise_floor == 0

    def own(logits: Logits, clean_logits: Logits, targets: Targets) -> PerInput:
        return abs(logits - clean_logits).sum(axis=(1, 2))

    assert ib.sweep_edges(CASE.model, PAIRS, metric=own).noise_floor == 0


def test_the_circuit_stands_above_it() -> None:
    result, circuit = ib.sweep_edges(CASE.model, PAIRS, metric="centred_l2"), CASE.truth()
    truths = np.asarray([*circuit.edge_truths("qkv").values()])
    assert (result.effects[truths == "in"] > 1e3 * result.noise_floor).all()
    assert 0 < result.noise_floor < 1e-4


@pytest.mark.slow
def test_models_that_share_a_program_have_their_own() -> None:
    cases = [ib.load_case(case) for case in ("11", "21", "34")]
    pairs = [case.sample(12, seed=0) for case in cases]
    alone = [ib.sweep_edges(case.model, own) for case, own in zip(cases, pairs, strict=True)]
    for stacked in (False, True):
        together = ib.sweep_many([case.model for case in cases], pairs, stacked=stacked)
        for one, other in zip(alone, together, strict=True):
            assert other.noise_floor == pytest.approx(one.noise_floor, rel=1e-5)


def test_absent_classes_do_not_count() -> None:
    logits = np.random.default_rng(0).normal(size=(4, 3, 5)).astype(np.float32)
    more = np.concatenate([logits, np.full((2, 3, 5), ABSENT, np.float32)])
    expected = largest_outputs(jnp.asarray(logits), 1)
    np.testing.assert_allclose(largest_outputs(jnp.asarray(more), 1), expected, rtol=1e-6)
    assert noise_floor("kl", float(expected), np.dtype(np.float64)) < 1e-14


def test_a_saved_sweep_keeps_it(tmp_path: Path) -> None:
    first = ib.sweep_edges(CASE.model, PAIRS, options=ib.SweepOptions(save_to=tmp_path))
    again = ib.sweep_edges(CASE.model, PAIRS, options=ib.SweepOptions(save_to=tmp_path))
    assert again.noise_floor == first.noise_floor > 0


def test_a_silent_part_of_the_circuit_is_reported(silent: ib.Case) -> None:
    result, circuit = ib.sweep_edges(silent.model, PAIRS), CASE.truth()
    n_edges = int((np.asarray([*circuit.edge_truths("qkv").values()]) == "in").sum())
    message = rf"of the circuit's {n_edges} edges have no effect above the noise floor \("
    with pytest.warns(RuntimeWarning, match=message):
        areas = ib.edge_auc_by_universe(result, circuit)
    with pytest.warns(RuntimeWarning, match=message):
        ranks = ib.rank_scores(result, circuit, n_draws=5)
    own = [one for one in ranks if one.level == "edge"]
    assert own[0].n_silent > 0 and own[0].roc_auc == areas["qkv"]
    assert areas["qkv"] is not None and areas["qkv"] < 1
    # The order of effects below the noise floor does not count.
    generator = np.random.default_rng(0)
    is_noise = abs(result.effects) <= result.noise_floor
    noise = result.noise_floor * generator.uniform(-1, 1, result.effects.shape)
    other = replace(result, effects=np.where(is_noise, noise, result.effects))
    with pytest.warns(RuntimeWarning, match=message):
        assert ib.edge_auc_by_universe(other, circuit) == areas
    shown = areas_by_universe(result, circuit)
    assert shown["qkv"].n_silent == own[0].n_silent and shown["qkv"].value == areas["qkv"]
    notes = sweep_as_json(result, circuit)["notes"]
    assert isinstance(notes, dict)
    expected = f"{own[0].n_silent} of the circuit's edges have no effect above rounding"
    assert notes["qkv"] == expected


def test_an_empty_a_full_and_a_tied_circuit_are_reported() -> None:
    result = ib.sweep_edges(CASE.model, PAIRS)
    shape = (CASE.config.n_layers, CASE.config.n_heads)
    edges = ib.universe("qkv", *shape).edges
    for circuit, note in (
        (ib.Circuit(*shape, ()), "the circuit has no edge here"),
        (ib.Circuit(*shape, edges), "the circuit has every edge here"),
    ):
        area = areas_by_universe(result, circuit)["qkv"]
        assert area.value is None and area.note("edge") == note
    tied = replace(result, effects=np.ones_like(result.effects))
    area = areas_by_universe(tied, CASE.truth())["qkv"]
    assert area.value == 0.5 and area.note("edge") == "all effects are equal"
    assert areas_by_universe(result, CASE.truth())["qkv"].note("edge") == ""

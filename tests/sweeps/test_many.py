"""Sweeps of many models against sweeps of each."""

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from interpbench_jax import SweepResult, Transformer, build_model, sweep_edges, sweep_many, universe
from interpbench_jax.axes import Logits
from interpbench_jax.engine import programs
from interpbench_jax.metrics import METRIC_NAMES, METRICS, OVER_CLASSES, PerInput
from interpbench_jax.objective import Objective
from interpbench_jax.sweeps import SweepOptions
from interpbench_jax.sweeps.noise import ABSENT
from interpbench_jax.targets import Targets
from tests.fixtures import random_weights, tiny_config

SIZES = {"n_heads": 2, "d_model": 4, "d_head": 2, "d_vocab": 6, "d_vocab_out": 3, "n_ctx": 3}
N_INPUTS = 7
Arrays = list[np.ndarray]
Sweeps = Sequence[SweepResult]


def make_models(*changes: dict[str, object]) -> list[Transformer]:
    configs = [tiny_config(**SIZES | change) for change in changes]
    return [
        build_model(config, random_weights(config, seed=seed))
        for seed, config in enumerate(configs)
    ]


def make_inputs(models: Sequence[Transformer], seed: int = 0) -> tuple[Arrays, Arrays]:
    rng = np.random.default_rng(seed)
    clean, corrupted = (
        [rng.integers(0, m.config.d_vocab, (N_INPUTS, 3)).astype(np.int32) for m in models]
        for _ in range(2)
    )
    return clean, corrupted


def check(found: Sweeps, expected: Sweeps) -> None:
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert (one.names, one.metric, one.ablation) == (other.names, other.metric, other.ablation)
        assert (one.universe, one.n_inputs) == (other.universe, other.n_inputs)
        largest = np.abs(other.effects).max()
        assert largest > 1e-3 and one.effects.shape == other.effects.shape
        np.testing.assert_allclose(one.effects, other.effects, rtol=0, atol=2e-6 * largest)


# Equal shapes, except for vocabularies and settings that are data; the first is padded.
ALIKE: tuple[dict[str, object], ...] = (
    {},
    {"d_vocab": 9, "d_vocab_out": 5, "attention_dir": "bidirectional", "use_attn_scale": False},
)


@pytest.fixture(scope="module")
def alike() -> list[Transformer]:
    return make_models(*ALIKE)


@pytest.fixture(scope="module")
def each(alike: list[Transformer]) -> list[SweepResult]:
    """The results of sweeping each model alone."""
    return [sweep_edges(*one) for one in zip(alike, *make_inputs(alike), strict=True)]


@pytest.mark.slow
@pytest.mark.parametrize("stacked", [False, True])
def test_models_of_one_shape_share_programs(
    alike: list[Transformer], each: list[SweepResult], stacked: bool
) -> None:
    before = programs.n_compiled()
    found = sweep_many(alike, *make_inputs(alike), stacked=stacked)
    # One after another, they use the larger model's programs, which `each` has compiled.
    needed = 2 if stacked else 0
    assert programs.n_compiled() == before + needed
    check(found, each)
    # Other models that can be padded to that shape need no new program.
    others = make_models({"d_vocab": 9, "use_attn_scale": False}, {"d_vocab_out": 5})
    sweep_many(others, *make_inputs(others, seed=1), stacked=stacked)
    assert programs.n_compiled() == before + needed


@pytest.mark.slow
def test_classes_that_are_never_chosen_change_only_means_over_classes() -> None:
    rng = np.random.default_rng(0)
    logits, clean_logits = jnp.asarray(rng.normal(size=(2, 50, 3, 4)), np.float32)
    targets = rng.integers(0, 4, (50, 3)).astype(np.int32)
    more = jnp.full((50, 3, 2), ABSENT, np.float32)
    more_logits, more_clean = (jnp.concatenate([x, more], -1) for x in (logits, clean_logits))
    changed = [
        name
        for name, metric in METRICS.items()
        if not np.allclose(
            metric(more_logits, more_clean, targets), metric(logits, clean_logits, targets), 1e-6
        )
    ]
    assert changed == ["centred_l2", "mae", "mse"]
    assert OVER_CLASSES == tuple(METRICS[name] for name in METRIC_NAMES if name in changed)


def test_targets(alike: list[Transformer]) -> None:
    clean, corrupted = make_inputs(alike)
    objectives = [Objective("logit_diff", tokens % 3) for tokens in corrupted]
    expected = [
        sweep_edges(alike[i], clean[i], corrupted[i], objective=objectives[i]) for i in range(2)
    ]
    check(sweep_many(alike, clean, corrupted, objective=objectives), expected)


def largest_change(logits: Logits, clean_logits: Logits, targets: Targets) -> PerInput:
    """A metric that one more class could change."""
    return jnp.abs(logits - clean_logits).mean(axis=(1, 2))


@pytest.mark.slow
@pytest.mark.parametrize("metric", ["mae", largest_change])
def test_metrics_that_more_classes_would_change_are_not_padded(metric) -> None:
    models = make_models({}, {"d_vocab_out": 5})
    pairs = make_inputs(models)
    expected = [sweep_edges(*one, metric=metric) for one in zip(models, *pairs, strict=True)]
    check(sweep_many(models, *pairs, metric=metric), expected)


def test_models_of_any_shapes_keep_their_order() -> None:
    models = make_models(ALIKE[0], {"n_layers": 1, "n_heads": 1}, ALIKE[1], {"d_vocab_out": 1})
    clean, corrupted = make_inputs(models)
    # A different number of inputs.
    clean[1], corrupted[1] = clean[1][:4], corrupted[1][:4]
    calls: list[tuple[int, int]] = []
    found = sweep_many(
        models,
        clean,
        corrupted,
        options=SweepOptions(progress=lambda done, total: calls.append((done, total))),
    )
    check(found, [sweep_edges(*one) for one in zip(models, clean, corrupted, strict=True)])
    assert [result.metric for result in found] == ["kl", "kl", "kl", "l2"]
    assert [len(result.names) for result in found][:2] == [61, len(universe("qkv", 1, 1).edges)]
    assert calls == [(done, 4) for done in range(5)]


@pytest.mark.parametrize("stacked", [False, True])
def test_several_ablations(
    alike: list[Transformer], stacked: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    clean, corrupted = make_inputs(alike)
    asked: dict[str, Any] = {
        "ablation": ("mean", "resample", "zero"),
        "universe": "head",
    }
    everywhere = Objective(scored=np.ones(clean[0].shape[1], bool))
    expected = [
        sweep_edges(*one, **asked, objective=everywhere)
        for one in zip(alike, clean, corrupted, strict=True)
    ]
    calls: list[tuple[int, int]] = []
    found = sweep_many(
        alike,
        clean,
        corrupted,
        **asked,
        objective=[everywhere] * len(alike),
        stacked=stacked,
        options=SweepOptions(
            explain=True, progress=lambda done, total: calls.append((done, total))
        ),
    )
    check(found, expected)
    assert found[0].effects.shape == (3, len(universe("head", 2, 2).edges))
    assert calls == ([(0, 2), (2, 2)] if stacked else [(done, 2) for done in range(3)])
    told = capsys.readouterr().out
    assert told.count("of 2 models. On one CPU") == (1 if stacked else 2)


def test_means_need_no_corrupted_inputs(alike: list[Transformer]) -> None:
    clean, corrupted = make_inputs(alike)
    # One model has corrupted inputs, but fewer of them.
    others = [None, corrupted[1][:3]]
    asked: dict[str, Any] = {"ablation": "mean", "universe": "head"}
    expected = [sweep_edges(*one, **asked) for one in zip(alike, clean, others, strict=True)]
    check(sweep_many(alike, clean, others, **asked), expected)
    assert sweep_many([], []) == ()


def test_the_budget_is_kept(alike: list[Transformer], each: list[SweepResult]) -> None:
    pairs = make_inputs(alike)
    allowed = sweep_many(alike, *pairs, stacked=True)[0].plan.bytes_held - 1
    found = sweep_many(alike, *pairs, stacked=True, options=SweepOptions(max_bytes=allowed))
    assert found[0].plan.bytes_held <= allowed
    check(found, each)


def test_errors_come_before_anything_is_compiled(alike: list[Transformer]) -> None:
    clean, corrupted = make_inputs(alike)
    before = programs.n_compiled()
    with pytest.raises(ValueError, match="each of 2 models, got 1 clean, 2 corrupted and 2 obj"):
        sweep_many(alike, clean[:1], corrupted)
    with pytest.raises(ValueError, match="got 2 clean, 2 corrupted and 1 objectives"):
        sweep_many(alike, clean, corrupted, objective=[None])
    with pytest.raises(ValueError, match="Expected corrupted inputs, one for each clean one"):
        sweep_many(alike, clean, [corrupted[0], None])
    with pytest.raises(ValueError, match="rows are pairs"):
        sweep_many(alike, clean, [corrupted[0], corrupted[1][:3]])
    nowhere = Objective(scored=np.zeros(3, bool))
    with pytest.raises(ValueError, match="a scored position in every input, got none in"):
        sweep_many(alike, clean, corrupted, objective=[nowhere] * len(alike))
    (regression,) = make_models({"d_vocab_out": 1})
    with pytest.raises(ValueError, match="use 'l2' or 'mae'"):
        sweep_many([*alike, regression], [*clean, clean[0]], [*corrupted, clean[0]], metric="kl")
    assert programs.n_compiled() == before


@pytest.mark.usefixtures("unchecked")
def test_an_unknown_universe_is_refused(alike: list[Transformer]) -> None:
    with pytest.raises(ValueError, match="Expected universe to be one of qkv"):
        sweep_many(alike, *make_inputs(alike), universe="heads")  # pyright: ignore


@pytest.mark.usefixtures("unchecked")
def test_constants_are_refused(alike: list[Transformer]) -> None:
    clean, corrupted = make_inputs(alike)
    with pytest.raises(ValueError, match="Expected an ablation by name for many models"):
        sweep_many(alike, clean, corrupted, ablation=np.zeros((1, 1, 1, 1), np.float32))

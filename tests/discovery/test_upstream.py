"""Against upstream's own runs of ACDC, EAP and the mask gradient, on its own models and data."""

import json
from functools import lru_cache
from typing import Any

import jax
import numpy as np
import pytest

from interpbench_jax import Case, build_model, load_case, universe
from interpbench_jax.discovery import ACDCSettings, DiscoveryData, MaskGradientSettings
from interpbench_jax.discovery.acdc import THRESHOLDS, acdc
from interpbench_jax.discovery.eap import EAPSettings, eap
from interpbench_jax.discovery.mask_gradient import mask_gradient
from interpbench_jax.metrics import METRICS
from interpbench_jax.scores import kept_curve, paper_auc, paper_curve
from tests.fixtures import UPSTREAM, requires_upstream

pytestmark = [requires_upstream, pytest.mark.optimized]
CASES = ("11", "3")
METHODS = ("eap", "eapig5", "eapig10")
SPACE = universe("qkv-merged", 2, 4)
NAMES = [(str(edge.src), str(edge.dst)) for edge in SPACE.edges]
KEY = jax.random.key(0)


@lru_cache
def upstream(case_id: str) -> dict[str, Any]:
    path = UPSTREAM / "discovery" / f"{case_id}_discovery.json"
    return json.loads(path.read_text(encoding="utf-8"))


@lru_cache
def given(case_id: str) -> tuple[Case, DiscoveryData]:
    """Upstream's model, and the inputs that it ran on."""
    case = load_case(case_id, UPSTREAM / "release_v1" / case_id)
    arrays = np.load(UPSTREAM / "discovery" / f"{case_id}_discovery_data.npz")
    targets = arrays["clean_targets"]
    targets = targets[..., 0] if case.config.is_regression else targets.argmax(-1).astype(np.int32)
    clean, corrupted = (arrays[name].astype(np.int32) for name in ("clean", "corrupted"))
    return case, DiscoveryData(clean, corrupted, targets, universe="qkv-merged")


@lru_cache
def our_scores(case_id: str, method: str) -> np.ndarray:
    """In float64, because the terms of some sums cancel to less than a thousandth of them."""
    case, data = given(case_id)
    metric = METRICS["target_mae" if case.config.is_regression else "cross_entropy"]
    with jax.enable_x64(True):
        weights = {name: np.asarray(array, np.float64) for name, array in case.weights.items()}
        model = build_model(case.config, weights)
        if method == "eap":
            values = eap(model, data, metric, EAPSettings(), KEY).values
        else:
            settings = MaskGradientSettings(int(method.removeprefix("eapig")), "sum")
            values = mask_gradient(model, data, metric, settings, KEY).values
    # Upstream sums cross-entropies over positions, but averages absolute errors.
    n_scored = 1 if case.config.is_regression else data.clean.shape[1] - 1
    return values * n_scored


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("case_id", CASES)
def test_scores(case_id: str, method: str) -> None:
    theirs = {(src, dst): score for src, dst, score in upstream(case_id)[method]}
    expected = np.asarray([theirs[name] for name in NAMES])
    assert len(theirs) == len(NAMES) == 110
    found = our_scores(case_id, method)
    counted = abs(expected) > 1e-12
    assert counted.sum() == (0 if (case_id, method) == ("11", "eap") else 110)
    differences = abs(found - expected)
    # Upstream ran in float32: the sum of an edge may cancel to less than 1e-3 of its terms.
    off = counted & (differences > 1e-3 * abs(expected))
    assert off.sum() <= 1
    assert differences.max() <= 1e-4 * abs(expected).max()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("case_id", CASES)
def test_paper_mode_areas_of_our_scores(case_id: str, method: str) -> None:
    case, _ = given(case_id)
    assert case.circuit is not None
    curve = paper_curve(our_scores(case_id, method), case.circuit, "qkv-merged")
    expected = upstream(case_id)[f"{method}_auc"]
    for level in ("edge", "node"):
        assert paper_auc(curve, level) == pytest.approx(expected[level], abs=0.02)


@lru_cache
def our_kept(case_id: str, order: str, seed: int = 0) -> np.ndarray:
    case, data = given(case_id)
    metric = METRICS["mse" if case.config.is_regression else "kl"]
    settings = ACDCSettings(order=order)  # pyright: ignore[reportArgumentType]
    return acdc(case.model, data, metric, settings, jax.random.key(seed)).details["kept"]


def their_kept(case_id: str) -> np.ndarray:
    theirs = upstream(case_id)["acdc_kept_edges"]
    by_threshold = {float(text): edges for text, edges in theirs.items()}
    assert set(by_threshold) == set(THRESHOLDS)
    kept = [{tuple(edge) for edge in by_threshold[threshold]} for threshold in THRESHOLDS]
    assert all(edges <= set(NAMES) for edges in kept)
    return np.asarray([[name in edges for name in NAMES] for edges in kept])


@pytest.mark.slow
@pytest.mark.parametrize("case_id", CASES)
def test_acdc_is_within_what_the_order_of_a_layer_changes(case_id: str) -> None:
    theirs, ours = their_kept(case_id), our_kept(case_id, "backward")
    shuffled = np.asarray([our_kept(case_id, "shuffled", seed) for seed in range(12)])
    to_theirs = (shuffled != theirs).sum(axis=2)
    among = np.asarray(
        [[(one != other).sum(axis=1) for other in shuffled] for one in shuffled]
    ).max(axis=(0, 1))
    # Orders differ this much; upstream's and ours are no further from the closest of them.
    assert (to_theirs.min(axis=0) <= among).all()
    assert ((shuffled != ours).sum(axis=2).min(axis=0) <= among).all()
    agree = to_theirs.min(axis=0) == 0
    assert agree.sum() >= 17, THRESHOLDS
    # At these thresholds, upstream keeps what every order keeps, and nothing that no order keeps.
    always, ever = shuffled.min(axis=0), shuffled.max(axis=0)
    assert (theirs[agree] >= always[agree]).all() and (theirs[agree] <= ever[agree]).all()


@pytest.mark.parametrize("case_id", CASES)
def test_paper_mode_areas_of_our_acdc(case_id: str) -> None:
    case, _ = given(case_id)
    assert case.circuit is not None
    curve = kept_curve(our_kept(case_id, "backward"), case.circuit, "qkv-merged")
    expected = upstream(case_id)["acdc_auc"]
    for level in ("edge", "node"):
        assert paper_auc(curve, level) == pytest.approx(expected[level], abs=0.02)

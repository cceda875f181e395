"""A call of `discover` checks tokens, uploads weights and makes the clean run only once."""

from collections import Counter

import numpy as np
import pytest

from interpbench_jax import Objective, discover
from interpbench_jax.discovery import DiscoveryData
from interpbench_jax.discovery import data as discovery_data
from interpbench_jax.discovery import runs as discovery_runs
from interpbench_jax.discovery.runs import start_runs
from interpbench_jax.engine import plain_runs
from interpbench_jax.metrics import METRICS
from tests.discovery.small import make_small


@pytest.fixture
def counts(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each function was called."""
    found: Counter[str] = Counter()

    def watch(module: object, name: str) -> None:
        function = getattr(module, name)

        def counted(*args: object, **kwargs: object) -> object:
            found[name] += 1
            return function(*args, **kwargs)

        monkeypatch.setattr(module, name, counted)

    for module, name in (
        (discovery_data, "check_tokens"),
        (discovery_runs, "check_tokens"),
        (plain_runs, "device_weights"),
        (plain_runs, "run_calls"),
    ):
        watch(module, name)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("method", ["eap", "acdc", "hisp", "flow-routes"])
@pytest.mark.parametrize("has_targets", [True, False])
def test_resampling(method: str, has_targets: bool, counts: Counter[str]) -> None:
    model, data = make_small("plain")
    # Without targets they are the answers of that same clean run, also where some are not scored.
    scored = np.arange(data.clean.shape[1]) % 2 == 1
    targets = data.targets if has_targets else None
    discover(model, data.clean, data.corrupted, method, objective=Objective(None, targets, scored))
    # Clean and corrupted tokens; clean and corrupted runs.
    assert counts == {"check_tokens": 2, "device_weights": 1, "run_calls": 2}


@pytest.mark.slow
@pytest.mark.parametrize("ablation", ["mean", "zero", "optimal"])
def test_constants(ablation, counts: Counter[str]) -> None:
    model, data = make_small("plain")
    discover(model, data.clean, None, "eap", ablation=ablation)
    assert counts == {"check_tokens": 2, "device_weights": 1, "run_calls": 1}


def test_runs_of_another_model_are_not_used() -> None:
    model, data = make_small("plain")
    other, _ = make_small("layer norm")
    runs = plain_runs.PlainRuns(other, data.clean)
    stale = DiscoveryData(data.clean, data.corrupted, data.targets, plain=runs)
    found = start_runs(model, stale, METRICS["kl"])
    fresh = start_runs(model, data, METRICS["kl"])
    np.testing.assert_array_equal(found.chunks[0].run.logits, fresh.chunks[0].run.logits)

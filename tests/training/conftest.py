"""Fixtures of the tests of training."""

import pytest

from interpbench_jax.training import codes


@pytest.fixture
def quick_codes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compute the target logits of classes whose scores are summed in few steps, on few inputs."""
    monkeypatch.setattr(codes, "_N_INPUTS", 64)
    monkeypatch.setattr(codes, "_DESCENT_STEPS", 200)

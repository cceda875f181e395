"""Fixtures of the tests of training."""

import pytest


@pytest.fixture
def quick_codes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compute the target logits of classes whose scores are summed in few steps, on few inputs."""
    # Not above: pytest reads this file before it checks annotations (`tests/conftest.py`).
    from interpbench_jax.training import codes

    monkeypatch.setattr(codes, "_N_INPUTS", 64)
    monkeypatch.setattr(codes, "_DESCENT_STEPS", 200)

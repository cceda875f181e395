"""What NumPy computes of a program is what JAX computes of it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from interpbench_jax.cases import RaspTask, find_task
from interpbench_jax.rasp.high_level import CompiledModel

# Tables of pairs, numbers, several layers, attention to several keys, and a mean as the output.
CASES = ("3", "18", "20", "24", "93", "111", "two-tasks-1")


def model_and_pairs(case_id: str, n: int) -> tuple[CompiledModel, np.ndarray, np.ndarray]:
    task = find_task(case_id)
    assert isinstance(task, RaspTask)
    pairs = task.sample(n, 0)
    return task.high_level, pairs.input_ids, pairs.corrupted_input_ids


@pytest.mark.parametrize("case_id", CASES)
def test_outputs_agree(case_id: str) -> None:
    model, tokens, sources = model_and_pairs(case_id, 96)
    rng = np.random.default_rng(0)
    nodes = rng.random((96, len(model.nodes))) < 0.5
    edges = rng.random((96, len(model.edges))) < 0.5
    position = rng.integers(0, tokens.shape[1], 96)
    ways: list[dict[str, np.ndarray]] = [
        {},
        {"source_tokens": sources, "node": nodes},
        {"source_tokens": sources, "edge": edges},
        {"source_tokens": sources, "edge": edges, "position": position},
        {"source_tokens": sources, "node": nodes, "edge": edges},
    ]
    for way in ways:
        in_jax = (jnp.asarray(tokens), {name: jnp.asarray(array) for name, array in way.items()})
        found, expected = model(tokens, **way), model(in_jax[0], **in_jax[1])
        assert isinstance(found, np.ndarray) and isinstance(expected, jax.Array)
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)
        targets, expected = model.targets(tokens, **way), model.targets(in_jax[0], **in_jax[1])
        assert isinstance(targets, np.ndarray) and targets.dtype == expected.dtype
        np.testing.assert_allclose(targets, expected, rtol=0, atol=1e-5)
        shares = model.class_shares(tokens, **way)
        expected = model.class_shares(in_jax[0], **in_jax[1])
        assert isinstance(shares, np.ndarray) and shares.dtype == expected.dtype
        np.testing.assert_allclose(shares, expected, rtol=0, atol=1e-5)
    changed = model.differs(tokens, sources)
    assert isinstance(changed, np.ndarray) and changed.any()
    np.testing.assert_array_equal(changed, model.differs(jnp.asarray(tokens), jnp.asarray(sources)))


@pytest.mark.parametrize("case_id", CASES)
def test_the_size_of_chunks_changes_nothing(case_id: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model, tokens, _ = model_and_pairs(case_id, 50)
    whole = model(tokens)
    monkeypatch.setattr("interpbench_jax.rasp.high_level._rows_per_chunk", lambda *_: 7)
    np.testing.assert_allclose(model(tokens), whole, rtol=0, atol=1e-6)

"""Models distributed over devices, and the two ways in which one device runs several models."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Array, Float

from interpbench_jax.training import devices
from interpbench_jax.training.devices import n_devices_for, over_models, place_models
from interpbench_jax.training.stack import stack_tasks
from tests.training.tiny_tasks import LETTERS, MOODS, SHORT


def square(own: Float[Array, "..."], shared: Float[Array, "..."]) -> Float[Array, "..."]:
    return own**2 + shared


@pytest.mark.parametrize("backend", ["cpu", "gpu"])
def test_one_after_another_and_at_once_agree(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices.jax, "default_backend", lambda: backend)
    own = jnp.arange(6.0).reshape(3, 2)
    program = jax.jit(over_models(square, 3))
    assert ("while" in str(program.lower(own, jnp.ones(2)).as_text())) == (backend == "cpu")
    np.testing.assert_array_equal(program(own, jnp.ones(2)), own**2 + 1)


def test_devices_take_equal_shares(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices.jax, "local_device_count", lambda: 4)
    assert [n_devices_for(n) for n in (1, 2, 3, 4, 5, 6, 8)] == [1, 2, 3, 4, 1, 3, 4]


def test_one_device_leaves_arrays_where_they_are() -> None:
    arrays = {"a": jnp.ones((2, 3))}
    assert place_models(arrays, 2) is arrays or jax.local_device_count() > 1


@pytest.mark.slow
def test_an_epoch_of_stacked_models_is_that_of_each(monkeypatch: pytest.MonkeyPatch) -> None:
    """The code path for accelerators, run on a CPU, gives the same results."""

    def train_once() -> tuple[dict[str, Array], np.ndarray]:
        (stack,) = stack_tasks((MOODS, LETTERS), (0, 1), SHORT)
        models = stack.models(np.asarray([True, True, True, False]))
        state, losses = stack.epoch.run(stack.start(), models, stack.data, jax.random.key(1))
        shares = [found.lowest for found in stack.examine(state.average)]
        return dict(state.weights), np.asarray([*losses.behavior[:, -1], *shares])

    weights, numbers = train_once()
    monkeypatch.setattr(devices.jax, "default_backend", lambda: "gpu")
    others, other_numbers = train_once()
    np.testing.assert_allclose(other_numbers, numbers, rtol=1e-3, atol=1e-5)
    for name, array in weights.items():
        np.testing.assert_allclose(others[name], array, rtol=1e-3, atol=1e-4, err_msg=name)

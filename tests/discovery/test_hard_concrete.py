"""The hard concrete distribution, against its formulas and its own draws."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import expit, logit

from interpbench_jax.discovery.hard_concrete import HardConcrete, draw_noise

LOCATIONS = np.asarray([-4.0, -1.0, 0.0, 0.5, 3.0])


def test_a_draw_is_the_stretched_and_clipped_concrete(x64: None) -> None:
    noise = np.asarray([0.1, 0.9, 0.5, 0.3, 0.99])
    concrete = expit((logit(noise) + LOCATIONS) / (2 / 3))
    wanted = np.clip(concrete * 1.2 - 0.1, 0, 1)
    drawn = HardConcrete().draw(jnp.asarray(LOCATIONS), jnp.asarray(noise))
    np.testing.assert_allclose(drawn, wanted, atol=1e-12)
    assert wanted[0] == 0 and wanted[4] == 1


def test_draws_are_nonzero_as_often_as_said() -> None:
    hard = HardConcrete()
    noise = draw_noise(jax.random.key(0), (40_000, len(LOCATIONS)), jnp.dtype("float32"))
    location = jnp.asarray(LOCATIONS, jnp.float32)
    drawn = hard.draw(jnp.broadcast_to(location, noise.shape), noise)
    np.testing.assert_allclose((drawn > 0).mean(axis=0), hard.p_nonzero(location), atol=0.01)


def test_the_gate_without_noise_and_its_location(x64: None) -> None:
    hard = HardConcrete()
    np.testing.assert_allclose(
        hard.gate(LOCATIONS), np.clip(expit(LOCATIONS) * 1.2 - 0.1, 0, 1), atol=1e-12
    )
    assert hard.location_of(0.9) == pytest.approx(np.log(5))
    assert float(hard.gate(jnp.asarray(hard.location_of(0.3)))) == pytest.approx(0.3)


def test_clipped_draws_have_no_slope() -> None:
    hard = HardConcrete()

    def draw(location: jax.Array) -> jax.Array:
        return hard.draw(location, jnp.full((), 0.999)).sum()

    assert jax.grad(draw)(jnp.asarray(5.0)) == 0
    assert jax.grad(draw)(jnp.asarray(-5.5)) > 0


def test_bad_settings() -> None:
    with pytest.raises(ValueError, match=r"interval that contains 0\.\.1"):
        HardConcrete(low=0.1)
    with pytest.raises(ValueError, match="between 0 and 1, got 1"):
        HardConcrete().location_of(1.0)

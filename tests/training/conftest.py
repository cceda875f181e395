"""What tests that train whole models share."""

from collections.abc import Iterator

import jax
import pytest
from jax.experimental.compilation_cache import compilation_cache


@pytest.fixture(scope="module")
def compiled_once(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Every training makes a new program; equal ones are compiled once, and quickly."""
    names = ("jax_compilation_cache_dir", "jax_persistent_cache_min_compile_time_secs")
    before = {name: getattr(jax.config, name) for name in names}
    before |= {"jax_disable_most_optimizations": False}  # JAX's default; it cannot be asked for
    values = (str(tmp_path_factory.mktemp("jax")), 0.1, True)
    for name, value in zip(before, values, strict=True):
        jax.config.update(name, value)
    compilation_cache.reset_cache()
    yield
    for name, value in before.items():
        jax.config.update(name, value)
    compilation_cache.reset_cache()

"""Strict settings for every test; some fixtures that are more than one module's."""

from collections.abc import Iterator
from pathlib import Path

import hypothesis
import jax
import jaxtyping
import pytest
from flax import nnx

# Before anything of ours is imported: every annotation, shapes included, is checked at each call.
# Not in the two modules that walk hostile bytes: tests bound their time, and a check at every
# opcode makes them twenty times slower.
_FOLDER = Path(__file__).resolve().parents[1] / "conversion/interpbench_conversion"
_CONVERSION = {path.stem for path in _FOLDER.glob("*.py")} - {"__init__", "pickles", "torch_files"}
_CHECKED = ["interpbench_jax", *(f"interpbench_conversion.{name}" for name in sorted(_CONVERSION))]
jaxtyping.install_import_hook(_CHECKED, "beartype.beartype")

jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")
nnx.set_graph_mode(False)

# A deadline would make a loaded machine fail tests that are right.
hypothesis.settings.register_profile("interpbench", deadline=None, print_blob=True)
hypothesis.settings.load_profile("interpbench")


@pytest.fixture(autouse=True, scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Commands in processes of their own keep programs here, not in the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("INTERPBENCH_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture
def x64() -> Iterator[None]:
    """float64 in JAX while the test runs."""
    with jax.enable_x64(True):
        yield


@pytest.fixture
def unchecked() -> Iterator[None]:
    """Annotations not checked, as for users: what is wrong must meet our own errors."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)

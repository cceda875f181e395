"""Strict settings for every test; some fixtures that are more than one module's."""

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import jax
import jaxtyping
import pytest
from flax import nnx

_ROOT = Path(__file__).resolve().parents[1]

# XLA's newer code for fusions takes up to seven times as long to compile, and our own programs for
# CPUs do without it while they can. XLA reads this when it first compiles, and ends the process
# where it does not know a flag, as in later versions.
if jax.__version_info__ < (0, 11):
    os.environ.setdefault("XLA_FLAGS", "--xla_cpu_use_fusion_emitters=false")

jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")
nnx.set_graph_mode(False)

# A deadline would make a loaded machine fail tests that are right.
hypothesis.settings.register_profile("interpbench", deadline=None, print_blob=True)
hypothesis.settings.load_profile("interpbench")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--no-typecheck",
        action="store_true",
        help="do not check array shapes and types at every call; skips the tests of these checks",
    )
    parser.addoption(
        "--optimize",
        action="store_true",
        help="compile every program as users have it; takes twice as long",
    )


def pytest_configure(config: pytest.Config) -> None:
    if not config.getoption("no_typecheck"):
        _check_annotations()
    from tests import shared_programs

    cache = config.cache
    assert cache is not None
    programs, of_commands = cache.mkdir("compiled"), cache.mkdir("compiled-by-commands")
    if not hasattr(config, "workerinput"):
        shared_programs.tidy(programs)
    shared_programs.use(programs)
    # Commands in processes of their own keep programs here, not in the user's cache.
    os.environ["INTERPBENCH_CACHE"] = str(of_commands)
    if not config.getoption("optimize"):
        os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "1"


def _check_annotations() -> None:
    """Have every annotation, shapes included, checked at each call.

    Before anything of ours is imported. Not in the two modules that walk hostile bytes: tests bound
    their time, and a check at every opcode makes them twenty times slower.
    """
    folder = _ROOT / "conversion" / "interpbench_conversion"
    names = {path.stem for path in folder.glob("*.py")} - {"__init__", "pickles", "torch_files"}
    checked = ["interpbench_jax", *(f"interpbench_conversion.{name}" for name in sorted(names))]
    jaxtyping.install_import_hook(checked, "beartype.beartype")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("no_typecheck"):
        skip = pytest.mark.skip(reason="--no-typecheck")
        for item in items:
            if item.get_closest_marker("typechecked"):
                item.add_marker(skip)
    # Files with many slow tests come first, so that no worker is left alone with one at the end.
    slow = Counter(item.path for item in items if item.get_closest_marker("slow"))
    items.sort(key=lambda item: -slow[item.path])


def pytest_runtest_setup(item: pytest.Item) -> None:
    from tests import shared_programs

    is_optimized = item.get_closest_marker("optimized") is not None
    shared_programs.optimize(is_optimized or bool(item.config.getoption("optimize")))


def pytest_runtest_teardown(item: pytest.Item) -> None:
    from tests import shared_programs

    shared_programs.bound_memory()


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

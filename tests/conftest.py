"""Strict settings for every test, and fixtures that several modules share."""

import os
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import jax
import jaxtyping
import pytest
from flax import nnx

_ROOT = Path(__file__).resolve().parents[1]

# XLA's newer fusion emitters take up to seven times as long to compile, so our own CPU programs
# avoid them while they can. XLA reads this flag when it first compiles, and later versions, which
# do not know it, abort the process.
if jax.__version_info__ < (0, 11):
    os.environ.setdefault("XLA_FLAGS", "--xla_cpu_use_fusion_emitters=false")

jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")
nnx.set_graph_mode(False)

# A deadline would make correct tests fail on a busy machine.
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
    # Commands in separate processes store programs here, not in the user's cache.
    os.environ["INTERPBENCH_CACHE"] = str(of_commands)
    shared_programs.optimize(bool(config.getoption("optimize")))


def _check_annotations() -> None:
    """Check every annotation, including shapes, at each call.

    This must run before any of our packages is imported. The two modules that parse hostile bytes
    are left out: tests bound their time, and checks at every opcode make them 20 times slower.
    """
    folder = _ROOT / "conversion" / "interpbench_conversion"
    names = {path.stem for path in folder.glob("*.py")} - {"__init__", "pickles", "torch_files"}
    checked = ["interpbench_jax", *(f"interpbench_conversion.{name}" for name in sorted(names))]
    early = sorted(m for m in sys.modules if any(f"{m}.".startswith(f"{c}.") for c in checked))
    if early:
        raise pytest.UsageError(
            f"Expected none of our packages to be imported yet, but {early[0]} is, whose "
            "annotations would not be checked: a conftest.py must import them in its fixtures."
        )
    jaxtyping.install_import_hook(checked, "beartype.beartype")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("no_typecheck"):
        skip = pytest.mark.skip(reason="--no-typecheck")
        for item in items:
            if item.get_closest_marker("typechecked"):
                item.add_marker(skip)
    # Files with many slow tests come first, so that no worker is left with one at the end.
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
    """Enable float64 in JAX during the test."""
    with jax.enable_x64(True):
        yield


@pytest.fixture
def unchecked() -> Iterator[None]:
    """Switch annotation checks off, as for users, so that our own errors must catch mistakes."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)

"""The alias: its import cost and effects, how to undo it, and what it refuses."""

import json
import os
from pathlib import Path

import pytest

from tests.hf_dataset.tiny_release import NAMES, Installation, write_release


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Installation:
    return Installation(tmp_path_factory.mktemp("installation"))


# Importing


def test_importing_our_package_imports_nothing_else(installation: Installation) -> None:
    code = """
import sys
before = {*sys.modules}
import interpbench_dataset.alias
interpbench_dataset.alias.install()
after = {name.partition(".")[0] for name in {*sys.modules} - before}
print(sorted(after - {*sys.stdlib_module_names}))
import interpbench_jax
print([name for name in ("datasets", "jax", "numpy", "pyarrow", "yaml") if name in sys.modules])
print(sum("interpbench_dataset.alias" in type(finder).__module__ for finder in sys.meta_path))
"""
    assert installation.run(code).splitlines() == ["['interpbench_dataset']", "[]", "1"]


# Undoing it, installing it twice, and other names

TOGGLED = """
import sys
import interpbench_jax
from interpbench_dataset import alias

finders = [*sys.meta_path]
alias.install()
alias.install()
assert sys.meta_path == finders
import datasets
import datasets.load as home

assert home.__spec__.loader is home.__loader__ and "alias" not in type(home.__loader__).__module__
changed = home.dataset_module_factory
original = changed.__wrapped__
assert not hasattr(original, "__wrapped__")
alias.install()
assert home.dataset_module_factory is changed is datasets.inspect.dataset_module_factory

def is_known():
    try:
        # Elsewhere than what was cached under this name: offline, that would be found.
        datasets.load_dataset_builder("interpbench", "11", cache_dir="other")
    except (ConnectionError, RuntimeError) as error:
        assert "network" in str(error) or "reach" in str(error), error
        return False
    return True

assert is_known()
alias.uninstall()
alias.uninstall()
assert len(sys.meta_path) == len(finders) - 1
assert home.dataset_module_factory is original is datasets.inspect.dataset_module_factory
assert not is_known()
alias.install()
assert is_known()
import importlib
importlib.reload(home)
assert home.dataset_module_factory.__wrapped__ is not original
assert is_known()

# Every other name, and every other way of calling, is as it was.
seen = []
home.dataset_module_factory = lambda path, *args, **options: seen.append((path, args, options))
alias.install()
factory = home.dataset_module_factory
for path in ("interpbenc", "InterpBench", "org/interpbench", "./interpbench", "parquet", "a/b"):
    factory(path, "main", data_dir="x")
    assert seen.pop() == (path, ("main",), {"data_dir": "x"})
factory(path="other")
assert seen.pop() == ("other", (), {})
print("done")
"""


@pytest.mark.slow
def test_it_is_idempotent_removable_and_silent(installation: Installation) -> None:
    assert installation.run(TOGGLED) == "done\n"


REMOVED_BEFORE = """
import interpbench_jax
from interpbench_dataset import alias
alias.uninstall()
import datasets
assert not hasattr(datasets.load.dataset_module_factory, "__wrapped__")
alias.install()
print(datasets.load_dataset("interpbench", "11", split="test[:3]").num_rows)
"""


@pytest.mark.slow
def test_removed_before_datasets_is_imported(installation: Installation) -> None:
    assert installation.run(REMOVED_BEFORE) == "3\n"


UNKNOWN_VERSION = """
import warnings
import interpbench_jax
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    import datasets.load
print([str(warning.message) for warning in caught])
"""


def test_a_version_of_datasets_that_works_otherwise(
    installation: Installation, tmp_path: Path
) -> None:
    package = tmp_path / "datasets"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "load.py").write_text("x = 1")
    path = os.pathsep.join(map(str, [tmp_path, installation.packages]))
    printed = installation.run(UNKNOWN_VERSION, PYTHONPATH=path)
    assert "no datasets.load.dataset_module_factory" in printed
    assert "use interpbench_jax.load_dataset" in printed


# A folder of the same name, and unavailable data

FOLDERS = """
import os, warnings
import interpbench_jax, datasets, interpbench_dataset
from pathlib import Path

def load(path="interpbench"):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        rows = datasets.load_dataset(path, "11", split="test")
    return rows[0], [str(each.message) for each in caught if "interpbench" in str(each.message)]

ours, said = load()
assert not said
here = Path.cwd()
os.chdir(Path(interpbench_dataset.__file__).parent)
assert load() == (ours, []), "the folder is the packaged one"
os.chdir(here)
row, said = load()
assert row == ours
row, nothing = load("./interpbench")
assert row != ours and not nothing
print(said[0])
"""


@pytest.mark.slow
def test_the_name_wins_over_a_folder_here(installation: Installation, tmp_path: Path) -> None:
    write_release(tmp_path / "interpbench", seed=1)
    code = FOLDERS.replace("here = Path.cwd()", f"here = Path({str(tmp_path)!r})")
    printed = installation.run(code)
    assert printed.startswith("'interpbench' is the dataset that interpbench-jax carries, not")
    assert f"{tmp_path / 'interpbench'}; to open the folder, write './interpbench'." in printed


ERRORS = """
import json
import interpbench_jax, datasets

def error(*args, **options):
    try:
        datasets.load_dataset("interpbench", *args, **options)
    except Exception as error:
        return f"{type(error).__name__}: {error}"

print(json.dumps([error("12"), error("11", split="train"), error("11", revision="main")]))
"""


@pytest.mark.slow
def test_what_cannot_be_had(installation: Installation) -> None:
    case, split, revision = json.loads(installation.run(ERRORS))
    assert case.startswith("ValueError: BuilderConfig '12' not found") and str([*NAMES]) in case
    assert split.startswith("ValueError: Unknown split") and "test" in split
    assert revision.startswith("ValueError: Expected no revision for 'interpbench', got 'main'")

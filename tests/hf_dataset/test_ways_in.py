"""Every way to open the dataset, in clean processes without network access."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.hf_dataset.tiny_release import NAMES, ROOT, ROWS, Installation

IMPORTS = {
    "ours first": "import interpbench_jax\nimport datasets\nfrom datasets import load_dataset",
    "datasets first": "import datasets\nfrom datasets import load_dataset\nimport interpbench_jax",
}


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Installation:
    return Installation(tmp_path_factory.mktemp("installation"))


WAYS_IN = """
import os, time

def timed(what, call):
    start = time.perf_counter()
    value = call()
    print(f"{what}: {time.perf_counter() - start:.3f} s")
    return value

def load(name="11", **options):
    return load_dataset("interpbench", name, split="test", **options)

rows = timed("alias, cold", load)
assert timed("alias, warm", load)[:] == rows[:]
assert rows.num_rows == 200 and rows.column_names[0] == "input_ids"
assert list(timed("alias, streaming", lambda: load(streaming=True))) == list(rows)
assert {"test"} == {*datasets.load_dataset("interpbench", "11")}
assert datasets.load_dataset("interpbench")["test"].column_names == ["case_id", "text"]
assert load(keep_in_memory=True)[:] == rows[:]
assert load(cache_dir="here")[:] == rows[:] and os.listdir("here")

assert datasets.get_dataset_config_names("interpbench") == NAMES
assert datasets.get_dataset_split_names("interpbench", "11") == ["test"]
assert {*datasets.get_dataset_infos("interpbench")} == {*NAMES}
assert datasets.inspect.dataset_module_factory is datasets.load.dataset_module_factory
for warm in (True, False):
    cache = None if warm else "fresh"
    info = datasets.load_dataset_builder("interpbench", "11", cache_dir=cache).info
    assert info.description == "The rows of 11.", info
    assert info.features == rows.features and info.features["target"].length == 4, info
    assert info.splits["test"].num_examples == 200 and info.dataset_size > 0, info
    assert info.download_size > 0 and info.config_name == "11", info

doubled = rows.map(lambda row: {"twice": [2 * x for x in row["input_ids"]]}, num_proc=2)
assert doubled[7]["twice"] == [2 * x for x in rows[7]["input_ids"]]
again = rows.select(range(4)).map(lambda row: {"n": load("3").num_rows}, num_proc=2)
assert list(again["n"]) == [7] * 4

import interpbench_jax
own = interpbench_jax.load_dataset("11")
assert own[:] == rows[:] and own.features == rows.features
print("all ways in")
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("order", "offline"), [("ours first", "1"), ("ours first", "0"), ("datasets first", "1")]
)
def test_every_way_in(installation: Installation, tmp_path: Path, order: str, offline: str) -> None:
    code = f"{IMPORTS[order]}\nNAMES = {list(NAMES)}\n{WAYS_IN}"
    printed = installation.run(
        code, cwd=tmp_path, HF_HUB_OFFLINE=offline, HF_DATASETS_CACHE=str(tmp_path / "cache")
    )
    print(f"\n{order}, HF_HUB_OFFLINE={offline}\n{printed}")
    assert printed.endswith("all ways in\n")


SCRIPT = """
import interpbench_jax
import datasets
import multiprocess

def count(row):
    return {"n": datasets.load_dataset("interpbench", "3", split="test").num_rows}

if __name__ == "__main__":
    multiprocess.set_start_method("spawn")
    rows = datasets.load_dataset("interpbench", "11", split="test").select(range(4))
    print([*rows.map(count, num_proc=2)["n"]])
"""


@pytest.mark.slow
def test_processes_that_are_spawned(installation: Installation, tmp_path: Path) -> None:
    # The other tests' processes are forked, so they inherit all of their parent's state.
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    code = f"import runpy, sys; sys.argv = [{str(script)!r}]; import subprocess; "
    code += f"sys.exit(subprocess.run([sys.executable, '-P', {str(script)!r}]).returncode)"
    assert installation.run(code) == f"{[ROWS['3']] * 4}\n"


# Without our package


FOLDER_ALONE = """
import sys, time
import datasets

for what in ("cold", "warm"):
    start = time.perf_counter()
    rows = datasets.load_dataset({folder!r}, "11", split="test")
    print(f"folder, {{what}}: {{time.perf_counter() - start:.3f}} s")
assert rows.num_rows == 200 and rows.features["target"].length == 4
assert list(datasets.load_dataset({folder!r}, "11", split="test", streaming=True)) == list(rows)
assert datasets.load_dataset_builder({folder!r}, "11").info.description == "The rows of 11."
assert datasets.get_dataset_config_names({folder!r}) == {names}
for name in ("interpbench_jax", "interpbench_dataset"):
    assert name not in sys.modules
    try:
        __import__(name)
    except ImportError:
        continue
    raise AssertionError(f"{{name}} can be imported")
print("done")
"""


@pytest.mark.slow
def test_the_folder_alone(installation: Installation, tmp_path: Path) -> None:
    code = FOLDER_ALONE.format(folder=str(installation.release), names=[*NAMES])
    guard = f"import sys; sys.path.insert(0, {str(installation.home / 'guard')!r})\n"
    guard += "import sitecustomize\n"
    site = [path for path in sys.path if path.endswith("site-packages")]
    # -S and -I leave out the path entry that an editable installation of ours adds.
    code = f"{guard}sys.path += {site}\n{code}"
    environment = {
        "PATH": os.environ["PATH"],
        "HF_HOME": str(tmp_path / "huggingface"),
        "HF_HUB_OFFLINE": "1",
        "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
    }
    ran = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    print(ran.stdout)
    assert ran.returncode == 0 and ran.stdout.endswith("done\n"), ran.stderr


def test_the_processes_find_our_copy(installation: Installation) -> None:
    printed = installation.run("import interpbench_dataset; print(interpbench_dataset.__file__)")
    assert Path(printed.strip()).is_relative_to(installation.packages)
    assert not Path(printed.strip()).is_relative_to(ROOT)


def test_the_network_is_blocked(installation: Installation) -> None:
    code = """
import socket
for call in (lambda: socket.create_connection(("192.0.2.1", 80)),
             lambda: socket.getaddrinfo("huggingface.co", 443)):
    try:
        call()
    except RuntimeError as error:
        print(error)
"""
    assert installation.run(code).count("the network was asked for") == 2

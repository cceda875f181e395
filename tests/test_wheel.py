"""The wheel's contents, and that it works beside user files with our folders' names."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.fixtures import UPSTREAM

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = {"interpbench_jax", "interpbench_conversion", "interpbench_dataset"}

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (path,) = folder.iterdir()
    return zipfile.ZipFile(path)


@pytest.fixture(scope="module")
def unpacked(wheel: zipfile.ZipFile, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("packages")
    wheel.extractall(folder)
    return folder


def test_its_names_are_ours_alone(wheel: zipfile.ZipFile) -> None:
    tops = {name.split("/")[0] for name in wheel.namelist()}
    (metadata,) = (name for name in tops if name.endswith(".dist-info"))
    assert tops - {metadata} == PACKAGES


def test_it_is_typed_and_carries_the_published_folder(unpacked: Path) -> None:
    assert all((unpacked / package / "py.typed").is_file() for package in PACKAGES)
    published = Path("interpbench_dataset", "interpbench")
    here = ROOT / "hf_dataset" / published
    files = {path.relative_to(here) for path in here.rglob("*") if path.is_file()}
    there = unpacked / published
    assert files == {path.relative_to(there) for path in there.rglob("*") if path.is_file()}
    assert Path("models/11/model.safetensors") in files


def test_it_carries_the_templates_of_the_page(unpacked: Path) -> None:
    folder = Path("interpbench_jax", "report", "page")
    kinds = (".html", ".css", ".js")
    files = {path.name for path in (ROOT / folder).rglob("*") if path.suffix in kinds}
    assert files == {path.name for path in (unpacked / folder).rglob("*") if path.suffix in kinds}
    assert {"page.html", "page.css", "main.js"} <= files


SCRIPT = """
import sys
from pathlib import Path
import datasets
import interpbench_jax as ib

packages, upstream = sys.argv[1:]
assert Path(ib.__file__).is_relative_to(packages), ib.__file__
case = ib.load_case("11")
if upstream:
    assert ib.load_case("11", upstream).config.d_model == case.config.d_model
rows = ib.load_dataset("11")
assert list(datasets.load_dataset("interpbench", "11", split="test")) == list(rows)
assert Path(sys.modules["interpbench_dataset"].__file__).is_relative_to(packages)
print(len(rows))
"""


def test_files_of_a_users_own_do_not_get_in_its_way(unpacked: Path, tmp_path: Path) -> None:
    for name in ("conversion", "hf_dataset"):
        (tmp_path / f"{name}.py").write_text("raise RuntimeError('the file of a user')")
    (tmp_path / "script.py").write_text(SCRIPT)
    upstream = UPSTREAM / "release_v1" / "11"
    command = [sys.executable, "script.py", unpacked, upstream if upstream.is_dir() else ""]
    environment = {
        **os.environ,
        "PYTHONPATH": str(unpacked),
        "HF_HOME": str(tmp_path / "huggingface"),
        "HF_HUB_OFFLINE": "1",
        "JAX_PLATFORMS": "cpu",
    }
    ran = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    assert int(ran.stdout) >= 1000

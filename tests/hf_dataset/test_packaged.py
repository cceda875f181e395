"""The location of the published folder, and the models in it."""

import subprocess
import sys
from pathlib import Path

import pytest

from interpbench_dataset import packaged
from interpbench_dataset.packaged import model_ids, packaged_folder, packaged_models
from interpbench_jax.case import CONFIG_FILE, is_case_directory


def test_importing_the_module_imports_nothing_of_others() -> None:
    code = "import sys\nbefore = {*sys.modules}\nimport interpbench_dataset.packaged\n"
    code += "print(sorted({name.partition('.')[0] for name in {*sys.modules} - before}"
    code += " - {*sys.stdlib_module_names}))"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    assert ran.stdout == "['interpbench_dataset', 'interpbench_jax']\n"


def test_the_folder_is_in_the_package() -> None:
    assert packaged_folder() == Path(packaged.__file__).parent / "interpbench"
    assert packaged_models() == packaged_folder() / "models"


def test_a_folder_without_a_card_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packaged, "_FOLDER", tmp_path)
    with pytest.raises(FileNotFoundError, match=r"Expected the dataset and its card.*reinstall"):
        packaged_folder()
    assert model_ids(packaged_models()) == ()


def test_models_are_listed_by_number(tmp_path: Path) -> None:
    for case_id in ("ioi", "20", "3", "100", "abc", "11"):
        (tmp_path / case_id).mkdir()
        (tmp_path / case_id / CONFIG_FILE).write_text("{}")
        assert is_case_directory(tmp_path / case_id)
    (tmp_path / "4").mkdir()
    (tmp_path / "4" / "model.safetensors").write_text("a model that is being written")
    (tmp_path / "notes.txt").write_text("")
    assert model_ids(tmp_path) == ("3", "11", "20", "100", "abc", "ioi")

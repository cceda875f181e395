"""The dataset card: YAML that `datasets` and the Hub understand, and text whose code runs."""

import hashlib
import os
import re
import subprocess
import sys
from pathlib import Path

import datasets
import pyarrow.parquet as pq
import pytest
from huggingface_hub import DatasetCard

from interpbench_dataset.builder import build
from interpbench_dataset.packaged import model_ids
from interpbench_jax.cases import CASES
from tests.tiny_models import certify, write_model

PUBLISHED = (
    Path(__file__).resolve().parents[2] / "hf_dataset" / "interpbench_dataset" / "interpbench"
)
NAMES = ["cases", "circuits", *CASES]
MODEL_ROW = re.compile(r"^\| ([\w-]+) \| ([01]\.\d{4}) \| (\S+) \| (\S+) \| ([\d,]+) B \|$", re.M)


@pytest.fixture(scope="module")
def card() -> DatasetCard:
    return DatasetCard.load(PUBLISHED / "README.md")


def test_configs_list_every_table_with_its_digest(card: DatasetCard) -> None:
    configs = card.data.to_dict()["configs"]
    assert [config["config_name"] for config in configs] == NAMES
    assert [config["config_name"] for config in configs if config.get("default")] == ["cases"]
    for config in configs:
        (file,) = config["data_files"]
        assert file["split"] == "test"
        digest = hashlib.sha256((PUBLISHED / file["path"]).read_bytes()).hexdigest()
        assert config["description"].endswith(f" sha256:{digest}")


def test_dataset_info_tells_rows_and_sizes(card: DatasetCard) -> None:
    infos = card.data.to_dict()["dataset_info"]
    assert [info["config_name"] for info in infos] == NAMES
    for info in infos:
        name = info["config_name"]
        path = f"data/{name}/test-00000-of-00001.parquet" if name in CASES else f"{name}.parquet"
        (split,) = info["splits"]
        assert split["num_examples"] == pq.read_metadata(PUBLISHED / path).num_rows
        assert split["num_bytes"] == info["dataset_size"] > 0
        assert info["download_size"] == os.stat(PUBLISHED / path).st_size


def test_datasets_reads_the_card_offline(tmp_path: Path) -> None:
    assert datasets.get_dataset_config_names(str(PUBLISHED)) == NAMES
    info = datasets.load_dataset_builder(str(PUBLISHED), "11", cache_dir=str(tmp_path)).info
    assert info.description.startswith("Case 11, pairs of inputs with targets. The length")
    assert info.splits is not None and info.splits["test"].num_examples == 1000
    assert info.features is not None and next(iter(info.features)) == "input_ids"
    assert info.license == "cc-by-4.0"


@pytest.mark.parametrize(
    "wanted",
    ["arXiv:2407.14494", "CC BY 4.0", "MIT", "@article{", "8, 13, 19 and 38", "float noise"],
)
def test_the_text_says(card: DatasetCard, wanted: str) -> None:
    assert wanted in " ".join(card.text.split())


def test_every_case_and_column_is_in_the_text(card: DatasetCard) -> None:
    for case_id, task in CASES.items():
        assert re.search(rf"^\| {case_id} \| {re.escape(task.description)} \|", card.text, re.M)
        assert not task.note or f"- **{case_id}**: {task.note}" in card.text
    for table in ("cases", "circuits"):
        for column in pq.read_schema(PUBLISHED / f"{table}.parquet").names:
            assert f"| `{column}` |" in card.text
    assert "$" not in card.text


@pytest.mark.slow
def test_the_code_in_the_card_runs(card: DatasetCard, tmp_path: Path) -> None:
    blocks = re.findall(r"```python\n(.*?)```", card.text, re.DOTALL)
    assert len(blocks) == 2
    code = "\n".join(blocks).replace("<folder>", str(PUBLISHED))
    code += "\nprint(len(pairs), len(cases), len(edges))"
    environment = os.environ | {
        "HF_HOME": str(tmp_path),
        "HF_HUB_OFFLINE": "1",
        "PYTHONPATH": str(PUBLISHED.parents[1]),
    }
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=environment,
    )
    assert not done.returncode, done.stderr
    assert done.stdout.splitlines()[0].startswith("['BOS', ")
    assert done.stdout.splitlines()[-1] == "1000 108 69388"


# Models


def test_every_published_model_is_in_the_text(card: DatasetCard) -> None:
    ids = model_ids(PUBLISHED / "models")
    assert tuple(row[0] for row in MODEL_ROW.findall(card.text)) == ids
    assert ("## Models" in card.text) == bool(ids)


def test_a_card_without_models_does_not_name_them(tmp_path: Path) -> None:
    folder = build(tmp_path, case_ids=["3"], n=2).directory
    text = (folder / "README.md").read_text(encoding="utf-8")
    assert "## Models" not in text and "**models**" not in text and "$" not in text
    assert "constant.\n\nIt was made" in text
    assert not re.search(r"\n{3}", text)


def test_a_card_with_models(tmp_path: Path) -> None:
    for case_id in ("20", "3", "4"):
        write_model(tmp_path / "models", case_id)
    certify(tmp_path / "models" / "4", accuracy=1, iia={}, strict_accuracy={"a": 1, "b": 0.25})
    (tmp_path / "models" / "20" / "certificate.json").write_text("{}")
    build(tmp_path, case_ids=["3", "4", "20"], n=2)
    text = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert "constant;\n- **models**: trained weights of 3 cases, and what was measured" in text
    sizes = {
        case_id: os.stat(tmp_path / f"models/{case_id}/model.safetensors").st_size
        for case_id in ("3", "4", "20")
    }
    table = f"""\
| case | accuracy | smallest IIA | smallest strict accuracy | size |
| --- | --- | --- | --- | --- |
| 3 | 0.9999 | 0.9987 | 0.9951 | {sizes["3"]:,} B |
| 4 | 1.0000 | - | 0.2500 | {sizes["4"]:,} B |
| 20 | - | - | - | {sizes["20"]:,} B |
"""
    assert table in text
    assert '`interpbench_jax.load_case("3")`' in text and "$" not in text
    assert text.index("## Cases") < text.index("## Models") < text.index("## Fields")
    assert not re.search(r"\n{3}", text)

"""Croissant metadata, checked by our own code, and by mlcroissant if it is installed."""

import hashlib
import json
import logging
import os
import warnings
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from interpbench_dataset.builder import build
from interpbench_dataset.packaged import model_ids
from interpbench_jax.cases import CASES
from tests.tiny_models import write_model

PUBLISHED = (
    Path(__file__).resolve().parents[2] / "hf_dataset" / "interpbench_dataset" / "interpbench"
)
NAMES = ["cases", "circuits", *CASES]


@pytest.fixture(scope="module")
def described() -> dict[str, list[dict[str, object]]]:
    return json.loads((PUBLISHED / "croissant.json").read_text(encoding="utf-8"))


def test_every_file_is_described(described: dict[str, list[dict[str, object]]]) -> None:
    files = described["distribution"]
    models = [f"models/{case_id}/model.safetensors" for case_id in model_ids(PUBLISHED / "models")]
    assert [file["@id"] for file in files[len(NAMES) :]] == models
    for file in files:
        path = PUBLISHED / str(file["contentUrl"])
        assert file["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
        assert file["contentSize"] == f"{os.stat(path).st_size} B"


def test_every_column_is_described(described: dict[str, list[dict[str, object]]]) -> None:
    records = described["recordSet"]
    assert [record["@id"] for record in records] == NAMES
    for record in records:
        fields = record["field"]
        assert isinstance(fields, list)
        (path,) = {field["source"]["fileObject"]["@id"] for field in fields}
        columns = [field["source"]["extract"]["column"] for field in fields]
        assert columns == pq.read_schema(PUBLISHED / path).names
        assert [field["@id"] for field in fields] == [f"{record['@id']}/{name}" for name in columns]


@pytest.mark.slow
def test_mlcroissant_accepts_and_reads_it(caplog: pytest.LogCaptureFixture) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # mlcroissant's own, about rdflib and pandas
        mlcroissant = pytest.importorskip("mlcroissant", reason="mlcroissant is not installed")
        with caplog.at_level(logging.WARNING):
            dataset = mlcroissant.Dataset(jsonld=str(PUBLISHED / "croissant.json"))
        issues = dataset.metadata.issues
        assert (issues.errors, issues.warnings, caplog.messages) == (set(), set(), [])
        for name in ("cases", "circuits", "3", "11"):
            records = list(dataset.records(name))
            path = (
                f"data/{name}/test-00000-of-00001.parquet" if name in CASES else f"{name}.parquet"
            )
            rows = pq.read_table(PUBLISHED / path).to_pylist()
            assert len(records) == len(rows)
            if name in CASES:
                found = [record[f"{name}/target"] for record in records]
                np.testing.assert_allclose(found, [row["target"] for row in rows])


def test_mlcroissant_accepts_models(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for case_id in ("20", "3"):
        write_model(tmp_path / "models", case_id)
    build(tmp_path, case_ids=["3", "20"], n=4)
    described = json.loads((tmp_path / "croissant.json").read_text(encoding="utf-8"))
    files = described["distribution"][4:]
    assert [file["@id"] for file in files] == [
        f"models/{case_id}/model.safetensors" for case_id in ("3", "20")
    ]
    for file in files:
        data = (tmp_path / file["contentUrl"]).read_bytes()
        assert file["sha256"] == hashlib.sha256(data).hexdigest()
        assert file["contentSize"] == f"{len(data)} B"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # mlcroissant's own, about rdflib and pandas
        mlcroissant = pytest.importorskip("mlcroissant", reason="mlcroissant is not installed")
        with caplog.at_level(logging.WARNING):
            dataset = mlcroissant.Dataset(jsonld=str(tmp_path / "croissant.json"))
        issues = dataset.metadata.issues
        assert (issues.errors, issues.warnings, caplog.messages) == (set(), set(), [])
        assert len(list(dataset.records("3"))) == 4
        of_model = next(
            each for each in dataset.metadata.distribution if each.id == files[0]["@id"]
        )
        assert of_model.sha256 == files[0]["sha256"]

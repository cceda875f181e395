"""The published models' descriptions, and the certificates behind them."""

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interpbench_dataset.models import (
    CertificateFacts,
    model_path,
    read_certificate,
    read_models,
    show_share,
)
from tests.tiny_models import CERTIFICATE, certify, write_model


def test_models_are_read_without_jax() -> None:
    code = "import sys, interpbench_dataset.models, interpbench_dataset.model_checking\n"
    code += "print({'jax', 'flax', 'pyarrow', 'datasets'} & {*sys.modules})"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    assert ran.stdout == "set()\n"


def test_paths() -> None:
    assert model_path("11") == "models/11"
    assert model_path("11", "config.json") == "models/11/config.json"


def test_models_as_they_are(tmp_path: Path) -> None:
    assert read_models(tmp_path / "nowhere", ["3"]) == ()
    for case_id in ("20", "3", "11"):
        write_model(tmp_path / "models", case_id)
    (tmp_path / "models" / "11" / CERTIFICATE).write_text("not JSON")
    (tmp_path / "models" / "20" / CERTIFICATE).unlink()
    models = read_models(tmp_path, ["20", "4", "3", "11"])
    assert [model.case_id for model in models] == ["20", "3", "11"]
    assert [model.certificate is not None for model in models] == [False, True, False]
    for model in models:
        path = f"models/{model.case_id}/model.safetensors"
        data = (tmp_path / path).read_bytes()
        assert (model.weights.path, model.weights.n_bytes) == (path, len(data))
        assert model.weights.sha256 == hashlib.sha256(data).hexdigest()


def test_a_certificate(tmp_path: Path) -> None:
    folder = write_model(tmp_path, "3", accuracy=1, iia={}, strict_accuracy={"n": 0.5})
    digest = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    assert read_certificate(folder / CERTIFICATE) == CertificateFacts(digest, 1.0, {}, {"n": 0.5})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": "other"}, '"format": "interpbench-certificate" and "version": 1'),
        ({"version": 2}, "comes from a newer release"),
        ({"weights_sha256": None}, "Expected weights_sha256 as a string of 64 digits, got None"),
        ({"accuracy": None}, "Expected accuracy as a number from 0 to 1, got None"),
        ({"accuracy": 99.5}, "Expected accuracy as a number from 0 to 1, got 99.5"),
        ({"accuracy": True}, "Expected accuracy as a number from 0 to 1, got True"),
        ({"accuracy": float("nan")}, "Expected accuracy as a number from 0 to 1, got nan"),
        ({"iia": 0.9}, "Expected iia as an object of numbers from 0 to 1, got 0.9"),
        ({"iia": {"x": "1"}}, "Expected iia of x as a number from 0 to 1, got '1'"),
        ({"strict_accuracy": [1]}, "Expected strict_accuracy as an object"),
    ],
)
def test_certificates_that_are_refused(
    tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    folder = write_model(tmp_path, "3")
    certify(folder, **changes)
    with pytest.raises(ValueError, match=message):
        read_certificate(folder / CERTIFICATE)


def test_shares_are_shown_rounded_down() -> None:
    assert show_share([]) == "-"
    assert show_share([1.0]) == "1.0000"
    assert show_share([1.0, 0.99996, 1.0]) == "0.9999"
    assert show_share([0.9997]) == "0.9997"
    assert show_share([0.0]) == "0.0000"


@given(st.integers(0, 10_000))
def test_a_share_of_four_decimals_is_shown_as_it_is(number: int) -> None:
    assert show_share([number / 10_000]) == f"{number / 10_000:.4f}"

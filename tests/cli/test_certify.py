"""The command `certify`, and how `show` prints a certificate; measuring is tested separately."""

import dataclasses
import json
from pathlib import Path

import pytest

from interpbench_jax.certificates import Certificate, measure, read_certificate
from tests.certificates.commands import run_command
from tests.certificates.emoji import make_case
from tests.certificates.made_up import CERTIFICATE


@pytest.fixture(autouse=True)
def plain_output(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "150")
    monkeypatch.setenv("NO_COLOR", "1")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_case().save(tmp_path / "36")


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace the measurement, so that certifying any case returns this certificate."""

    def certify(*_: object, n: int, seed: int, progress: object) -> Certificate:
        return dataclasses.replace(CERTIFICATE, n=n, seed=seed)

    monkeypatch.setattr(measure, "certify", certify)


@pytest.mark.usefixtures("measured")
def test_tables(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_command("certify", str(folder), "--n", "500", code=0)
    out = capsys.readouterr().out
    for text in (
        "500 pairs from the test split (seed 1), 400 distinct of the 2,014 in the split",
        "0.9999 of outputs, 0.9991 of whole sequences",
        "accuracy 0.9995 with their mean, 0.9993 resampled",
        "0.9800 (head), not defined (qkv)",
        "blocks.0.hook_resid_pre -> blocks.0.attn.hook_result[0]",
        "0.250%",
        "Lowest accuracy: 0.999300. Certificate passed.",
    ):
        assert text in out
    assert read_certificate(folder) == CERTIFICATE


@pytest.mark.usefixtures("measured")
def test_below_the_bar(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_command("certify", str(folder), "--min", "0.9995", code=1)
    out = " ".join(capsys.readouterr().out.split())
    head = "blocks.0.attn.hook_result[0]"
    assert f"FAILED: Strict accuracy with {head} resampled is 0.999400, below 0.9995." in out
    assert "Certificate FAILED in 2 points." in out
    # The certificate is saved whether it passes or fails.
    assert read_certificate(folder).n == 10_000
    run_command("certify", str(folder), "--outside", "0.001", "--json", code=1)
    shown = json.loads(capsys.readouterr().out)
    assert shown["passed"] is False and len(shown["failures"]) == 2
    assert "has 0.50% of the median effect of the circuit's edges" in shown["failures"][0]
    assert shown["bars"] == {"share": 0.999, "outside": 0.001, "clearance": 10.0}
    run_command("certify", str(folder), "--clearance", "200", code=1)
    assert "has only 181.8 times the effect of" in " ".join(capsys.readouterr().out.split())


@pytest.mark.usefixtures("measured")
def test_written_elsewhere(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_command("certify", str(folder), "--out", str(tmp_path / "out"), "--seed", "9", code=0)
    assert read_certificate(tmp_path / "out").seed == 9
    assert not (folder / "certificate.json").exists()
    # In a folder of cases, the case's subfolder is used, as it is when a case is loaded.
    (tmp_path / "36" / "36").mkdir()
    make_case().save(tmp_path / "36" / "36")
    run_command("certify", str(folder), code=0)
    assert (folder / "36" / "certificate.json").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("no/such/folder",), "there is no such folder"),
        (("99",), "Expected a case whose weights interpbench-jax includes"),
        ((".", "--n", "0"), "Invalid value for '--n'"),
        ((".", "--min", "1.5"), "Invalid value for '--min'"),
        ((".", "--seed", "-1"), "Invalid value for '--seed'"),
    ],
)
def test_wrong_input(
    arguments: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    run_command("certify", *arguments, code=2)
    captured = capsys.readouterr()
    assert message in " ".join(captured.err.split())
    assert captured.out == ""


def test_a_case_without_a_task(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = dataclasses.replace(make_case(), case_id="mine").save(tmp_path / "mine")
    run_command("certify", str(folder), code=2)
    assert "Expected a case whose task is declared" in " ".join(capsys.readouterr().err.split())


# show


def shown(folder: Path, capsys: pytest.CaptureFixture[str]) -> tuple[str, dict[str, object] | None]:
    """Return what `show` prints about the certificate: the row of its table, and the JSON."""
    run_command("show", str(folder), code=0)
    lines = capsys.readouterr().out.splitlines()
    first = next(i for i, line in enumerate(lines) if line.startswith("certificate "))
    text = " ".join(" ".join(lines[first : first + 2]).split())
    run_command("show", str(folder), "--json", code=0)
    return text, json.loads(capsys.readouterr().out)["certificate"]


def test_show_without_a_certificate(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text, values = shown(folder, capsys)
    assert "none; `interpbench certify` writes one" in text and values is None


def test_show_with_a_certificate(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    CERTIFICATE.save(folder)
    text, values = shown(folder, capsys)
    numbers = "accuracy 0.9999, lowest IIA 0.9996, lowest strict accuracy 0.9994 on 500"
    assert f"passed: {numbers}" in text
    assert values == {
        "is_of_these_weights": True,
        "n": 500,
        "accuracy": 0.99996,
        "lowest_iia": 0.9996,
        "lowest_joint_iia": 1.0,
        "lowest_edge_accuracy": 0.9995,
        "lowest_strict_accuracy": 0.9994,
        "passed": True,
        "failures": [],
    }


def test_show_with_another_models_certificate(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dataclasses.replace(CERTIFICATE, weights_sha256="0" * 64).save(folder)
    text, values = shown(folder, capsys)
    assert "for different weights" in text
    assert values is not None and values["is_of_these_weights"] is False


def test_show_with_a_broken_certificate(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "certificate.json").write_text("{}")
    text, values = shown(folder, capsys)
    assert "not readable: " in text
    assert values is not None and 'Expected a JSON object with "format"' in str(values["error"])

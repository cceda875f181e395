"""`show`, of tasks for which no model is packaged."""

import json
from pathlib import Path

import pytest

from interpbench_jax import loading
from interpbench_jax.cases import find_task
from tests.certificates.commands import run_command


@pytest.fixture
def nothing_is_packaged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "packaged_cases", lambda: ())


@pytest.mark.usefixtures("nothing_is_packaged")
def test_a_task_without_a_model_is_shown_as_declared(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(loading, "UNTRAINED", {"3": "it is too wide"})
    run_command("show", "3", code=0)
    shown = " ".join(capsys.readouterr().out.split())
    task = find_task("3")
    assert "none packaged (it is too wide); `interpbench train 3 --out DIR`" in shown
    assert " ".join(task.program_text.split()) in shown
    assert task.description in shown
    assert "certificate" not in shown
    for edge in task.complete_circuit.edges:
        assert f"{edge.src} {edge.dst}" in shown


@pytest.mark.usefixtures("nothing_is_packaged")
def test_what_a_task_without_a_model_lacks_is_null(capsys: pytest.CaptureFixture[str]) -> None:
    run_command("show", "8-current", "--json", code=0)
    shown = json.loads(capsys.readouterr().out)
    task = find_task("8-current")
    assert shown["case_id"] == "8-current"
    assert shown["vocab"] == list(task.tokens)
    assert shown["config"]["d_model"] == task.config.d_model
    assert len(shown["circuit"]) == len(task.complete_circuit)
    lacking = ("parameters", "dtype", "provenance", "certificate")
    assert {shown[name] for name in lacking} == {None}


def test_a_random_task_is_shown_and_drawn(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture = tmp_path / "circuit.svg"
    run_command("show", "generated-1", "--plot", str(picture), code=0)
    assert "none packaged; `interpbench train generated-1" in " ".join(
        capsys.readouterr().out.split()
    )
    assert picture.read_text().count("<svg") == 1


@pytest.mark.usefixtures("nothing_is_packaged")
def test_weights_from_elsewhere_are_still_asked_for(tmp_path: Path) -> None:
    run_command("show", "3", "--repo", str(tmp_path), code=2)
    run_command("show", "no-such-task", code=2)

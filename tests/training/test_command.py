"""`interpbench train` from a user's point of view."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from interpbench_dataset.packaged import packaged_models
from interpbench_jax import CASES, read_case
from interpbench_jax.certificates import read_certificate
from interpbench_jax.cli.training import _read_trained
from interpbench_jax.training import EpochRecord
from tests.training.commands import train_quickly


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return start([sys.executable, "-m", "interpbench_jax.cli", "train", *arguments])


def start(command: list[str]) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "COLUMNS": "120", "NO_COLOR": "1"}
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=300,
        env=environment,
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "Expected the ids of cases, or --all; got neither."),
        (("11", "--all"), "or --all; got both."),
        (("11", "99"), "got '99'."),
        (("11", "--seeds", "0"), "Invalid value for '--seeds'"),
        (("11", "--epochs", "0"), "Invalid value for '--epochs'"),
        (("11", "--recipe", "mine"), "'mine' is not one of"),
        (("11", "--out", __file__), "where there is a file; choose another"),
    ],
)
def test_wrong_input_ends_in_a_message(arguments: tuple[str, ...], message: str) -> None:
    done = run(*arguments)
    assert done.returncode == 2, done.stderr
    assert message in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr and done.stdout == ""


@pytest.mark.slow
def test_train(tmp_path: Path) -> None:
    out = tmp_path / "models"
    options = ("--seeds", "1", "--epochs", "2", "--no-certify", "--out", str(out))
    done = start(train_quickly(*options, "--json"))
    assert done.returncode in (0, 1) and done.stderr == "", done.stderr
    described = json.loads(done.stdout)
    (model,) = described["models"]
    assert described["passed"] is model["has_reached_target"] is (done.returncode == 0)
    assert model["accuracy"] > 0.5 and not model["was_there"] and model["failures"] is None
    # Only the model is left.
    assert [path.name for path in out.iterdir()] == ["36"]
    names = {path.name for path in (out / "36").iterdir()}
    assert names == {"circuit.json", "config.json", "log.jsonl", "model.safetensors"}
    case = read_case(out / "36")
    # The recorded command does not reveal the output folder.
    assert case.provenance["command"] == f"interpbench train 36 {' '.join(options[:-2])} --json"
    assert case.circuit == CASES["36"].complete_circuit
    lines = (out / "36" / "log.jsonl").read_text().splitlines()
    assert max(EpochRecord.from_json(line).epoch for line in lines) == model["epochs"]

    config = (out / "36" / "config.json").read_bytes()
    again = start(train_quickly(*options))
    assert again.returncode == done.returncode, again.stderr
    assert "already trained" in again.stdout
    assert (out / "36" / "config.json").read_bytes() == config

    other = start(train_quickly("--seeds", "2", *options[2:]))
    assert other.returncode == 2
    assert "differs in seeds. Retrain it with --restart" in " ".join(other.stderr.split())

    anew = json.loads(start(train_quickly(*options, "--restart", "--json")).stdout)["models"][0]
    assert not anew["was_there"] and anew["iia"] == model["iia"]
    made = read_case(out / "36").provenance
    assert made["weights_sha256"] == case.provenance["weights_sha256"]
    assert str(made["command"]).endswith("--restart --json")


@pytest.mark.slow
def test_the_verdict_is_the_certificates(tmp_path: Path) -> None:
    options = ("--epochs", "1", "--out", str(tmp_path))
    done = start(train_quickly(*options, "--json"))
    (model,) = json.loads(done.stdout)["models"]
    failures = read_certificate(tmp_path / "36").failures()
    assert failures and model["failures"] == list(failures)
    assert done.returncode == 1 and json.loads(done.stdout)["passed"] is False
    again = start(train_quickly(*options))
    assert again.returncode == 1 and "certificate FAILED" in " ".join(again.stdout.split())


def test_notes_on_a_recipe_do_not_make_it_another(tmp_path: Path) -> None:
    folder = shutil.copytree(packaged_models() / "rare-1", tmp_path / "rare-1")
    task, config = CASES["rare-1"], json.loads((folder / "config.json").read_text())
    made = config["provenance"]
    shares = (1.0, 1.0, 1.0, 1.0, 1.0)
    record = EpochRecord("rare-1", made["seed"], made["epoch"], {"edges": 0.5}, *shares, 60.0, 1.0)
    (folder / "log.jsonl").write_text(record.to_json() + "\n")
    made["recipe"]["note"] = made["recipe"]["before"]["note"] = "in other words"
    (folder / "config.json").write_text(json.dumps(config))
    assert _read_trained(folder, task, [made["seed"]]).was_there
    made["recipe"]["before"]["epochs"] += 1
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match="differs in recipe"):
        _read_trained(folder, task, [made["seed"]])

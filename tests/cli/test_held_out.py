"""`interpbench key`, and methods compared on private tasks, from a user's point of view."""

import json
import os
import stat
from pathlib import Path

import pytest

from interpbench_jax.cases.generated.held_out import KEY_VARIABLE, SecretKey
from interpbench_jax.cli.console import choose_cases
from tests.commands import run
from tests.tiny_models import certify, make_model


@pytest.mark.slow
def test_a_key_is_made_once(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "my.key"
    made = run("key", path, "--new")
    assert made.returncode == 0, made.stderr
    own = SecretKey.read(path)
    assert own.digest in made.stdout and own.value.hex() not in made.stdout
    assert f"{own.ids[0]} to -100" in made.stdout
    if os.name == "posix":
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    again = run("key", path, "--new")
    assert again.returncode == 2 and "no file is overwritten" in again.stderr
    assert SecretKey.read(path) == own
    told = json.loads(run("key", path, "--json").stdout)
    assert told == {"file": str(path), "sha256": own.digest, "tasks": list(own.ids)}
    none = run("key", tmp_path / "none")
    assert none.returncode == 2 and "No such file" in none.stderr


@pytest.mark.slow
def test_methods_are_compared_on_private_tasks_without_showing_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bench, submit, validate and leaderboard take a folder of models, and tell no task."""
    own, models, results = SecretKey.draw(), tmp_path / "models", tmp_path / "results"
    (tmp_path / "my.key").write_text(own.text, encoding="ascii")
    named = {KEY_VARIABLE: str(tmp_path / "my.key")}
    monkeypatch.setenv(KEY_VARIABLE, named[KEY_VARIABLE])
    for case_id in own.ids[:2]:
        make_model(case_id).save(models / case_id)
    (models / "notes").mkdir()
    certify(models / own.ids[0], accuracy=0.5)

    done = run(
        *("bench", "--cases", models, "--methods", "clean-corrupted", "--n", 8, "--no-plots"),
        *("-o", results),
        **named,
    )
    assert done.returncode == 0, done.stderr
    assert "the certificate of 1 model does not pass" in " ".join(done.stderr.split())
    file = tmp_path / "board" / "mine.json"
    given = ("--method", "clean-corrupted", "--author", "A. Name", "--cases", models)
    told = [done, run("submit", results, *given, "-o", file, **named)]
    told += [run("validate", file, "--cases", models, **named)]
    told += [run("leaderboard", file.parent, "--cases", models, **named)]
    for each in told[1:]:
        assert each.returncode == 0, each.stderr
    assert {entry["case"] for entry in json.loads(file.read_text())["cases"]} == {*own.ids[:2]}
    assert "clean-corrupted" in told[-1].stdout
    public = [each.stdout + each.stderr for each in told]
    public += [file.read_text(), (results / "results.md").read_text()]
    assert not any(
        word in text for text in public for word in ("A random task", "scattered", "sequence_map")
    )

    other = run("validate", file)
    assert other.returncode == 1 and "Expected one of 3, 4, 8" in other.stdout
    unknown = run("leaderboard", file.parent, "--cases", models, **{KEY_VARIABLE: ""})
    assert unknown.returncode == 2 and KEY_VARIABLE in unknown.stderr


def test_a_folder_of_folders_stands_for_its_cases(tmp_path: Path) -> None:
    for name in ("held-out-10", "held-out-2"):
        make_model("36").save(tmp_path / name)
    (tmp_path / "empty").mkdir()
    assert choose_cases([str(tmp_path), "3"], "1.0.0") == [
        str(tmp_path / "held-out-2"),
        str(tmp_path / "held-out-10"),
        "3",
    ]
    assert choose_cases([str(tmp_path / "held-out-2")], "1.0.0") == [str(tmp_path / "held-out-2")]
    assert choose_cases([str(tmp_path / "empty")], "1.0.0") == [str(tmp_path / "empty")]

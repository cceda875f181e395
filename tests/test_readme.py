"""The README's code: it runs, its types are right, and its commands exist."""

import json
import re
import shlex
import subprocess
import sys
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import pytest
import typer.main

import interpbench_jax as ib
from interpbench_jax.cli import app

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
# Code that would take minutes, and a shorter version for the test.
SHORTER = {"task.sample(100, seed=0, counterfactual": "task.sample(2, seed=0, counterfactual"}
QUICK = ib.Recipe(n_samples=512, n_validation=64, batch_size=256, epochs=1)


def code_of(language: str) -> str:
    """Return all blocks of a language as one text with the README's line numbers."""
    lines = [""] * README.count("\n")
    for block in BLOCK.finditer(README):
        if block[1] == language:
            first = README.count("\n", 0, block.start(2))
            code = block[2].splitlines()
            lines[first : first + len(code)] = code
    return "\n".join(lines) + "\n"


@pytest.mark.slow
@pytest.mark.optimized
def test_python_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code = code_of("python")
    for text, shorter in SHORTER.items():
        assert code.count(text) == 1, text
        code = code.replace(text, shorter)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(ib, "train", partial(ib.train, recipe=QUICK))
    names: dict[str, object] = {}
    exec(compile(code, str(ROOT / "README.md"), "exec"), names)
    printed = capsys.readouterr().out
    assert printed.startswith("{'qkv': 1.0, 'qkv-merged': 1.0, 'head': 1.0, 'head-no-embed': 1.0}")
    assert (tmp_path / "runs" / "case-11" / "effects.parquet").is_file()
    assert isinstance(names["trained"], ib.training.Trained)


@pytest.mark.slow
@pytest.mark.skipif(find_spec("pyright") is None, reason="pyright is not installed")
def test_types_are_right(tmp_path: Path) -> None:
    (tmp_path / "readme.py").write_text(code_of("python"), encoding="utf-8")
    settings = {"typeCheckingMode": "standard", "include": ["."], "pythonVersion": "3.11"}
    (tmp_path / "pyrightconfig.json").write_text(json.dumps(settings), encoding="utf-8")
    paths = [ROOT, ROOT / "conversion", ROOT / "hf_dataset"]
    settings["extraPaths"] = [str(path) for path in paths]
    (tmp_path / "pyrightconfig.json").write_text(json.dumps(settings), encoding="utf-8")
    command = [sys.executable, "-m", "pyright", "--outputjson", "--pythonpath", sys.executable]
    done = subprocess.run([*command, "-p", str(tmp_path)], capture_output=True, text=True)
    report = json.loads(done.stdout)
    assert report["summary"]["filesAnalyzed"] == 1
    found = [
        f"README.md:{each['range']['start']['line'] + 1}: {each['message']}"
        for each in report["generalDiagnostics"]
    ]
    assert not found


def commands() -> list[list[str]]:
    """Return the words that follow `interpbench` on each of its lines, without comments."""
    lines = code_of("").splitlines()
    return [
        shlex.split(line, comments=True)[1:] for line in lines if line.startswith("interpbench ")
    ]


def test_commands_exist() -> None:
    found = commands()
    assert len(found) > 15
    top = typer.main.get_command(app)
    for words in found:
        command, rest = top, words
        while hasattr(command, "commands"):
            # `dataset build|check|upload` names three commands.
            names = rest[0].split("|")
            assert set(names) <= set(command.commands), words  # pyright: ignore
            command, rest = command.commands[names[0]], rest[1:]  # pyright: ignore
        known = {name for each in command.params for name in (*each.opts, *each.secondary_opts)}
        assert {word for word in rest if word.startswith("-")} <= known, words

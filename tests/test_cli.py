"""The command line from a user's point of view."""

import json
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from interpbench_jax import packaged_cases
from tests import commands
from tests.fixtures import UPSTREAM, requires_upstream
from tests.hf_dataset.tiny_release import TWO_CASES, Installation
from tests.tiny_models import make_model, write_model

CASE = str(UPSTREAM / "release_v1" / "11")

pytestmark = requires_upstream


run = partial(commands.run, COLUMNS="100")


@pytest.mark.slow
def test_show() -> None:
    done = run("show", CASE)
    assert done.returncode == 0, done.stderr
    assert "2 layers, 4 heads, d_model 12" in done.stdout
    assert "3 of 53 edges (head)" in done.stdout
    assert "blocks.0.hook_mlp_out" in done.stdout
    shown = json.loads(run("show", CASE, "--json").stdout)
    assert shown["case_id"] == "11"
    assert shown["config"]["d_vocab_out"] == 5
    assert shown["circuit_edges_by_universe"]["qkv"] == {"in_circuit": 5, "of": 137}


@pytest.mark.slow
def test_convert_then_sweep(tmp_path: Path) -> None:
    done = run("convert", CASE, str(tmp_path / "11"))
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in (tmp_path / "11").iterdir()) == [
        "circuit.json",
        "config.json",
        "model.safetensors",
    ]
    options = ("--n", "50", "--seed", "3")
    ours = json.loads(run("sweep", str(tmp_path / "11"), *options, "--json").stdout)
    theirs = json.loads(run("sweep", CASE, *options, "--json").stdout)
    assert ours["effects"] == theirs["effects"]
    assert len(ours["effects"]) == 137
    assert ours["auc"]["head"] == 1.0
    assert ours["inputs"] == "50 pairs of the task, corrupted inputs random (seed 3)"


@pytest.mark.slow
def test_sweep_tables() -> None:
    done = run("sweep", CASE, "--nodes", "--universe", "head", "--n", "20", "--ablation", "mean")
    assert done.returncode == 0, done.stderr
    assert "11 nodes (head), mean ablation" in done.stdout
    assert "20 pairs of the task" in done.stdout
    assert "ROC-AUC" in done.stdout


@pytest.mark.slow
def test_verify(tmp_path: Path) -> None:
    oracle = str(UPSTREAM / "oracle" / "3.npz")
    case = str(UPSTREAM / "release_v1" / "3")
    done = run("verify", case, "--oracle", oracle, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["passed"] is True
    with np.load(oracle) as arrays:
        wrong = dict(arrays)
    wrong["act/blocks.1.hook_mlp_out"] = wrong["act/blocks.1.hook_mlp_out"] + 1e-6
    np.savez(tmp_path / "wrong.npz", **wrong)
    done = run("verify", case, "--oracle", str(tmp_path / "wrong.npz"))
    assert done.returncode == 1
    assert "FAILED" in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("sweep", "no/such/folder"), 2, "there is no such folder"),
        (("sweep", CASE, "--n", "0"), 2, "Invalid value for '--n'"),
        (("sweep", CASE, "--metric", "nothing"), 2, "'nothing' is not one of"),
        (("sweep", CASE, "--max-bytes", "9"), 2, "Expected max_bytes of at least"),
        (("sweep", str(UPSTREAM / "release_v1" / "3"), "--metric", "kl"), 2, "use 'l2' or 'mae'"),
        (("verify", CASE, "--oracle", "none.npz"), 2, "found none"),
        (("verify", CASE, "--oracle", CASE + "/edges.pkl"), 2, "expected an .npz file"),
        (("verify", CASE, "--oracle", str(UPSTREAM / "oracle" / "13.npz")), 2, "Error: Expected"),
        (("sweep", "11", "--repo", "hub"), 3, "HF_HUB_OFFLINE is set"),
        (("show", "99"), 2, "Give source='hub' (on the command line --repo hub)"),
        (("show", "11", "--revision", "main"), 2, "revision='main': they apply only to the Hub"),
        (("nonsense",), 2, "No such command"),
        (("sample", "99"), 2, "Expected the id of a case, a number and a release"),
    ],
)
def test_wrong_input_ends_in_a_message(
    arguments: tuple[str, ...], code: int, message: str, tmp_path: Path
) -> None:
    done = run(*arguments, HF_HUB_OFFLINE="1", HF_HOME=str(tmp_path))
    assert done.returncode == code, done.stderr
    assert message in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


@pytest.mark.slow
def test_list_and_sample() -> None:
    listed = json.loads(run("list", "--json").stdout)["cases"]
    assert len(listed) == 108
    of_release = json.loads(run("list", "--release", "1.0.0", "--json").stdout)["cases"]
    assert of_release == [row for row in listed if "1.0.0" in row["releases"]]
    assert len(of_release) == 18
    assert {row["tier"] for row in listed} == {
        "embedding and one MLP only",
        "one attention step",
        "multi-step",
    }
    assert "length of each word" in " ".join(run("list", COLUMNS="300").stdout.split())
    assert [row["case_id"] for row in listed if row["is_packaged"]] == [*packaged_cases()]
    drawn = json.loads(run("sample", "11", "-n", "3", "--seed", "4", "--json").stdout)["pairs"]
    again = json.loads(run("sample", "11", "-n", "3", "--seed", "4", "--json").stdout)["pairs"]
    assert drawn == again and len(drawn) == 3
    for pair in drawn:
        assert pair["input"][0] == "BOS" and pair["output"][0] == "-"
        # The mean over earlier words of the same length gives that length.
        assert [str(len(word)) for word in pair["input"][1:]] == pair["output"][1:]


MAIN = """
import sys
from interpbench_jax.cli import main
sys.argv = ["interpbench", *{arguments!r}]
main()
"""


@pytest.mark.slow
def test_packaged_models_are_the_default(tmp_path: Path) -> None:
    installation = Installation(tmp_path / "installation")
    write_model(installation.release / "models", "11")

    def run_installed(*arguments: str) -> str:
        code = MAIN.format(arguments=arguments)
        return installation.run(code, HF_HUB_OFFLINE="0", COLUMNS="300", NO_COLOR="1")

    shown = json.loads(run_installed("show", "11", "--json"))
    assert shown["provenance"] == {"source": "random"}
    assert shown["task_description"] == make_model("11").task_description
    assert json.loads(run_installed("show", "11", "--repo", "packaged", "--json")) == shown
    run_installed("convert", "11", str(tmp_path / "copy"))
    weights = "models/11/model.safetensors"
    copy = (tmp_path / "copy" / "model.safetensors").read_bytes()
    assert copy == (installation.release / weights).read_bytes()
    lines = run_installed("list").splitlines()
    assert lines[1].split()[-1] == "packaged"
    assert [line.split()[0] for line in lines if line.rstrip().endswith(" yes")] == ["11"]


@pytest.mark.slow
def test_dataset_check(tmp_path: Path) -> None:
    def run_with_two_cases(*arguments: str) -> tuple[int, dict]:
        code = TWO_CASES + MAIN.format(arguments=("dataset", *arguments, str(tmp_path), "--json"))
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        return done.returncode, json.loads(done.stdout)

    code, found = run_with_two_cases("check")
    assert (code, found["passed"]) == (1, False)
    code, report = run_with_two_cases("build")
    assert (code, report["written"]) == (0, 6)
    code, found = run_with_two_cases("check")
    assert (code, found["passed"]) == (0, True)

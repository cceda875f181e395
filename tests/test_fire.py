"""Small files that are expensive to read, stray files, and two processes in one folder."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import interpbench_jax as ib
from interpbench_jax.bench.parts import PARTS_FOLDER
from interpbench_jax.bench.plan import BenchSettings, choose_methods
from interpbench_jax.bench.run import run_bench
from interpbench_jax.bench.table import read_results
from interpbench_jax.case import CONFIG_FILE, WEIGHTS_FILE
from interpbench_jax.report import circuit_tree
from interpbench_jax.training.checkpoints import Checkpoint, Checkpoints
from tests.hf_dataset.tiny_release import TWO_CASES
from tests.tiny_models import make_model
from tests.training.commands import QUICK_RECIPE


def command(*arguments: object) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "interpbench_jax.cli", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


# Small files


def test_a_sparse_file_of_weights_is_not_read(tmp_path: Path) -> None:
    folder = ib.load_case("36").save(tmp_path / "36")
    with (folder / WEIGHTS_FILE).open("r+b") as file:
        file.truncate(8 * 2**30)
    with pytest.raises(ValueError, match=r"Expected at most [\d,]+ bytes at .*, got 8,589,934,592"):
        ib.load_case(folder)


def test_a_config_of_very_many_layers_is_refused(tmp_path: Path) -> None:
    folder = ib.load_case("36").save(tmp_path / "36")
    described = json.loads((folder / CONFIG_FILE).read_text())
    described["transformer"]["n_layers"] = 2**20
    (folder / CONFIG_FILE).write_text(json.dumps(described))
    with pytest.raises(ValueError, match="Expected n_layers to be from 1 to 1024, got 1048576"):
        ib.load_case(folder)


def test_weights_of_another_save_are_found_out(tmp_path: Path) -> None:
    case = ib.load_case("36")
    folder = case.save(tmp_path / "36")
    name = "unembed.b_U"
    other = replace(case, weights={**case.weights, name: case.weights[name] + 1})
    data = other.save(tmp_path / "other") / WEIGHTS_FILE
    (folder / WEIGHTS_FILE).write_bytes(data.read_bytes())
    with pytest.raises(ValueError, match="Expected the weights whose digest the config names"):
        ib.load_case(folder)


def test_a_circuit_of_very_many_paths_is_drawn() -> None:
    shape = (6, 4)
    circuit = ib.Circuit(*shape, ib.universe("qkv", *shape).edges)
    tree = circuit_tree(circuit)

    def count(branch: object) -> int:
        return 1 + sum(map(count, branch.children))  # pyright: ignore

    assert count(tree) < 2_000


def test_a_pipe_for_a_record_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "sweep.json")
    case = ib.load_case("36")
    with pytest.raises(ValueError, match=r"Expected a regular file at .*sweep\.json, got a pipe"):
        ib.sweep_edges(
            case.model, case.sample(4, seed=0), options=ib.SweepOptions(save_to=tmp_path)
        )


# Stray and damaged files


@pytest.mark.slow
def test_stray_files_among_checkpoints_stay(tmp_path: Path) -> None:
    state = {"a": np.arange(3.0)}
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    checkpoints.save(Checkpoint(1, state))
    stray = tmp_path / "checkpoints" / ".DS_Store"
    stray.write_text("a file browser's")
    (tmp_path / "checkpoints" / "mine").mkdir()
    checkpoints.save(Checkpoint(2, state))
    found = checkpoints.restore(state)
    checkpoints.close()
    assert found is not None and found.epoch == 2
    names = {path.name for path in (tmp_path / "checkpoints").iterdir()}
    assert names == {".DS_Store", "mine", "epoch_2"}


@pytest.mark.slow
def test_a_damaged_checkpoint_is_named(tmp_path: Path) -> None:
    state = {"a": np.arange(3.0)}
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    checkpoints.save(Checkpoint(1, state))
    for path in (tmp_path / "checkpoints").rglob("*"):
        if path.is_file():
            path.write_bytes(b"")
    with pytest.raises(ValueError, match=r"Expected a checkpoint of this training in .*epoch_1"):
        checkpoints.restore(state)
    checkpoints.close()


DAMAGE = {
    "nothing": b"",
    "nested": b"[" * 100_000,
    "another number": None,
    "not text": b"\xff\xfe",
    "too large a number": b'{"seconds": 1e400}',
    "a folder": None,
}


@pytest.mark.slow
@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_part_is_as_if_it_were_not_there(damage: str, tmp_path: Path) -> None:
    case = make_model("35")
    settings = BenchSettings(choose_methods(["chance", "eap"]), n_inputs=4)
    first = run_bench([case], settings, tmp_path)
    part = next((tmp_path / PARTS_FOLDER).glob("*eap*"))
    if damage == "a folder":
        part.unlink()
        part.mkdir()
    elif damage == "another number":
        head, body = part.read_text().splitlines()
        content = json.loads(body)
        content["results"][0]["roc_auc"] = 0.125
        part.write_text(f"{head}\n{json.dumps(content)}\n")
    else:
        part.write_bytes(DAMAGE[damage] or b"")
    if damage == "a folder":
        with pytest.raises(OSError, match="Expected a file to write at"):
            run_bench([case], settings, tmp_path)
        return
    again = run_bench([case], settings, tmp_path)
    assert again.n_kept == 1 and not again.failures
    areas = [[row.roc_auc for row in outcome.results] for outcome in (first, again)]
    assert areas[0] == areas[1]


# Full disks


# Run the command with a limit of 1,000 bytes per file.
ON_A_FULL_DISK = """
import resource, runpy, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (1_000, 1_000))
sys.argv[0] = "interpbench"
runpy.run_module("interpbench_jax.cli", run_name="__main__")
"""


WRITING: dict[str, Callable[[Path], tuple[object, ...]]] = {
    "convert": lambda out: ("convert", "11", out),
    "convert to upstream": lambda out: ("convert", "11", out, "--to", "upstream"),
    "certify": lambda out: ("certify", "36", "--n", "8", "--out", out),
    "bench": lambda out: (
        *("bench", "--cases", "36", "--methods", "eap", "--n", "4", "--no-plots"),
        *("-o", out),
    ),
    "sweep": lambda out: ("sweep", "36", "--n", "8", "--save-to", out),
    "train": lambda out: ("train", "36", "--epochs", "1", "--no-certify", "--out", out),
    "dataset build": lambda out: ("dataset", "build", out),
}
LESS_WORK = {"dataset build": TWO_CASES, "train": QUICK_RECIPE}


@pytest.mark.slow
@pytest.mark.parametrize("name", WRITING)
def test_a_full_disk_is_said_and_leaves_nothing_half_written(name: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    environment = {**os.environ, "INTERPBENCH_NO_CACHE": "1"}
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            LESS_WORK.get(name, "") + ON_A_FULL_DISK,
            *map(str, WRITING[name](out)),
        ],
        capture_output=True,
        text=True,
        timeout=300,
        env=environment,
    )
    assert done.returncode == 2, done.stdout + done.stderr
    assert "the disk is full or a quota is used up" in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr
    whole = {path for path in out.rglob("*") if path.is_file() and path.stat().st_size >= 1_000}
    assert not whole and not list(out.rglob(".*.json.*")) and not list(out.rglob(".model*"))


# Two processes, and a process that is stopped


@pytest.mark.slow
def test_two_trainings_in_one_folder(tmp_path: Path) -> None:
    options = ("train", "36", "--epochs", "3", "--no-certify", "--out", tmp_path)
    first = command(*options)
    while first.poll() is None and not list(tmp_path.glob(".training-*")):
        time.sleep(0.02)
    second = command(*options)
    out, error = second.communicate(timeout=120)
    assert second.returncode == 2, out
    assert "to train case 36, but it is in use" in " ".join(error.split())
    assert "Traceback" not in error
    first.communicate(timeout=300)
    assert first.returncode in (0, 1)
    assert ib.load_case(tmp_path / "36").provenance["source"] == "trained"
    assert [path.name for path in tmp_path.iterdir()] == ["36"]


@pytest.mark.slow
def test_a_second_benchmark_keeps_the_rows_of_the_first(tmp_path: Path) -> None:
    for case in ("36", "37"):
        options = ("--cases", case, "--methods", "chance", "--n", "4", "--no-plots")
        done = command("bench", *options, "-o", tmp_path)
        _, error = done.communicate(timeout=300)
        assert done.returncode == 0, error
    assert "The rows of 1 run from earlier calls are kept." in error
    assert {row.case for row in read_results(tmp_path)} == {"36", "37"}


@pytest.mark.slow
def test_damaged_results_of_earlier_calls_are_not_lost_in_silence(tmp_path: Path) -> None:
    (tmp_path / "results.parquet").write_bytes(b"PAR1")
    done = command("bench", "--cases", "36", "--methods", "chance", "--n", "4", "-o", tmp_path)
    _, error = done.communicate(timeout=120)
    assert done.returncode == 2
    told = " ".join(error.split())
    assert "Delete results.parquet, scores.parquet and curves.parquet to continue" in told
    assert (tmp_path / "results.parquet").read_bytes() == b"PAR1"


# Run the command so that Ctrl-C stops it even if the tests' parent process ignores Ctrl-C.
STOPPABLE = """
import runpy, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.argv[0] = "interpbench"
runpy.run_module("interpbench_jax.cli", run_name="__main__")
"""


@pytest.mark.slow
@pytest.mark.parametrize("saves", [False, True])
def test_a_stopped_sweep_says_what_is_kept(saves: bool, tmp_path: Path) -> None:
    options = ("--save-to", str(tmp_path / "s")) if saves else ()
    arguments = ("sweep", "8", "--n", "400000", "--max-bytes", "20000000", *options)
    part = tmp_path / "s" / "parts"
    with subprocess.Popen(
        [sys.executable, "-c", STOPPABLE, *arguments], stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            started = time.monotonic()
            while time.monotonic() - started < 120 and process.poll() is None:
                time.sleep(0.1)
                if any(part.glob("*.parquet")) if saves else time.monotonic() - started > 12:
                    break
            process.send_signal(signal.SIGINT)
            _, error = process.communicate(timeout=120)
        finally:
            process.kill()
    assert process.returncode == 130, error
    assert "Traceback" not in error and "Stopped." in error
    assert ("calls are saved in" if saves else "Nothing was saved; a sweep with --save-to") in error


# Edges in upstream's lists that no model has


def test_edges_that_no_model_has_do_not_cost_the_weights(tmp_path: Path) -> None:
    import pickle

    from interpbench_conversion.to_torch import write_upstream

    case = ib.load_case("4")
    folder = write_upstream(case, tmp_path / "4", layout="current")
    (edges,) = folder.glob("*edges*.pkl")
    given = pickle.loads(edges.read_bytes())
    odd = ("blocks.1.attn.hook_q[0]", "blocks.1.hook_q_input[1]")
    edges.write_bytes(pickle.dumps([*given, odd]))
    with pytest.warns(UserWarning, match=r"left out 1 edge .* own circuit is used"):
        loaded = ib.load_case(folder)
    assert loaded.circuit == ib.CASES["4"].upstream_circuit
    assert loaded.provenance["impossible_edges"] == [" -> ".join(odd)]
    for name, array in case.weights.items():
        np.testing.assert_array_equal(loaded.weights[name], array)
    folder = folder.rename(tmp_path / "unknown")
    (folder / "meta.json").write_text("{}")  # which says whose files these are
    with pytest.warns(UserWarning, match="The others form the circuit"):
        loaded = ib.load_case(folder)
    assert loaded.circuit is not None and len(loaded.circuit) == len(given)

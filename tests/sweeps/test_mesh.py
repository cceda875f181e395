"""Sweeps on several simulated devices, and over two processes.

The number of devices is fixed when JAX starts, so this file is also the program that the tests run
in separate processes: see `main`.
"""

import dataclasses
import json
import os
import re
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from jax.sharding import Mesh, PartitionSpec

from interpbench_jax import (
    Objective,
    Pairs,
    SweepOptions,
    SweepResult,
    Transformer,
    build_model,
    sweep_edges,
    sweep_masks,
    sweep_mesh,
    sweep_neurons,
    sweep_nodes,
    universe,
)
from interpbench_jax.engine import programs
from interpbench_jax.masks import edge_mask
from tests.fixtures import random_weights, tiny_config

ROOT = Path(__file__).resolve().parents[2]
CONFIG = tiny_config(n_heads=2, d_model=4, d_head=2, d_vocab=6, d_vocab_out=3, n_ctx=3)
N_INPUTS = 13
COLLECTIVE = re.compile(
    r"\b(?:all-reduce|all-gather|all-to-all|collective-permute|collective-broadcast|reduce-scatter)"
)
MESHES = {"8x1": 8, "4x2": 4, "1x8": 1}


def make_model(**changes) -> Transformer:
    config = dataclasses.replace(CONFIG, **changes)
    return build_model(config, random_weights(config, seed=3))


def make_inputs() -> tuple[np.ndarray, np.ndarray]:
    drawn = np.random.default_rng(5).integers(0, CONFIG.d_vocab, (2, N_INPUTS, CONFIG.n_ctx))
    return drawn[0].astype(np.int32), drawn[1].astype(np.int32)


def edges(**options) -> SweepResult:
    """Sweep edges at single positions, with replacements for each input and shared ones."""
    asked = ("resample", "mean")
    return sweep_edges(
        make_model(),
        *make_inputs(),
        ablation=asked,
        positions=[1, 0],
        options=SweepOptions(**options),
    )


def nodes(**options) -> SweepResult:
    """Sweep nodes with pairs of targets, which are split among the devices as inputs are."""
    clean, corrupted = make_inputs()
    targets = np.stack([corrupted, corrupted + 1], axis=-1) % CONFIG.d_vocab_out
    pairs = Pairs(clean, corrupted, Objective("logit_diff", targets))
    return sweep_nodes(make_model(), pairs, universe="head", options=SweepOptions(**options))


def masks(return_logits: bool = True, **options) -> SweepResult:
    """Sweep masks and return logits."""
    some = universe("qkv", 2, 2).edges[::5]
    cut = 1 - np.stack([edge_mask([edge], 2, 2) for edge in some])
    how = SweepOptions(return_logits=return_logits, **options)
    return sweep_masks(make_model(), *make_inputs(), masks=cut, options=how)


def neurons(**options) -> SweepResult:
    """Sweep neurons with zero ablation and frozen layer norms."""
    model, how = make_model(normalization_type="LNPre"), SweepOptions(**options)
    return sweep_neurons(
        model, *make_inputs(), ablation="zero", freeze_layer_norm=True, options=how
    )


SWEEPS: Mapping[str, Callable[..., SweepResult]] = {
    sweep.__name__: sweep for sweep in (edges, nodes, masks, neurons)
}


# All of these on all meshes take long to compile; a slow test runs those that are left out.
SOME = {"8x1": ("edges", "masks"), "4x2": tuple(SWEEPS), "1x8": ("edges", "masks")}
OTHERS = {shape: ("nodes", "neurons") for shape in ("8x1", "1x8")}


# The work of the processes


def errors_on_meshes(asked: Mapping[str, tuple[str, ...]]) -> dict[str, float]:
    """The largest error of sweeps on meshes, relative to one device's largest effect."""
    found = {}
    ones = {name: SWEEPS[name]() for name in {name for names in asked.values() for name in names}}
    for shape, names in asked.items():
        for name in names:
            one, many = ones[name], SWEEPS[name](mesh=sweep_mesh(edits=MESHES[shape]))
            error = np.abs(many.effects - one.effects).max() / np.abs(one.effects).max()
            found[f"{name} {shape}"] = float(error)
            if one.logits is not None and many.logits is not None:
                error = np.abs(many.logits - one.logits).max() / np.abs(one.logits).max()
                found[f"{name} {shape} logits"] = float(error)
    return found


def programs_that_communicate() -> list[str]:
    texts = [program.run.as_text() or "" for program in programs._compiled.values()]
    return [match.group() for text in texts if (match := COLLECTIVE.search(text))]


def add_over_devices() -> str:
    """The text of a program that does communicate."""
    summed = jax.shard_map(
        lambda x: jax.lax.psum(x, "edits"),
        mesh=sweep_mesh(),
        in_specs=PartitionSpec("edits"),
        out_specs=PartitionSpec(),
    )
    return jax.jit(summed).lower(np.zeros(8, np.float32)).compile().as_text() or ""


def resume_on_more_devices() -> dict[str, object]:
    """Stop a sweep on four devices and resume it on eight."""

    def stop(done: int, total: int) -> None:
        if done == 5:
            raise KeyboardInterrupt

    four, eight = sweep_mesh(4), sweep_mesh(8)
    try:
        masks(return_logits=False, max_bytes=1, mesh=four)
        raise AssertionError("Expected one byte to be too little.")
    except ValueError as error:
        least = int(str(error).split()[5].rstrip(","))
    # With so little memory, calls have the same shape on both: one edit of one input.
    with tempfile.TemporaryDirectory() as folder:
        saved: dict[str, Any] = {"return_logits": False, "save_to": folder}
        try:
            masks(**saved, max_bytes=least, mesh=four, progress=stop)
        except KeyboardInterrupt:
            pass
        try:
            resumed = masks(**saved, max_bytes=2 * least, mesh=eight)
        except ValueError as error:
            return {"refused": str(error)}
    error = np.abs(resumed.effects - masks().effects).max() / masks().effects.max()
    return {"rows": resumed.plan.chunks.rows, "error": float(error)}


def run_on_meshes() -> dict[str, object]:
    """The results of a process with eight devices."""
    return {
        "shape": dict(sweep_mesh().shape),
        "four_by_two": dict(sweep_mesh(edits=4).shape),
        **run_others(SOME),
        "control": bool(COLLECTIVE.search(add_over_devices())),
        "resumed": resume_on_more_devices(),
        "effects": edges().effects.tolist(),
    }


def run_others(asked: Mapping[str, tuple[str, ...]] = OTHERS) -> dict[str, object]:
    """The results of another such process."""
    return {
        "errors": errors_on_meshes(asked),
        "programs": programs.n_compiled(),
        "communicating": programs_that_communicate(),
    }


def run_one_of_two(number: int, port: int) -> dict[str, object]:
    """The results of one of two processes that share sweeps."""
    jax.distributed.initialize(f"127.0.0.1:{port}", num_processes=2, process_id=number)
    from jax.experimental import multihost_utils

    gathers = []
    gather = multihost_utils.process_allgather

    def count(array):
        gathers.append(array.shape)
        return gather(array)

    multihost_utils.process_allgather = count
    effects, refused = {}, []
    for shares in (4, 2, 1):
        found = edges(mesh=sweep_mesh(edits=shares))
        effects[str(shares)] = found.effects.tolist()
    several: list[dict[str, Any]] = [{"save_to": tempfile.gettempdir()}, {"return_logits": True}]
    for options in several:
        try:
            sweep_edges(
                make_model(), *make_inputs(), options=SweepOptions(mesh=sweep_mesh(), **options)
            )
        except ValueError as error:
            refused.append(str(error))
    return {
        "devices": len(jax.devices()),
        "local": len(jax.local_devices()),
        "effects": effects,
        "gathers": len(gathers),
        "programs": programs.n_compiled(),
        "communicating": programs_that_communicate(),
        "refused": refused,
    }


def main(kind: str, *arguments: str) -> None:
    """Run the work that the arguments select and print its results as JSON."""
    if kind == "one-of-two":
        found = run_one_of_two(*map(int, arguments))
    else:
        found = run_others() if kind == "others" else run_on_meshes()
    print(json.dumps(found))


# The tests


def start(n_devices: int, *arguments: object) -> subprocess.Popen[str]:
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": f"--xla_force_host_platform_device_count={n_devices}",
    }
    return subprocess.Popen(
        [sys.executable, __file__, *map(str, arguments)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def results_of(*processes: subprocess.Popen[str]) -> list[dict]:
    """The results that each process printed; all processes have ended afterwards."""
    try:
        found = []
        for process in processes:
            out, err = process.communicate(timeout=280)
            assert process.returncode == 0, err[-3000:]
            found.append(json.loads(out.splitlines()[-1]))
        return found
    finally:
        for process in processes:
            process.kill()
            process.wait()


@pytest.fixture(scope="module")
def on_meshes() -> dict:
    """The results of a process with eight devices."""
    return results_of(start(8, "meshes"))[0]


@pytest.mark.slow
def test_every_mesh_gives_what_one_device_gives(on_meshes: dict) -> None:
    assert on_meshes["shape"] == {"edits": 8, "batch": 1}
    assert on_meshes["four_by_two"] == {"edits": 4, "batch": 2}
    errors = on_meshes["errors"]
    assert len(errors) == 11
    assert {name: error for name, error in errors.items() if not error <= 1e-6} == {}


@pytest.mark.slow
def test_every_other_mesh_gives_what_one_device_gives() -> None:
    (found,) = results_of(start(8, "others"))
    assert len(found["errors"]) == 4 and found["communicating"] == []
    assert {name: error for name, error in found["errors"].items() if not error <= 1e-6} == {}


@pytest.mark.slow
def test_no_program_communicates(on_meshes: dict) -> None:
    assert on_meshes["control"], "what a program that communicates looks like has changed"
    assert on_meshes["programs"] > 10
    assert on_meshes["communicating"] == []


@pytest.mark.slow
def test_a_sweep_stopped_on_other_devices_resumes_correctly_or_not_at_all(on_meshes: dict) -> None:
    resumed = on_meshes["resumed"]
    assert "refused" in resumed or resumed["error"] <= 1e-6, resumed


@pytest.mark.slow
def test_two_processes_find_the_same_and_communicate_once(on_meshes: dict) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    both = results_of(*(start(2, "one-of-two", number, port) for number in range(2)))
    one = np.asarray(on_meshes["effects"])
    for found in both:
        assert (found["devices"], found["local"]) == (4, 2)
        assert found["effects"] == both[0]["effects"]
        for shares, effects in found["effects"].items():
            error = np.abs(np.asarray(effects) - one).max()
            assert error <= 1e-6 * np.abs(one).max(), shares
        assert found["gathers"] == len(found["effects"]) == 3
        assert found["programs"] >= 6 and found["communicating"] == []
        save, logits = found["refused"]
        assert "Expected save_to within one process" in save
        assert "Expected return_logits without save_to and within one process" in logits


@pytest.mark.slow
def test_a_mesh_of_one_device(on_meshes: dict) -> None:
    mesh = sweep_mesh(1)
    assert dict(mesh.shape) == {"edits": 1, "batch": 1}
    assert "1 device (1 edits x 1 batch)" in edges(mesh=mesh).plan.devices


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"devices": 0}, r"Expected 1 to \d+ devices, got 0"),
        ({"devices": 4096}, r"Expected 1 to \d+ devices, got 4096"),
        ({"devices": 1, "edits": 0}, "divides 1 devices, got 0"),
        ({"devices": 1, "edits": 3}, "divides 1 devices, got 3"),
        ({"devices": 1, "edits": -1}, "divides 1 devices, got -1"),
    ],
)
def test_impossible_meshes_are_refused(options: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        sweep_mesh(**options)


@pytest.mark.parametrize("axes", [("batch", "edits"), ("x", "y"), ("edits",)])
def test_meshes_with_other_axes_are_refused(axes: tuple[str, ...]) -> None:
    shape = (1,) * len(axes)
    mesh = Mesh(np.asarray(jax.devices()[:1]).reshape(shape), axes)
    with pytest.raises(ValueError, match=r"Expected a mesh with the axes \('edits', 'batch'\), "):
        edges(mesh=mesh)


if __name__ == "__main__":
    main(*sys.argv[1:])

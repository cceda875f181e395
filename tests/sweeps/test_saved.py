"""Sweeps on disk: saved, stopped, resumed and distinguished."""

import functools
from pathlib import Path
from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
import pyarrow.parquet as pq
import pytest

from interpbench_jax import METRICS, SweepResult, Transformer, build_model, sweep_edges, sweep_nodes
from interpbench_jax.axes import Logits
from interpbench_jax.engine import programs
from interpbench_jax.metrics import PerInput
from interpbench_jax.objective import Objective
from interpbench_jax.sweeps import SweepOptions, execute, pipeline
from interpbench_jax.targets import Targets
from tests.fixtures import random_weights, tiny_config

CONFIG = tiny_config(n_heads=2, d_model=4, d_vocab=6, d_vocab_out=3, n_ctx=3, d_head=2)
RESULT = "effects.parquet"
Pair = tuple[np.ndarray, np.ndarray]


class Stop(Exception):
    """The exception that stops a sweep early."""


@pytest.fixture(scope="module")
def model() -> Transformer:
    return build_model(CONFIG, random_weights(CONFIG, seed=3))


@pytest.fixture(scope="module")
def inputs() -> Pair:
    drawn = np.random.default_rng(5).integers(0, CONFIG.d_vocab, (2, 64, CONFIG.n_ctx))
    return drawn[0].astype(np.int32), drawn[1].astype(np.int32)


@pytest.fixture(scope="module")
def budget(model: Transformer, inputs: Pair) -> int:
    """A memory budget so small that the inputs take many chunks."""
    with pytest.raises(ValueError, match=r"Expected max_bytes of at least \d+,") as error:
        sweep_edges(model, *inputs, options=SweepOptions(max_bytes=1))
    return 2 * int(str(error.value).split()[5].rstrip(","))


@pytest.fixture(scope="module")
def undisturbed(
    model: Transformer, inputs: Pair, budget: int, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The folder of a finished sweep."""
    folder = tmp_path_factory.mktemp("undisturbed") / "sweep"
    sweep_edges(model, *inputs, options=SweepOptions(max_bytes=budget, save_to=folder))
    return folder


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def never(done: int, total: int) -> None:
    raise AssertionError("Expected nothing to be computed.")


def stop_after(calls: int):
    def progress(done: int, total: int) -> None:
        if done == calls:
            raise Stop

    return progress


@pytest.mark.slow
def test_a_saved_sweep_is_the_same_and_says_so_on_disk(
    model: Transformer, inputs: Pair, budget: int, undisturbed: Path
) -> None:
    plain = sweep_edges(model, *inputs, options=SweepOptions(max_bytes=budget))
    table = pq.read_table(undisturbed / RESULT)
    assert table.column_names == ["name", "src", "dst", "effect"]
    assert table["name"].to_pylist() == [str(edge) for edge in plain.names]
    assert table["src"].to_pylist() == [str(edge.src) for edge in plain.names]
    np.testing.assert_array_equal(table["effect"].to_numpy(), plain.effects, strict=True)
    metadata = dict(table.schema.metadata)
    assert float(metadata.pop(b"noise_floor")) == plain.noise_floor > 0
    assert metadata == {b"metric": b"kl", b"universe": b"qkv", b"n_inputs": b"64"}
    assert files(undisturbed) == {".lock", "sweep.json", RESULT}


def test_a_finished_sweep_is_read_and_not_computed(
    model: Transformer,
    inputs: Pair,
    budget: int,
    undisturbed: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plain = sweep_edges(model, *inputs, options=SweepOptions(max_bytes=budget))
    before = (undisturbed / RESULT).read_bytes(), programs.n_compiled()
    monkeypatch.setattr(execute, "_collect", never)
    again = sweep_edges(
        model, *inputs, options=SweepOptions(max_bytes=budget, save_to=undisturbed, progress=never)
    )
    np.testing.assert_array_equal(again.effects, plain.effects, strict=True)
    assert (again.names, again.metric, again.plan) == (plain.names, "kl", plain.plan)
    assert ((undisturbed / RESULT).read_bytes(), programs.n_compiled()) == before


@pytest.mark.parametrize("calls", [[0], [3, 9], [5, 6, 20]])
def test_a_stopped_sweep_is_resumed_and_ends_with_the_same_bytes(
    model: Transformer,
    inputs: Pair,
    budget: int,
    undisturbed: Path,
    tmp_path: Path,
    calls: list[int],
) -> None:
    def sweep(progress) -> SweepResult:
        return sweep_edges(
            model,
            *inputs,
            options=SweepOptions(max_bytes=budget, save_to=str(tmp_path), progress=progress),
        )

    for stop in calls:
        with pytest.raises(Stop):
            sweep(stop_after(stop))
        assert (tmp_path / "parts").is_dir() and not (tmp_path / RESULT).exists()
    seen: list[tuple[int, int]] = []
    sweep(lambda done, total: seen.append((done, total)))
    # Finished work is neither computed nor reported again.
    assert seen[0][0] >= calls[-1] and seen[-1][0] == seen[-1][1] > 9
    assert (tmp_path / RESULT).read_bytes() == (undisturbed / RESULT).read_bytes()
    assert files(tmp_path) == files(undisturbed)


def test_positions_and_ablations_are_saved_too(
    model: Transformer, inputs: Pair, tmp_path: Path
) -> None:
    def sweep(**options) -> SweepResult:
        return sweep_nodes(
            model,
            *inputs,
            ablation=("zero", "resample"),
            positions=[2, 0],
            options=SweepOptions(**options),
        )

    plain, saved = sweep(), sweep(save_to=tmp_path)
    read = sweep(save_to=tmp_path, progress=never)
    for result in (saved, read):
        assert result.effects.shape == (2, len(plain.names), 2)
        np.testing.assert_array_equal(result.effects, plain.effects)
    table = pq.read_table(tmp_path / RESULT)
    assert table.column_names == ["ablation", "name", "position", "effect"]
    assert table["position"].to_pylist()[:4] == [2, 0, 2, 0]
    assert table["ablation"].to_pylist()[:: 2 * len(plain.names)] == ["zero", "resample"]


def margin(logits: Logits, clean_logits: Logits, targets: Targets) -> PerInput:
    """A custom metric."""
    return jnp.abs(logits - clean_logits).max(axis=(1, 2))


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"model": 4}, "model"),
        ({"clean": 1}, "inputs"),
        ({"corrupted": 1}, "inputs"),
        ({"metric": "l2"}, "metric"),
        ({"metric": margin}, "metric"),
        ({"objective": Objective(scored=np.ones(3, bool))}, "first_scored"),
        ({"ablation": "mean"}, "ablations"),
        ({"ablation": ("resample", "mean")}, "n_edits"),
        ({"universe": "qkv-merged"}, "edits"),
        ({"positions": [1]}, "blocks"),
        ({"objective": Objective(targets=np.zeros((64, 3), np.int32))}, "inputs"),
    ],
)
def test_another_sweep_is_refused_by_name(
    model: Transformer,
    inputs: Pair,
    budget: int,
    undisturbed: Path,
    monkeypatch: pytest.MonkeyPatch,
    change: dict[str, object],
    key: str,
) -> None:
    plan = sweep_edges(model, *inputs, options=SweepOptions(max_bytes=budget)).plan
    # Nothing is compiled to find that it is another sweep.
    monkeypatch.setattr(pipeline, "plan_job", lambda *_: (plan, SimpleNamespace(calls=[])))
    given: dict = {"model": model, "clean": inputs[0], "corrupted": inputs[1], **change}
    if "model" in change:
        given["model"] = build_model(CONFIG, random_weights(CONFIG, seed=4))
    for name in ("clean", "corrupted"):
        if name in change:
            given[name] = given[name] * 0 + inputs[0][::-1]
    with pytest.raises(ValueError, match=rf"it holds another\..*\b{key}: expected .*, found"):
        sweep_edges(**given, options=SweepOptions(save_to=undisturbed))


def test_a_metric_without_a_name_can_be_saved(
    model: Transformer, inputs: Pair, tmp_path: Path
) -> None:
    metric = functools.partial(METRICS["kl"])
    assert sweep_edges(model, *inputs, metric=metric).metric == "custom"
    saved = sweep_edges(model, *inputs, metric=metric, options=SweepOptions(save_to=tmp_path))
    np.testing.assert_allclose(saved.effects, sweep_edges(model, *inputs).effects, atol=1e-6)


def test_logits_are_not_saved(model: Transformer, inputs: Pair, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="Expected return_logits without save_to"):
        sweep_edges(
            model, *inputs, options=SweepOptions(save_to=tmp_path / "sweep", return_logits=True)
        )
    assert not any(tmp_path.iterdir())


def test_a_folder_with_other_files_is_left_alone(
    model: Transformer, inputs: Pair, budget: int, tmp_path: Path
) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match=r"holds notes\.txt: choose another"):
        sweep_edges(model, *inputs, options=SweepOptions(max_bytes=budget, save_to=tmp_path))
    assert files(tmp_path) == {"notes.txt"}

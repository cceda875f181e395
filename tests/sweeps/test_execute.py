"""How a planned sweep is carried out: queued calls, and constants that are learned first."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from interpbench_jax import SweepOptions, Transformer, build_model, sweep_edges, sweep_many
from interpbench_jax.ablations import ablation_constants
from interpbench_jax.sweeps import execute, pipeline, plan
from tests.fixtures import random_weights, tiny_config

CONFIG = tiny_config(n_ctx=3)
N_WRITERS = 10
CONSTANTS = "constants.safetensors"
Pair = tuple[np.ndarray, np.ndarray]
Event = tuple[str, int]


@pytest.fixture(scope="module")
def model() -> Transformer:
    return build_model(CONFIG, random_weights(CONFIG, seed=3))


@pytest.fixture(scope="module")
def inputs() -> Pair:
    drawn = np.random.default_rng(5).integers(0, CONFIG.d_vocab, (2, 64, CONFIG.n_ctx))
    return drawn[0].astype(np.int32), drawn[1].astype(np.int32)


def least_bytes(sweep: Callable[[int], object]) -> int:
    """The smallest memory budget of a sweep."""
    with pytest.raises(ValueError, match=r"at least \d+,") as error:
        sweep(1)
    return int(str(error.value).split()[5].rstrip(","))


@pytest.mark.slow
def test_one_worker_queues_its_calls(
    model: Transformer, inputs: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    def sweep(max_bytes: int | None = None):
        return sweep_edges(model, *inputs, options=SweepOptions(max_bytes=max_bytes))

    expected = sweep().effects
    monkeypatch.setattr(plan, "default_workers", lambda: 1)
    budget = 4 * least_bytes(sweep)
    events: list[Event] = []
    execution = execute._Execution
    start, finish = execution._start, execution._finish

    def started(self, task):
        events.append(("start", task.number))
        return start(self, task)

    def finished(self, task, patched):
        events.append(("finish", task.number))
        return finish(self, task, patched)

    monkeypatch.setattr(execution, "_start", started)
    monkeypatch.setattr(execution, "_finish", finished)
    found = sweep(budget)
    np.testing.assert_allclose(found.effects, expected, rtol=0, atol=1e-6)
    n_tasks, n_calls = len(events) // 2, found.plan.n_calls
    assert n_tasks > n_calls > 0, "several chunks of inputs"
    place = {event: number for number, event in enumerate(events)}
    for number in range(n_tasks):
        ahead = min(number + execute.QUEUED_CALLS, n_tasks - 1)
        assert place["start", ahead] < place["finish", number]
    assert [number for name, number in events if name == "finish"] == [*range(n_tasks)]


# Constants that are learned


def never(*_: object, **__: object) -> np.ndarray:
    raise AssertionError("Expected constants not to be learned again.")


class Stop(Exception):
    """Raised by a progress callback."""


@pytest.mark.slow
def test_constants_are_learned_once(
    model: Transformer, inputs: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[tuple[int, int]] = []

    def sweep(folder: Path | None = None, stop_at: int | None = None):
        def progress(done: int, total: int) -> None:
            calls.append((done, total))
            if done == stop_at:
                raise Stop

        options = SweepOptions(save_to=folder, progress=progress)
        return sweep_edges(model, *inputs, ablation=("optimal", "resample"), options=options)

    whole = sweep()
    assert [done for done, _ in calls] == sorted(done for done, _ in calls)
    assert {total for _, total in calls} == {calls[-1][0]} and calls[-1][0] > N_WRITERS
    learned = ablation_constants(model, *inputs)
    alone = sweep_edges(model, *inputs, ablation=learned)
    np.testing.assert_allclose(whole.of("optimal").effects, alone.effects, rtol=0, atol=1e-6)

    folder = tmp_path / "sweep"
    with pytest.raises(Stop):
        sweep(folder, stop_at=N_WRITERS + 1)
    assert (folder / CONSTANTS).is_file()
    monkeypatch.setattr(pipeline, "ablation_constants", never)
    calls.clear()
    resumed = sweep(folder)
    assert calls[-1][0] == calls[-1][1], "without the writers"
    np.testing.assert_array_equal(resumed.effects, whole.effects)
    calls.clear()
    again = sweep(folder)
    np.testing.assert_array_equal(again.effects, whole.effects)
    assert not calls, "a finished sweep is read"


@pytest.mark.slow
@pytest.mark.parametrize("data", [b"", b"{}", b"\x08\0\0\0\0\0\0\0{}      "])
def test_damaged_constants_are_refused(
    model: Transformer, inputs: Pair, tmp_path: Path, data: bytes
) -> None:
    def stop(done: int, total: int) -> None:
        if done == N_WRITERS + 1:
            raise Stop

    with pytest.raises(Stop):
        options = SweepOptions(save_to=tmp_path, progress=stop)
        sweep_edges(model, *inputs, ablation="optimal", options=options)
    (tmp_path / CONSTANTS).write_bytes(data)
    with pytest.raises(ValueError, match="delete it, and the constants are learned again"):
        sweep_edges(model, *inputs, ablation="optimal", options=SweepOptions(save_to=tmp_path))
    (tmp_path / CONSTANTS).unlink()
    found = sweep_edges(model, *inputs, ablation="optimal", options=SweepOptions(save_to=tmp_path))
    np.testing.assert_array_equal(
        found.effects, sweep_edges(model, *inputs, ablation="optimal").effects
    )


# Options


@pytest.mark.usefixtures("unchecked")
def test_options_of_another_type(model: Transformer, inputs: Pair) -> None:
    with pytest.raises(TypeError, match=r"Expected options as SweepOptions\(max_bytes=...,"):
        sweep_edges(model, *inputs, options={"max_bytes": 10})  # pyright: ignore


@pytest.mark.parametrize(
    ("options", "names"),
    [
        (SweepOptions(save_to="folder"), "without save_to for many models"),
        (SweepOptions(return_logits=True), "without return_logits for many"),
    ],
)
def test_options_of_one_model(
    model: Transformer, inputs: Pair, options: SweepOptions, names: str
) -> None:
    clean, corrupted = inputs
    with pytest.raises(ValueError, match=names):
        sweep_many([model], [clean], [corrupted], options=options)

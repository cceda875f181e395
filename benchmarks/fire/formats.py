"""Every file format that is read from outside: how to write and how to read good files."""

import hashlib
import json
import shutil
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import interpbench_jax as ib

CASE_ID = "36"
_TINY = 6  # pairs of inputs


@dataclass(frozen=True)
class Format:
    """One format.

    Attributes:
        make: writes good files into an empty folder.
        read: reads the folder.
        share: its share of the mutations, relative to the other formats.
        files: a pattern of the files to damage.
        repair: repairs what would reveal the damage at once.
    """

    make: Callable[[Path], object]
    read: Callable[[Path], object]
    share: float = 1.0
    files: str = "**/*"
    repair: Callable[[Path], object] = lambda folder: None


def _make_ours(folder: Path) -> None:
    ib.load_case(CASE_ID).save(folder)


def _repair_digest(folder: Path) -> None:
    """Update the digest, so that damaged weights are read at all."""
    path = folder / "config.json"
    described = json.loads(path.read_text())
    data = (folder / "model.safetensors").read_bytes()
    described["weights_sha256"] = hashlib.sha256(data).hexdigest()
    path.write_text(json.dumps(described))


def _make_upstream(layout: str) -> Callable[[Path], object]:
    def make(folder: Path) -> None:
        from interpbench_conversion.to_torch import write_upstream

        write_upstream(ib.load_case(CASE_ID), folder, layout=layout)  # pyright: ignore

    return make


def _load(folder: Path) -> object:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return ib.load_case(folder)


def _make_certificate(folder: Path) -> None:
    ib.certify(ib.load_case(CASE_ID), n=_TINY).save(folder)


def _make_table(folder: Path) -> None:
    from interpbench_dataset.loading import packaged_folder

    for path in sorted(packaged_folder().glob("*.parquet")):
        shutil.copy(path, folder)


def _read_tables(folder: Path) -> object:
    from interpbench_dataset.parquet import decode_table
    from interpbench_jax.storage import read_bytes

    return [decode_table(read_bytes(path, 2**26)) for path in sorted(folder.glob("*.parquet"))]


def _make_published(folder: Path) -> None:
    from interpbench_dataset.loading import packaged_folder

    shutil.copytree(packaged_folder(), folder, dirs_exist_ok=True)


def read_published(folder: Path) -> object:
    """Check the folder as `load_dataset` does before `datasets` reads it."""
    from interpbench_dataset.loading import card_errors_explained, check_digests, import_datasets

    datasets = import_datasets()
    with card_errors_explained(folder):
        module = datasets.load.dataset_module_factory(str(folder))
        return check_digests(module, folder)


def make_bench(folder: Path, n_inputs: int = _TINY) -> None:
    """Run a small benchmark and write its results."""
    from interpbench_jax.bench.plan import BenchSettings, choose_methods
    from interpbench_jax.bench.run import run_bench
    from interpbench_jax.bench.table import write_tables

    settings = BenchSettings(choose_methods(["chance", "eap"]), n_inputs=n_inputs)
    done = run_bench([ib.load_case(CASE_ID)], settings, folder)
    write_tables(folder, done.results, done.scores, done.curves)


def _read_bench(folder: Path) -> object:
    """Read the tables and the parts, as a resumed benchmark does."""
    from interpbench_jax.bench.parts import read_part
    from interpbench_jax.bench.plan import (
        BenchSettings,
        Subject,
        choose_methods,
        facts_of,
        plan_runs,
    )
    from interpbench_jax.bench.table import read_curves, read_results, read_scores

    settings = BenchSettings(choose_methods(["chance", "eap"]), n_inputs=_TINY)
    subject = Subject.of(ib.load_case(CASE_ID))
    pairs = subject.case.sample(_TINY, 0)
    facts = [facts_of(run, subject, pairs, settings) for run in plan_runs([subject], settings)]
    parts = [read_part(folder, each) for each in facts]
    return parts, read_results(folder), read_scores(folder), read_curves(folder)


def _make_submission(folder: Path) -> None:
    from interpbench_jax.bench.export import export_submission
    from interpbench_jax.bench.submission import CaseTruth

    make_bench(folder / "bench")
    truths = {CASE_ID: CaseTruth.of(ib.load_case(CASE_ID))}
    text = export_submission(folder / "bench", "eap", truths, authors=["Somebody"])
    (folder / "submission.json").write_text(text)
    shutil.rmtree(folder / "bench")


def _read_submission(folder: Path) -> object:
    from interpbench_jax.bench.submission import CaseTruth, read_submission

    truths = {CASE_ID: CaseTruth.of(ib.load_case(CASE_ID))}
    return read_submission(folder / "submission.json", truths)


_DESCRIPTION = {"model": "0" * 64, "inputs": {"n": 5}}
_TASKS = 6


def _open_sweep(folder: Path):
    from interpbench_jax.storage.store import SweepStore

    return SweepStore.open(folder, _DESCRIPTION, _TASKS, flush_seconds=0.0)


def _make_sweep(folder: Path) -> None:
    with _open_sweep(folder) as store:
        for task in range(4):
            store.add(task, np.linspace(0, task, 40))
        store.keep_constants(np.linspace(0, 1, 24).reshape(1, 2, 3, 4))


def _make_finished_sweep(folder: Path) -> None:
    case = ib.load_case(CASE_ID)
    ib.sweep_edges(case.model, case.sample(_TINY, 0), options=ib.SweepOptions(save_to=folder))


def _read_finished_sweep(folder: Path) -> object:
    from interpbench_jax.storage.store import count_done
    from interpbench_jax.storage.sums import read_table
    from interpbench_jax.sweeps.saved import read_saved

    return count_done(folder), read_saved(read_table(folder / "effects.parquet"))


def _read_sweep(folder: Path) -> object:
    with _open_sweep(folder) as store:
        return store.finished(), store.result(), store.constants()


_STATE: Mapping[str, np.ndarray] = {"weights": np.arange(12.0), "step": np.asarray(3)}


def _make_checkpoint(folder: Path) -> None:
    from interpbench_jax.training.checkpoints import Checkpoint, Checkpoints

    checkpoints = Checkpoints(folder / "checkpoints")
    checkpoints.save(Checkpoint(1, dict(_STATE)))
    checkpoints.close()


def _read_checkpoint(folder: Path) -> object:
    from interpbench_jax.training.checkpoints import Checkpoints

    checkpoints = Checkpoints(folder / "checkpoints")
    try:
        return checkpoints.restore(dict(_STATE))
    finally:
        checkpoints.close()


def _make_log(folder: Path) -> None:
    from interpbench_jax.training.result import EpochRecord

    records = [
        EpochRecord(CASE_ID, 0, epoch, {"strict": 0.5}, 0.25, 0.5, 0.5, 0.125, 0.75, 1.0, 2.0)
        for epoch in range(1, 4)
    ]
    (folder / "log.jsonl").write_text("".join(f"{each.to_json()}\n" for each in records))


def _read_log(folder: Path) -> object:
    from interpbench_jax.storage import read_text
    from interpbench_jax.training.result import EpochRecord

    lines = read_text(folder / "log.jsonl", 2**26).splitlines()
    return [EpochRecord.from_json(line) for line in lines]


FORMATS: Mapping[str, Format] = {
    "our case": Format(_make_ours, _load, 2),
    "our weights, with their digest": Format(_make_ours, _load, 2, "*.safetensors", _repair_digest),
    "upstream, current layout": Format(_make_upstream("current"), _load, 2),
    "upstream, release 1.0.0": Format(_make_upstream("v1"), _load, 2),
    "certificate": Format(_make_certificate, ib.read_certificate, 2),
    "tables of the dataset": Format(_make_table, _read_tables),
    "card of the dataset": Format(_make_published, read_published, 0.02, "README.md"),
    "results and parts of a benchmark": Format(make_bench, _read_bench),
    "submission": Format(_make_submission, _read_submission, 2),
    "parts and constants of a sweep": Format(_make_sweep, _read_sweep),
    "result of a sweep": Format(_make_finished_sweep, _read_finished_sweep),
    "log of a training": Format(_make_log, _read_log),
    "checkpoint": Format(_make_checkpoint, _read_checkpoint, 0.05),
}

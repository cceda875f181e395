"""Joining the shards of a benchmark: from their tables and records, without a model."""

import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from interpbench_jax.bench.outcome import BenchOutcome
from interpbench_jax.bench.shard_plan import BenchPlan
from interpbench_jax.bench.shard_record import RECORD_FILE, ShardRecord, read_record
from interpbench_jax.bench.shards import Shard
from interpbench_jax.bench.table import (
    CURVES_FILE,
    RESULTS_FILE,
    SCORES_FILE,
    read_curves,
    read_results,
    read_scores,
)
from interpbench_jax.bench.times import MethodTime
from interpbench_jax.report.rows import CurveRow, ResultRow, ScoreRow
from interpbench_jax.storage import digest_file
from interpbench_jax.texts import cut_off, plain, shown


@dataclass(frozen=True)
class JoinedShards:
    """The shards of a benchmark as one.

    Attributes:
        outcome: what one machine's run would have given, except for times. Rows are in the order
            of the tables, and every finished run counts as finished earlier.
        plan: the plan that the shards share.
        failed: the shards with runs that raised an error; running such a shard again tries them
            again.
    """

    outcome: BenchOutcome
    plan: BenchPlan
    failed: tuple[Shard, ...]


def join_shards(folder: Path | str) -> JoinedShards:
    """Join all shards in a benchmark's folder, which `run_shard` has run; nothing is written.

    Failed runs are joined as failures, as in a benchmark on one machine. Shards are told apart by
    the names of their folders, `shard-i-of-n`; other folders and files do not matter.

    Raises:
        FileNotFoundError: if there are no shards.
        ImportError: if pyarrow is not installed.
        OSError: if a file cannot be read.
        ValueError: if shards are missing, not finished, of several numbers or of several plans, or
            a file is damaged; the message says which shards, and how to run them.
    """
    folder = Path(folder)
    folders = _find_shards(folder)
    records = {
        shard: _read_record(where, shard)
        for shard, where in folders.items()
        if (where / RECORD_FILE).exists()
    }
    _check_plans(folder, records)
    _check_all_are_finished(folder, folders, records)
    first = records[min(records)]
    _check_shares(folder, records)
    results: list[ResultRow] = []
    scores: list[ScoreRow] = []
    curves: list[CurveRow] = []
    for shard, record in records.items():
        where = folders[shard]
        _check_tables(folder, where, record)
        if RESULTS_FILE in record.tables:
            results += read_results(where)
            scores += read_scores(where)
        if CURVES_FILE in record.tables:
            curves += read_curves(where)
    failures = [failure for record in records.values() for failure in record.failures]
    outcome = BenchOutcome(
        results=tuple(results),
        scores=tuple(scores),
        curves=tuple(curves),
        failures=tuple(sorted(failures, key=lambda failure: first.plan.places[failure.run])),
        times=_add_times(records),
        n_runs=len(first.plan.runs),
        n_kept=len(first.plan.runs) - len(failures),
    )
    failed = tuple(shard for shard, record in records.items() if record.failures)
    return JoinedShards(outcome.sorted_as_tables(), first.plan, failed)


def _find_shards(folder: Path) -> dict[Shard, Path]:
    """Return the folders of shards by shard, in order; all are of one number."""
    found: dict[Shard, Path] = {}
    for path in folder.glob("shard-*-of-*"):
        shard = Shard.of_folder(path.name)
        if shard is not None and path.is_dir():
            found[shard] = path
        elif path.is_dir():
            raise ValueError(
                f"Expected the folders of shards in {folder} to have names such as shard-0-of-3, "
                f"got {shown(path.name)}; rename it, or move it elsewhere."
            )
    if not found:
        raise FileNotFoundError(
            f"Expected shards of a benchmark in {folder}, folders such as shard-0-of-3, found "
            "none; `interpbench bench -o DIR --shard i/n` runs one."
        )
    numbers = sorted({shard.of for shard in found})
    if len(numbers) > 1:
        groups = (_names(each for each in sorted(found) if each.of == of) for of in numbers)
        raise ValueError(
            f"Expected shards of one number in {folder}, got {' besides '.join(groups)}; move "
            "those that do not belong to this benchmark elsewhere."
        )
    return dict(sorted(found.items()))


def _read_record(where: Path, shard: Shard) -> ShardRecord:
    try:
        record = read_record(where)
    except ValueError as error:
        raise ValueError(f"{error} Copy the shard's folder again, or run it again.") from None
    if record.shard != shard:
        raise ValueError(
            f"Expected the record of shard {shard} in {where}, got that of {record.shard}; name "
            f"the folder {record.shard.folder_name} again."
        )
    return record


def _check_plans(folder: Path, records: Mapping[Shard, ShardRecord]) -> None:
    """Refuse shards of different plans, and say how each differs from the first."""
    told = []
    for shard, record in records.items():
        first = min(records)
        differences = records[first].plan.differences(record.plan)
        if differences:
            told.append(f"{shard} differs from {first}: {cut_off(differences, 5)}")
    if told:
        raise ValueError(
            f"Expected shards of one benchmark in {folder}, but {cut_off(told, between='; ')}. Run "
            "them again with the same options, case files, code and versions as the others."
        )


def _check_all_are_finished(
    folder: Path, folders: Mapping[Shard, Path], records: Mapping[Shard, ShardRecord]
) -> None:
    """Refuse missing and unfinished shards, and say how to run one."""
    (of,) = {shard.of for shard in folders}
    every = [Shard(index, of) for index in range(of)]
    problems = {
        "missing": [shard for shard in every if shard not in folders],
        "not finished, or still running": [
            shard for shard in folders if shard not in records or records[shard].state != "finished"
        ],
    }
    lacking = [shard for shards in problems.values() for shard in shards]
    if not lacking:
        return
    told = "; ".join(
        f"{_names(shards)} {'is' if len(shards) == 1 else 'are'} {problem}"
        for problem, shards in problems.items()
        if shards
    )
    options = next((record.options for record in records.values()), None)
    others = ", and the others likewise" if len(lacking) > 1 else ""
    raise ValueError(
        f"Expected all {of} shards in {folder} to be finished, but {told}. Run shard {lacking[0]} "
        f"by {_command(folder, lacking[0], options)}{others}."
    )


def _check_shares(folder: Path, records: Mapping[Shard, ShardRecord]) -> None:
    """Refuse shards that do not have every run exactly once; only a changed record can do so."""
    n_runs = len(records[min(records)].plan.runs)
    places = sorted(place for record in records.values() for place in record.share)
    if places != list(range(n_runs)):
        raise ValueError(
            f"Expected each of the {n_runs} runs in one of the shards in {folder}, got other "
            "shares; a record was changed. Run the shards again."
        )


def _check_tables(folder: Path, where: Path, record: ShardRecord) -> None:
    """Refuse tables that are not those that the shard wrote when it finished."""
    for name in (RESULTS_FILE, SCORES_FILE, CURVES_FILE):
        path = where / name
        if name in record.tables and (
            not path.exists() or digest_file(path) != record.tables[name]
        ):
            raise ValueError(
                f"Expected {path} as shard {record.shard} wrote it, "
                f"{'got another file' if path.exists() else 'found no such file'}; copy the "
                "shard's folder again, or run the shard again by "
                f"{_command(folder, record.shard, record.options)}."
            )


def _command(folder: Path, shard: Shard, options: tuple[str, ...] | None) -> str:
    """Return how to run a shard, as another shard of the benchmark was run."""
    if options is None:
        return f"run_shard(cases, settings, {str(folder)!r}, Shard({shard.index}, {shard.of}))"
    words = ("interpbench", "bench", "-o", str(folder), *options, "--shard", str(shard))
    return f"`{plain(shlex.join(words))}`"


def _add_times(records: Mapping[Shard, ShardRecord]) -> tuple[MethodTime, ...]:
    """Add the times of all shards by method."""
    times: dict[str, MethodTime] = {}
    for time in (time for record in records.values() for time in record.times):
        before = times.get(time.method, MethodTime(time.method, 0, 0.0, 0.0, 0.0))
        times[time.method] = before.plus(time)
    return tuple(times.values())


def _names(shards: Iterator[Shard] | list[Shard]) -> str:
    return cut_off([str(shard) for shard in shards], 10)

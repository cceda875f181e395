"""The record of a shard: a JSON file beside its tables that says what was run, and how it went."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal, get_args

from interpbench_jax.ablations import ABLATION_NAMES
from interpbench_jax.bench.outcome import Failure
from interpbench_jax.bench.plan import Run
from interpbench_jax.bench.shard_plan import BenchPlan, CaseDigests
from interpbench_jax.bench.shards import Shard
from interpbench_jax.bench.times import MethodTime
from interpbench_jax.cases import TRUTHS
from interpbench_jax.jsonfields import (
    mapping_of,
    optional,
    read_choice,
    read_count,
    read_digest,
    read_fields,
    read_number,
    read_text,
    tuple_of,
)
from interpbench_jax.jsontext import check_format, parse_json_object
from interpbench_jax.storage import read_text as read_file
from interpbench_jax.storage import write_file
from interpbench_jax.texts import shown

RECORD_FILE = "shard.json"
State = Literal["unfinished", "finished"]
_FORMAT = "interpbench-bench-shard"
_MOST_BYTES = 2**28


@dataclass(frozen=True)
class ShardRecord:
    """What a shard runs, and how it went.

    Attributes:
        shard: the shard.
        plan: the benchmark's plan.
        share: the places of the shard's runs in the plan.
        options: the options of the command that runs the shard, without its folder and its number;
            None if it was run by a call of the library.
        state: `"finished"` if every run was tried and the tables were written.
        failures: the runs that raised an error.
        times: the times by method, in the order of the settings.
        tables: the digest of each table that was written, by file name.
    """

    shard: Shard
    plan: BenchPlan
    share: tuple[int, ...]
    options: tuple[str, ...] | None = None
    state: State = "unfinished"
    failures: tuple[Failure, ...] = ()
    times: tuple[MethodTime, ...] = ()
    tables: Mapping[str, str] = field(default_factory=dict)


def write_record(folder: Path, record: ShardRecord) -> Path:
    """Write a shard's record into its folder atomically, and return its path.

    Raises:
        OSError: if it cannot be written.
    """
    plan = record.plan
    content = {
        "format": _FORMAT,
        "version": 1,
        "index": record.shard.index,
        "of": record.shard.of,
        "state": record.state,
        "options": record.options,
        "plan": {
            "package_version": plan.package_version,
            "jax_version": plan.jax_version,
            "truth": plan.truth,
            "n_inputs": plan.n_inputs,
            "methods": dict(plan.methods),
            "cases": {name: asdict(digests) for name, digests in plan.cases.items()},
            "runs": [list(asdict(run).values()) for run in plan.runs],
        },
        "share": record.share,
        "failures": [
            {"place": plan.places[failure.run], "message": failure.message}
            for failure in record.failures
        ],
        "times": [asdict(time) for time in record.times],
        "tables": dict(record.tables),
    }
    path = folder / RECORD_FILE
    write_file(path, f"{json.dumps(content, allow_nan=False)}\n")
    return path


def read_record(folder: Path) -> ShardRecord:
    """Read the record in a shard's folder.

    Raises:
        OSError: if it cannot be read.
        ValueError: if it is damaged or something else; the message names the file.
    """
    path = folder / RECORD_FILE
    try:
        content = parse_json_object(read_file(path, _MOST_BYTES), "the record of a shard")
        check_format(content, _FORMAT)
        return _read(content)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def _read(content: Mapping[str, object]) -> ShardRecord:
    values = read_fields(
        dict(content),
        "the record",
        (
            *("format", "version", "index", "of", "state", "options", "plan", "share"),
            *("failures", "times", "tables"),
        ),
    )
    plan = _read_plan(values["plan"])

    def read_place(value: object, name: str) -> int:
        place = read_count(value, name)
        if place >= len(plan.runs):
            raise ValueError(f"Expected {name} below {len(plan.runs)}, got {place}.")
        return place

    def read_failure(value: object, name: str) -> Failure:
        found = read_fields(value, name, ("place", "message"))
        place = read_place(found["place"], f"{name}.place")
        return Failure(plan.runs[place], read_text(found["message"], f"{name}.message"))

    return ShardRecord(
        shard=Shard(read_count(values["index"], "index"), read_count(values["of"], "of")),
        plan=plan,
        share=tuple_of(read_place)(values["share"], "share"),
        options=optional(tuple_of(read_text))(values["options"], "options"),
        state=read_choice(values["state"], "state", get_args(State)),
        failures=tuple_of(read_failure)(values["failures"], "failures"),
        times=tuple_of(_read_time)(values["times"], "times"),
        tables=mapping_of(read_digest)(values["tables"], "tables"),
    )


def _read_plan(value: object) -> BenchPlan:
    plan = read_fields(
        value,
        "plan",
        ("package_version", "jax_version", "truth", "n_inputs", "methods", "cases", "runs"),
    )
    return BenchPlan(
        package_version=read_text(plan["package_version"], "package_version"),
        jax_version=read_text(plan["jax_version"], "jax_version"),
        truth=read_choice(plan["truth"], "truth", TRUTHS),
        n_inputs=optional(read_count)(plan["n_inputs"], "n_inputs"),
        methods=mapping_of(tuple_of(read_text))(plan["methods"], "methods"),
        cases=mapping_of(_read_digests)(plan["cases"], "cases"),
        runs=tuple_of(_read_run)(plan["runs"], "runs"),
    )


def _read_digests(value: object, name: str) -> CaseDigests:
    found = read_fields(value, name, ("model", "circuit", "precision"))
    return CaseDigests(
        read_digest(found["model"], f"{name}.model"),
        read_digest(found["circuit"], f"{name}.circuit"),
        read_text(found["precision"], f"{name}.precision"),
    )


def _read_run(value: object, name: str) -> Run:
    if not isinstance(value, list) or len(value) != 5:
        raise ValueError(f"Expected {name} to be a list of 5 values, got {shown(value)}.")
    case, method, ablation, seed, order = value
    return Run(
        read_text(case, name),
        read_text(method, name),
        read_choice(ablation, name, ABLATION_NAMES),
        read_count(seed, name),
        read_count(order, name),
    )


def _read_time(value: object, name: str) -> MethodTime:
    seconds = ("seconds", "compile_seconds", "scoring_seconds")
    found = read_fields(value, name, ("method", "runs", *seconds))
    return MethodTime(
        read_text(found["method"], name),
        read_count(found["runs"], name),
        *(read_number(found[each], f"{name}.{each}") for each in seconds),
    )

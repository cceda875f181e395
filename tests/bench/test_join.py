"""Running a benchmark as shards, and joining them: as on one machine, or refused."""

import dataclasses
import json
import re
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from interpbench_jax.bench.join import join_shards
from interpbench_jax.bench.leaderboard import read_board
from interpbench_jax.bench.outcome import BenchOutcome
from interpbench_jax.bench.parts import PARTS_FOLDER
from interpbench_jax.bench.plan import BenchSettings, Run
from interpbench_jax.bench.run import Status, run_bench, run_shard
from interpbench_jax.bench.shard_plan import BenchPlan
from interpbench_jax.bench.shard_record import (
    RECORD_FILE,
    ShardRecord,
    read_record,
    write_record,
)
from interpbench_jax.bench.shards import Shard
from interpbench_jax.bench.table import CURVES_FILE, RESULTS_FILE, SCORES_FILE, write_tables
from interpbench_jax.case import Case
from interpbench_jax.discovery import Method
from interpbench_jax.storage import InUse, lock_folder
from tests.bench.fake_results import truths
from tests.bench.test_run import Nothing, broken, drawn
from tests.tiny_models import make_model

N = 3
OPTIONS = ("--cases", "35,36,37", "--methods", "edges,ordered")


@pytest.fixture(scope="module")
def cases() -> list[Case]:
    return [make_model("35"), make_model("36"), make_model("37", seed=1)]  # of two shapes


@pytest.fixture(scope="module")
def settings() -> BenchSettings:
    ordered = dataclasses.replace(drawn("edge"), shuffled=Nothing(3.0))
    return BenchSettings({"edges": drawn("edge"), "ordered": ordered}, n_inputs=8, orders=2)


@pytest.fixture(scope="module")
def whole(
    cases: list[Case], settings: BenchSettings, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, BenchOutcome]:
    folder = tmp_path_factory.mktemp("whole")
    outcome = run_bench(cases, settings, folder)
    write_tables(folder, *rows_without_seconds(outcome))
    return folder, outcome


@pytest.fixture(scope="module")
def finished(
    cases: list[Case], settings: BenchSettings, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    folder = tmp_path_factory.mktemp("shards")
    for index in (2, 0, 1):  # in any order
        run_shard(cases, settings, folder, Shard(index, N), options=OPTIONS)
    return folder


@pytest.fixture
def folder(finished: Path, tmp_path: Path) -> Path:
    """A copy of the finished shards."""
    return Path(shutil.copytree(finished, tmp_path / "shards"))


def rows_without_seconds(outcome: BenchOutcome) -> tuple[list, Sequence, Sequence]:
    rows = [dataclasses.replace(row, seconds=None) for row in outcome.results]
    return rows, outcome.scores, outcome.curves


@pytest.mark.slow
def test_joined_shards_are_what_one_machine_gives(
    whole: tuple[Path, BenchOutcome], finished: Path, tmp_path: Path
) -> None:
    alone, one = whole
    joined = join_shards(finished)
    write_tables(tmp_path, *rows_without_seconds(joined.outcome))
    for name in (RESULTS_FILE, SCORES_FILE, CURVES_FILE):
        assert (tmp_path / name).read_bytes() == (alone / name).read_bytes()
    assert joined.outcome.n_runs == joined.outcome.n_kept == one.n_runs == 3 * (1 + 2)
    assert not joined.failed and not joined.outcome.failures
    assert [(each.method, each.runs) for each in joined.outcome.times] == [
        (each.method, each.runs) for each in one.times
    ]
    assert all(each.total > 0 for each in joined.outcome.times)
    assert join_shards(finished) == joined


def test_a_shard_has_its_own_folder(finished: Path) -> None:
    assert sorted(path.name for path in finished.iterdir()) == [
        f"shard-{index}-of-{N}" for index in range(N)
    ]
    for path in finished.iterdir():
        assert {each.name for each in path.iterdir()} == {
            *(PARTS_FOLDER, RECORD_FILE, RESULTS_FILE, SCORES_FILE, CURVES_FILE)
        }
        record = read_record(path)
        assert (record.state, record.options) == ("finished", OPTIONS)
        assert len(record.share) == len(list((path / PARTS_FOLDER).iterdir())) == 3
        assert read_record(write_record(path, record).parent) == record


def test_an_interrupted_shard_resumes(
    cases: list[Case], settings: BenchSettings, folder: Path, finished: Path
) -> None:
    shard = Shard(1, N)
    own = folder / shard.folder_name
    before = {path.name: path.read_bytes() for path in own.iterdir() if path.is_file()}
    shutil.rmtree(own / PARTS_FOLDER)

    def stop(status: Status) -> None:
        if status.done == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_shard(cases, settings, folder, shard, stop)
    with pytest.raises(ValueError, match=r"1/3 is not finished, or still running"):
        join_shards(folder)
    outcome = run_shard(cases, settings, folder, shard)
    assert (outcome.n_runs, outcome.n_kept) == (3, 1)
    assert (own / SCORES_FILE).read_bytes() == before[SCORES_FILE]
    rows = [rows_without_seconds(join_shards(each).outcome) for each in (folder, finished)]
    assert rows[0] == rows[1]


def test_one_process_at_a_time_runs_a_shard(
    cases: list[Case], settings: BenchSettings, folder: Path
) -> None:
    own = folder / Shard(1, N).folder_name
    with lock_folder(own, "something else", removes=True):
        with pytest.raises(InUse, match=r"shard 1/3 of this benchmark"):
            run_shard(cases, settings, folder, Shard(1, N))
        # The other process's record is left alone, and other shards have locks of their own.
        assert read_record(own).state == "finished"
        run_shard(cases, settings, folder, Shard(0, N))


@pytest.mark.slow
def test_failed_runs_are_joined_as_failures(cases: list[Case], tmp_path: Path) -> None:
    settings = BenchSettings(
        {"broken": Method(broken, Nothing()), "edges": drawn("edge")}, n_inputs=4
    )
    one = run_bench(cases[:2], settings, tmp_path / "one")
    for index in range(3):
        run_shard(cases[:2], settings, tmp_path, Shard(index, 3))
    joined = join_shards(tmp_path)
    assert joined.outcome.failures == one.failures
    assert [failure.run for failure in one.failures] == [
        Run(case, "broken", "resample", 0) for case in ("35", "36")
    ]
    rows = rows_without_seconds(one)[0]
    assert rows_without_seconds(joined.outcome)[0] == sorted(rows, key=lambda row: row.key)
    assert (joined.outcome.n_runs, joined.outcome.n_kept) == (4, 2)
    assert joined.failed and set(joined.failed) < {Shard(index, 3) for index in range(3)}


def test_an_empty_shard_and_one_of_failures_have_no_tables(
    cases: list[Case], tmp_path: Path
) -> None:
    settings = BenchSettings({"broken": Method(broken, Nothing())}, n_inputs=4)
    outcomes = [run_shard(cases[:1], settings, tmp_path, Shard(index, 2)) for index in (0, 1)]
    assert sorted(outcome.n_runs for outcome in outcomes) == [0, 1]
    for path in tmp_path.iterdir():
        assert [each.name for each in path.iterdir()] == [RECORD_FILE]
    joined = join_shards(tmp_path)
    assert len(joined.outcome.failures) == joined.outcome.n_runs == 1
    assert not joined.outcome.results


def test_a_shard_of_another_command_replaces_the_tables(
    cases: list[Case], settings: BenchSettings, folder: Path
) -> None:
    failing = BenchSettings({"broken": Method(broken, Nothing())}, n_inputs=4)
    own = folder / Shard(0, N).folder_name
    run_shard(cases, failing, folder, Shard(0, N))
    assert {path.name for path in own.iterdir()} == {PARTS_FOLDER, RECORD_FILE}
    with pytest.raises(ValueError, match=r"Expected shards of one benchmark"):
        join_shards(folder)
    assert run_shard(cases, settings, folder, Shard(0, N)).n_kept == 3
    join_shards(folder)


def test_a_leaderboard_does_not_count_shards(finished: Path, folder: Path) -> None:
    outcome = join_shards(folder).outcome
    write_tables(folder, outcome.results, outcome.scores, outcome.curves)
    assert [source.name for source in read_board(folder, truths()).sources] == [RESULTS_FILE]
    with pytest.raises(FileNotFoundError, match="found neither"):
        read_board(finished, truths())


# What is refused


def test_no_shards(tmp_path: Path) -> None:
    (tmp_path / "shard-0-of-3.tar").write_text("a file")
    for folder in (tmp_path, tmp_path / "none"):
        with pytest.raises(FileNotFoundError, match=r"folders such as shard-0-of-3, found none"):
            join_shards(folder)
    assert not (tmp_path / "none").exists()


def test_missing_shards(folder: Path) -> None:
    command = re.escape(
        f"`interpbench bench -o {folder} --cases 35,36,37 --methods edges,ordered --shard 1/3`"
    )
    shutil.rmtree(folder / "shard-1-of-3")
    with pytest.raises(ValueError, match=rf"but 1/3 is missing. Run shard 1/3 by {command}\."):
        join_shards(folder)
    shutil.rmtree(folder / "shard-2-of-3")
    others = "and the others likewise"
    with pytest.raises(ValueError, match=rf"1/3, 2/3 are missing. .* {command}, {others}\."):
        join_shards(folder)


def test_unfinished_shards(folder: Path) -> None:
    change(folder, 1, state="unfinished", options=None)
    with pytest.raises(ValueError, match=r"finished, but 1/3 is not finished, or still running"):
        join_shards(folder)
    (folder / "shard-0-of-3" / RECORD_FILE).unlink()
    (folder / "shard-2-of-3" / RECORD_FILE).unlink()
    call = re.escape(f"run_shard(cases, settings, {str(folder)!r}, Shard(0, 3))")
    with pytest.raises(ValueError, match=rf"0/3, 1/3, 2/3 are not finished.*Run .* by {call}, and"):
        join_shards(folder)
    (folder / "shard-1-of-3" / RECORD_FILE).unlink()
    with pytest.raises(ValueError, match=r"0/3, 1/3, 2/3 are not finished"):
        join_shards(folder)


def test_shards_of_several_numbers(folder: Path) -> None:
    shutil.copytree(folder / "shard-0-of-3", folder / "shard-0-of-4")
    with pytest.raises(ValueError, match=r"one number in .*, got 0/3, 1/3, 2/3 besides 0/4; move"):
        join_shards(folder)


@pytest.mark.parametrize("name", ["shard-3-of-3", "shard-00-of-3", "shard-0-of-3 (copy)"])
def test_folders_with_names_of_no_shard(folder: Path, name: str) -> None:
    shutil.copytree(folder / "shard-0-of-3", folder / name)
    with pytest.raises(ValueError, match=rf"such as shard-0-of-3, got '{re.escape(name)}'; rename"):
        join_shards(folder)


def test_a_renamed_shard(folder: Path) -> None:
    shutil.rmtree(folder / "shard-1-of-3")
    (folder / "shard-0-of-3").rename(folder / "shard-1-of-3")
    with pytest.raises(ValueError, match=r"record of shard 1/3 .* got that of 0/3; name .* again"):
        join_shards(folder)


def change(folder: Path, index: int, **changes: object) -> None:
    """Change a shard's record."""
    own = folder / Shard(index, N).folder_name
    write_record(own, dataclasses.replace(read_record(own), **changes))  # pyright: ignore


Changes = Callable[[BenchPlan], dict[str, object]]
PLANS: list[tuple[Changes, str]] = [
    (lambda plan: {"jax_version": "0.1"}, r"JAX 0\.1 instead of \d\S+"),
    (lambda plan: {"package_version": "9.0"}, r"interpbench-jax 9\.0 instead of \d\S+"),
    (lambda plan: {"truth": "upstream"}, "truth upstream instead of complete"),
    (
        lambda plan: {"n_inputs": 9, "truth": "upstream"},
        "truth upstream instead of complete, number of inputs 9 instead of 8",
    ),
    (lambda plan: {"methods": {**plan.methods, "eap": ()}}, "method eap as well"),
    (lambda plan: {"methods": {"edges": plan.methods["edges"]}}, "no method ordered"),
    (
        lambda plan: {"methods": {**plan.methods, "edges": ("{}",)}},
        "other settings or code of method edges",
    ),
    (
        lambda plan: {"cases": {**plan.cases, "36": plan.cases["35"]}},
        "another model or circuit of case 36",
    ),
    (
        lambda plan: {"runs": (*plan.runs, Run("35", "edges", "resample", 1))},
        r"1 run more, such as case 35, edges \(resample, seed 1\)",
    ),
    (
        lambda plan: {
            "runs": tuple(dataclasses.replace(run, ablation="mean") for run in plan.runs)
        },
        r"9 runs more, such as .*\(mean, seed 0\), 9 runs fewer, such as .*\(resample, seed 0\)",
    ),
    (lambda plan: {"runs": plan.runs[::-1]}, "the same runs in another order"),
]


@pytest.mark.parametrize(("changes", "message"), PLANS, ids=[message for _, message in PLANS])
def test_shards_of_several_plans(folder: Path, changes: Changes, message: str) -> None:
    plan = read_record(folder / "shard-0-of-3").plan
    change(folder, 2, plan=dataclasses.replace(plan, **changes(plan)))  # pyright: ignore
    with pytest.raises(ValueError, match=rf"but 2/3 differs from 0/3: {message}\. Run them again"):
        join_shards(folder)


@pytest.mark.parametrize("name", [RESULTS_FILE, SCORES_FILE, CURVES_FILE])
def test_tables_that_are_not_the_shards_own(folder: Path, name: str) -> None:
    path = folder / "shard-1-of-3" / name
    path.write_bytes((folder / "shard-0-of-3" / name).read_bytes())
    with pytest.raises(ValueError, match=r"as shard 1/3 wrote it, got another file; copy .* again"):
        join_shards(folder)
    path.unlink()
    with pytest.raises(ValueError, match=r"found no such file; .* `interpbench bench -o .*1/3`"):
        join_shards(folder)


def test_shares_that_do_not_add_up(folder: Path) -> None:
    change(folder, 1, share=read_record(folder / "shard-0-of-3").share)
    with pytest.raises(ValueError, match=r"each of the 9 runs in one of the shards"):
        join_shards(folder)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("format", "another", 'Expected a JSON object with "format"'),
        ("version", 2, "comes from a newer release"),
        ("index", 3, "Expected a shard i/n"),
        ("state", "done", "Expected state to be one of unfinished, finished; got 'done'"),
        ("share", [9], r"Expected share\[0\] below 9, got 9"),
        ("share", "all", "Expected share to be a list"),
        ("failures", [{"place": 0}], "missing: .*message"),
        ("times", [{}], r"Expected times\[0\] to have the keys"),
        ("tables", {"results.parquet": "0"}, "to be 64 hexadecimal digits"),
        ("plan", {}, "Expected plan to have the keys"),
        ("options", "--n 3", "Expected options to be a list"),
        ("more", 1, "left over: .*more"),
    ],
)
def test_damaged_records(folder: Path, name: str, value: object, message: str) -> None:
    path = folder / "shard-1-of-3" / RECORD_FILE
    content = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**content, name: value}), encoding="utf-8")
    with pytest.raises(ValueError, match=rf"shard\.json: .*{message}.* run it again"):
        join_shards(folder)


@pytest.mark.parametrize("text", ["", "{", "[]", "[" * 100_000, '{"format": '])
def test_records_that_are_not_json(folder: Path, text: str) -> None:
    (folder / "shard-1-of-3" / RECORD_FILE).write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=r"Expected the record of a shard as "):
        join_shards(folder)


def test_runs_of_a_record_are_checked(folder: Path) -> None:
    path = folder / "shard-1-of-3" / RECORD_FILE
    content = json.loads(path.read_text(encoding="utf-8"))
    for run, message in (
        (["35", "edges", "resample", 0], r"Expected runs\[0\] to be a list of 5 values"),
        (["35", "edges", "nothing", 0, 0], r"Expected runs\[0\] to be one of resample"),
        (["35", "edges", "resample", -1, 0], r"Expected runs\[0\] to be an integer of at least 0"),
    ):
        content["plan"]["runs"][0] = run
        path.write_text(json.dumps(content), encoding="utf-8")
        with pytest.raises(ValueError, match=message):
            join_shards(folder)


def test_a_command_is_quoted(folder: Path) -> None:
    shutil.rmtree(folder / "shard-1-of-3")
    change(folder, 0, options=("--cases", "a b;rm x"))
    with pytest.raises(ValueError, match=r"--cases 'a b;rm x' --shard 1/3"):
        join_shards(folder)


def test_a_record_is_a_value(finished: Path) -> None:
    records = [read_record(finished / Shard(index, N).folder_name) for index in range(N)]
    assert len({record.plan.runs for record in records}) == 1
    assert all(isinstance(record, ShardRecord) for record in records)
    assert records[0].plan.ablations == ("resample",)

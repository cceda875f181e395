"""`interpbench compare`, `validate`, `leaderboard` and `submit` from a user's point of view."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from interpbench_jax import load_case
from interpbench_jax.bench.table import write_tables
from interpbench_jax.cases import RASP_CASES
from interpbench_jax.weights import digest_weights
from tests.bench.fake_results import Fake, fake_bench
from tests.commands import run


@pytest.fixture(scope="module")
def fake() -> Fake:
    """Return a benchmark of every RASP case, with the digests of the packaged models."""
    made = fake_bench(methods=("exact", "noisy"), cases=tuple(RASP_CASES), truth="complete")
    digests = {case: digest_weights(load_case(case).weights) for case in RASP_CASES}
    results = [replace(row, model_digest=digests[row.case]) for row in made.results]
    return Fake(results, made.scores)


@pytest.fixture(scope="module")
def bench(fake: Fake, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bench")
    write_tables(folder, fake.results, fake.scores)
    return folder


@pytest.mark.slow
def test_compare(fake: Fake, bench: Path, tmp_path: Path) -> None:
    same = run("compare", bench, bench)
    assert same.returncode == 0, same.stderr
    assert "Both benchmarks have the same runs with the same areas." in same.stdout
    worse = [
        replace(row, roc_auc=row.roc_auc / 2, package_version="0.2.0")
        for row in fake.results
        if row.method == "noisy" and row.roc_auc is not None
    ]
    write_tables(tmp_path, worse, [])
    done = run("compare", bench, tmp_path)
    assert done.returncode == 0, done.stderr
    assert "noisy (resample)" in done.stdout and "same areas" not in done.stdout
    assert f"Only in {bench}: 16 runs: 3/exact/resample, " in " ".join(done.stdout.split())
    assert "Mismatch: package_version differs in 16 of 16 runs" in done.stdout
    data = json.loads(run("compare", bench, tmp_path, "--universe", "qkv", "--json").stdout)
    assert data["universe"] == "qkv" and len(data["changes"]) == len(RASP_CASES) == 16
    (noisy,) = data["methods"]
    # All sixteen differences are below zero, so the exact p is 2 / 2^16.
    assert noisy["difference"] < 0 and noisy["p"] == pytest.approx(2 / 2**16)


@pytest.mark.slow
def test_from_a_benchmark_to_the_leaderboard(bench: Path, tmp_path: Path) -> None:
    folder = tmp_path / "submissions"
    folder.mkdir()
    for method in ("exact", "noisy"):
        file = folder / f"{method}.json"
        done = run("submit", bench, "--method", method, "--author", "A. Person", "-o", file)
        assert done.returncode == 0, done.stderr
        checked = run("validate", file)
        assert checked.returncode == 0, checked.stdout
        assert f"valid: {method}, 16 sets of scores." in checked.stdout
    done = run("leaderboard", folder, "-o", tmp_path / "results.md")
    assert done.returncode == 0, done.stderr
    lines = [line.split()[0] for line in done.stdout.splitlines() if line.strip()]
    assert lines.index("exact") < lines.index("noisy")
    assert "one attention step" in done.stdout
    text = (tmp_path / "results.md").read_text()
    assert "| exact | 16 | 1.000 \\[1.000, 1.000\\] |" in text
    data = json.loads(run("leaderboard", folder, "--json").stdout)
    assert [entry["method"] for entry in data["edges"]] == ["exact", "noisy"]
    assert data["edges"][0]["head"]["mean"] == 1.0
    assert {file["is_valid"] for file in data["files"]} == {True}


@pytest.mark.slow
def test_an_invalid_submission(bench: Path, tmp_path: Path) -> None:
    file = tmp_path / "mine.json"
    run("submit", bench, "--method", "noisy", "--author", "A", "-o", file)
    data = json.loads(file.read_text())
    data["cases"][3]["scores"][17][0] = "hook_nothing -> \x1b[31m"
    data["cases"][5]["scores"][2][1] = float("nan")
    del data["cases"][9]["scores"][136]
    file.write_text(json.dumps(data))
    done = run("validate", file)
    assert done.returncode == 1
    lines = done.stdout.splitlines()
    assert [line.partition(":")[0] for line in lines[:-1]] == [
        "cases[3].scores",
        "cases[3].scores[17][0]",
        "cases[5].scores[2][1]",
        "cases[9].scores",
    ]
    assert lines[-1].endswith("not valid: 4 problems.") and "\x1b" not in done.stdout
    told = json.loads(run("validate", file, "--json").stdout)
    assert told["is_valid"] is False and len(told["problems"]) == 4
    assert told["problems"][2]["path"] == "cases[5].scores[2][1]"
    ranked = run("leaderboard", tmp_path, "--json")
    assert ranked.returncode == 1
    assert json.loads(ranked.stdout)["edges"] == []
    shown = run("leaderboard", tmp_path)
    assert shown.returncode == 1 and "and 1 more" in shown.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("compare", "{tmp}", "{tmp}"), "Expected results.parquet of a benchmark at"),
        (("compare", "{tmp}"), "Missing argument"),
        (("compare", "{bench}", "{bench}", "--universe", "all"), "'all' is not one of"),
        (("compare", "{bench}", "{bench}", "--level", "node"), "and they share none"),
        (("validate", "{tmp}/none.json"), "found no such file"),
        (("validate", "{bench}/results.parquet"), "Expected a submission as JSON"),
        (("leaderboard", "{tmp}"), "Expected submissions"),
        (("leaderboard", "{tmp}/none"), "Expected a folder of submissions"),
        (("submit", "{bench}", "--method", "exact", "-o", "{tmp}/x"), "Missing option '--author'"),
        (
            ("submit", "{bench}", "--method", "none", "--author", "a", "-o", "{tmp}/x"),
            "Expected one of the benchmark's methods (exact, noisy), got 'none'",
        ),
    ],
)
def test_wrong_input_ends_in_a_message(
    arguments: tuple[str, ...], message: str, bench: Path, tmp_path: Path
) -> None:
    done = run(*(argument.format(tmp=tmp_path, bench=bench) for argument in arguments))
    assert done.returncode == 2, done.stdout
    assert message in " ".join(done.stderr.replace("│", " ").split())
    assert "Traceback" not in done.stderr and done.stdout == ""
    assert not (tmp_path / "x").exists()


@pytest.mark.slow
def test_none_of_it_needs_jax(bench: Path) -> None:
    code = (
        "import sys\n"
        "from interpbench_jax.cli import main\n"
        f"sys.argv = ['interpbench', 'leaderboard', {str(bench)!r}]\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert end.code == 0, end.code\n"
        "assert not {'jax', 'flax', 'matplotlib'} & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr

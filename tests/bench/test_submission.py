"""Submissions: a valid one, and every problem of invalid ones with its path."""

import copy
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from interpbench_jax import load_case
from interpbench_jax.bench.problems import SubmissionProblem, join_path, show
from interpbench_jax.bench.submission import (
    SCHEMA_FILE,
    CaseTruth,
    check_submission,
    read_schema,
    read_submission,
)
from interpbench_jax.cases import CASES
from interpbench_jax.report.rows import LEVELS
from interpbench_jax.universes import UNIVERSES
from tests.bench.fake_results import CASES_USED, submission, truths

FIRST_EDGE = "blocks.0.hook_resid_pre -> blocks.0.attn.hook_result[0]"


def problems_of(data: object) -> list[SubmissionProblem]:
    return list(check_submission(data, truths()).problems)


def test_a_valid_submission() -> None:
    for level in LEVELS:
        for universe in UNIVERSES:
            checked = check_submission(submission(universe, level), truths())
            assert checked.problems == () and checked.submission is not None
            assert [case.case for case in checked.submission.cases] == [*CASES_USED]
            assert {case.universe for case in checked.submission.cases} == {universe}
            assert checked.submission.authors == ("A. Person",)


def test_scores_are_put_in_the_universes_order() -> None:
    data = submission()
    shuffled = copy.deepcopy(data)
    shuffled["cases"][0]["scores"].reverse()
    shuffled["cases"][0]["scores"][0][0] = shuffled["cases"][0]["scores"][0][0].replace(
        " -> ", "->"
    )
    checked = [check_submission(each, truths()).submission for each in (data, shuffled)]
    first, second = (None if each is None else each.cases[0].scores for each in checked)
    assert first is not None and second is not None
    assert (first == second).all() and first.sum() == 4  # Case 3 has four edges in `head`.


def test_the_schema_is_one() -> None:
    from jsonschema import Draft202012Validator

    schema = json.loads(SCHEMA_FILE.read_text(encoding="utf-8"))
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    Draft202012Validator.check_schema(schema)
    case = schema["$defs"]["case"]["properties"]
    assert tuple(case["universe"]["enum"]) == UNIVERSES
    assert tuple(case["level"]["enum"]) == LEVELS
    assert read_schema() == schema


def put(*path: str | int, value: object) -> Callable[[dict], None]:
    """Return a change that sets the value at a path."""

    def change(data: dict) -> None:
        place = data
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = value

    return change


def drop(*path: str | int) -> Callable[[dict], None]:
    def change(data: dict) -> None:
        place = data
        for key in path[:-1]:
            place = place[key]
        del place[path[-1]]

    return change


def repeat(index: int) -> Callable[[dict], None]:
    return lambda data: data["cases"][1]["scores"].append(data["cases"][1]["scores"][index])


WRONG = [
    (put("format", value="other"), "format", "Expected 'interpbench-submission', got 'other'"),
    (put("version", value=2), "version", "Expected 1, got 2"),
    (put("method", value=3), "method", "Expected a string, got 3"),
    (put("method", value=""), "method", "Expected at least|non-empty"),
    (put("method", value="a\x1b[31mb"), "method", r"on one line.*'a\\x1b\[31mb'"),
    (put("method", value="a\n"), "method", "on one line"),
    (put("method", value="a" * 81), "method", "Expected at most 80 characters, got 81"),
    (put("authors", value=[]), "authors", "Expected at least 1|non-empty"),
    (put("authors", 0, value=None), "authors[0]", "Expected a string, got None"),
    (put("authors", 0, value="\ud800"), "authors[0]", "on one line"),
    (put("url", value="javascript:x"), "url", "Expected text that matches"),
    (put("settings", value=[]), "settings", r"Expected an object, got \[\]"),
    (put("more", value=1), "", r"Expected only the keys format, .*; got \['more'\] too"),
    (drop("description"), "", "Expected the key 'description', found none; add it"),
    (put("cases", value={}), "cases", "Expected a list, got {}"),
    (put("cases", 1, value=4), "cases[1]", "Expected an object, got 4"),
    (put("cases", 1, "case", value="99"), "cases[1].case", "Expected one of 3, 11, 21; got '99'"),
    (drop("cases", 1), "cases", "edge scores of all 3 cases, got fewer; missing: 11"),
    (put("cases", 1, "case", value="3"), "cases[1]", r"got another at cases\[0\]; remove one"),
    (
        put("cases", 1, "model_digest", value="x"),
        "cases[1].model_digest",
        "that matches .*, got 'x'",
    ),
    (put("cases", 1, "universe", value="all"), "cases[1].universe", "Expected one of qkv, .*'all'"),
    (put("cases", 1, "universe", value=[]), "cases[1].universe", r"Expected one of qkv, .*\[\]"),
    (put("cases", 1, "level", value="neuron"), "cases[1].level", "Expected one of edge, node"),
    (put("cases", 1, "scores", value="x"), "cases[1].scores", "Expected a list, got 'x'"),
    (put("cases", 1, "scores", 17, 0, value="x"), "cases[1].scores[17][0]", "of head, got 'x'"),
    (
        put("cases", 1, "scores", 17, 0, value="hook_embed -> blocks.0.hook_mlp_in"),
        "cases[1].scores[17][0]",
        "Expected one of the edges of head, got 'hook_embed -> ",
    ),
    (put("cases", 1, "scores", 17, 0, value=5), "cases[1].scores[17][0]", "a string, got 5"),
    (put("cases", 1, "scores", 17, 1, value="5"), "cases[1].scores[17][1]", "a number, got '5'"),
    (put("cases", 1, "scores", 17, 1, value=True), "cases[1].scores[17][1]", "number, got True"),
    (
        put("cases", 1, "scores", 17, 1, value=float("nan")),
        "cases[1].scores[17][1]",
        "Expected a finite score, got nan",
    ),
    (
        put("cases", 1, "scores", 17, 1, value=float("-inf")),
        "cases[1].scores[17][1]",
        "Expected a finite score, got -inf",
    ),
    (put("cases", 1, "scores", 17, 1, value=10**400), "cases[1].scores[17][1]", "finite score"),
    (put("cases", 1, "scores", 17, 1, value=10**5000), "cases[1].scores[17][1]", "very many dig"),
    (put("cases", 1, "scores", 17, value=["x"]), "cases[1].scores[17]", "2 items, got 1|too short"),
    (
        drop("cases", 1, "scores", 0),
        "cases[1].scores",
        f"all 53 edges of head; 1 .*{FIRST_EDGE[:9]}",
    ),
    (repeat(2), "cases[1].scores[53][0]", r"each item once.* again, after cases\[1\]\.scores\[2\]"),
]


@pytest.mark.parametrize(("change", "path", "message"), WRONG)
def test_what_is_wrong_is_said_where_it_is(
    change: Callable[[dict], None], path: str, message: str
) -> None:
    import re

    data = submission()
    change(data)
    checked = check_submission(data, truths())
    assert checked.submission is None
    own = [problem for problem in checked.errors if problem.path == path]
    assert own and re.search(message, own[0].message), checked.problems


def test_every_problem_is_said() -> None:
    data = submission()
    for change in (
        put("method", value=7),
        put("authors", 0, value=8),
        put("cases", 0, "scores", 3, 1, value=float("inf")),
        put("cases", 0, "scores", 11, 0, value="nothing"),
        put("cases", 2, "universe", value="whole"),
        drop("cases", 1),
    ):
        change(data)
    found = [problem.path for problem in problems_of(data)]
    assert found == [
        "authors[0]",
        "cases",
        "cases[0].scores",  # The item that was at 11 is missing.
        "cases[0].scores[3][1]",
        "cases[0].scores[11][0]",
        "cases[1].universe",
        "method",
    ]


def test_what_is_no_object() -> None:
    for data in ([], None, "x", 5, float("nan")):
        checked = check_submission(data, truths())
        assert checked.submission is None and checked.problems[0].path == ""


def test_another_models_digest_is_a_warning() -> None:
    data = submission()
    data["cases"][1]["model_digest"] = "f" * 64
    checked = check_submission(data, truths())
    assert checked.submission is not None and checked.errors == ()
    (warning,) = checked.problems
    assert warning.path == "cases[1].model_digest" and "of another model" in warning.message
    assert str(warning).startswith("cases[1].model_digest: warning: Expected the packaged model")


def test_each_level_needs_every_case() -> None:
    data = submission()
    nodes = submission("qkv", "node")
    data["cases"] += nodes["cases"]
    assert problems_of(data) == []
    del data["cases"][-1]
    (problem,) = problems_of(data)
    assert "Expected node scores of all 3 cases" in problem.message
    assert "missing: 21" in problem.message


def test_files(tmp_path: Path) -> None:
    path = tmp_path / "mine.json"
    path.write_text(json.dumps(submission()), encoding="utf-8")
    assert read_submission(path, truths()).submission is not None
    for text in (b"", b"{", b"\xff\xfe{", b"[" * 100_000):
        path.write_bytes(text)
        with pytest.raises(ValueError, match=r"mine\.json: Expected a submission as JSON"):
            read_submission(path, truths())
    path.write_text('{"cases": [{"scores": [["x", NaN], ["y", 1e999]]}]}')
    paths = [problem.path for problem in read_submission(path, truths()).problems]
    assert "cases[0].scores[0][1]" in paths and "cases[0].scores[1][1]" in paths
    with path.open("wb") as file:
        file.truncate(2**26 + 1)
    with pytest.raises(ValueError, match=r"at most 67,108,864 bytes at .*, got 67,108,865"):
        read_submission(path, truths())
    with pytest.raises(ValueError, match=r"Expected a regular file at .*, got a folder"):
        read_submission(tmp_path, truths())
    with pytest.raises(FileNotFoundError, match="Expected a submission at"):
        read_submission(tmp_path / "none.json", truths())


def test_truths_are_the_packaged_cases() -> None:
    import hashlib

    from interpbench_dataset.packaged import packaged_models

    case = load_case("11")
    truth = CaseTruth.of(case)
    weights = (packaged_models() / "11" / "model.safetensors").read_bytes()
    assert truth.model_digest == hashlib.sha256(weights).hexdigest()
    assert truth.circuit == case.circuit and truth.tier == CASES["11"].tier


def test_paths_and_values_in_words() -> None:
    assert join_path(["cases", 3, "scores", 17, 0]) == "cases[3].scores[17][0]"
    assert join_path(["a b", 0]) == "['a b'][0]" and join_path([]) == ""
    assert show("x" * 200).endswith("...") and len(show("x" * 200)) == 80
    assert str(SubmissionProblem("", "Expected more.")) == "the file: Expected more."

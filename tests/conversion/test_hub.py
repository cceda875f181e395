"""Fetching cases from a local server: which files are downloaded, and when the cache suffices."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import huggingface_hub
import pytest

from interpbench_conversion import hub
from interpbench_conversion.hub import FetchedCase, HubError, fetch_case
from interpbench_conversion.hub_source import METADATA_FILE, Source
from tests.hub_server import CURRENT, FILES, OURS, REPO, UPSTREAM, Fault, HubServer

WEIGHTS = r"GET /.*/resolve/.*ll_model_510\.pth"


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    with HubServer() as server:
        server.use(monkeypatch, tmp_path / "home")
        server.commit(REPO, FILES)
        yield server


def contents(case: FetchedCase) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in case.directory.iterdir()}


def head(server: HubServer) -> str:
    return server.refs[REPO]["main"]


def test_importing_the_module_imports_no_library() -> None:
    code = "import sys, interpbench_conversion.hub; print('huggingface_hub' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    assert ran.stdout == "False\n"


@pytest.mark.parametrize(
    ("case_id", "expected"), [("13", UPSTREAM), ("3", CURRENT), ("ours", OURS)]
)
def test_a_case_is_downloaded_in_each_layout(
    server: HubServer, case_id: str, expected: dict[str, bytes]
) -> None:
    case = fetch_case(case_id)
    assert contents(case) == expected
    assert (case.commit, case.repo_id) == (head(server), REPO)
    assert case.directory.name == case_id
    assert case.directory.parent.name == case.commit
    metadata = case.directory.parent / METADATA_FILE
    assert metadata.read_bytes() == FILES[METADATA_FILE]
    assert server.lines("GET .*/resolve/")[-1].endswith((".pth", ".safetensors"))


def test_what_only_some_cases_have_is_downloaded_too(server: HubServer) -> None:
    ioi = {**UPSTREAM, "corr_100_100_40.json": b"[1]", "training_args.json": b"{}"}
    server.commit(REPO, {f"ioi/{name}": data for name, data in ioi.items()})
    assert contents(fetch_case("ioi")) == ioi


def test_metadata_at_the_root_is_optional(server: HubServer) -> None:
    server.commit(REPO, {name: FILES[name] for name in FILES if name.startswith("13/")})
    assert contents(fetch_case("13")) == UPSTREAM


def test_large_files_come_from_storage_by_redirect(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with HubServer(large=1000) as server:
        server.use(monkeypatch, tmp_path)
        server.commit(REPO, FILES)
        assert contents(fetch_case("13", token="hf_secret")) == UPSTREAM
        [stored] = [request for request in server.requests if "/storage/" in request.path]
        assert stored.authorization is None


def test_a_dataset_repository_and_a_chosen_cache(server: HubServer, tmp_path: Path) -> None:
    server.commit("datasets/org/cases", FILES)
    cache = tmp_path / "elsewhere"
    case = fetch_case("13", repo_id="org/cases", repo_type="dataset", cache_dir=cache)
    assert contents(case) == UPSTREAM
    assert cache in case.directory.parents
    assert all("datasets/" in line for line in server.lines())


def test_the_token_is_sent(server: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_environment")
    fetch_case("13")
    fetch_case("3", token="hf_argument")
    sent = {request.authorization for request in server.requests}
    assert sent == {"Bearer hf_environment", "Bearer hf_argument"}


def test_a_case_in_the_cache_costs_no_request(server: HubServer) -> None:
    first = fetch_case("13")
    server.requests.clear()
    assert fetch_case("13") == first
    assert fetch_case("13", revision=first.commit) == first
    assert server.requests == []


def test_another_case_in_the_snapshot_is_not_this_one(server: HubServer) -> None:
    fetch_case("3")
    server.requests.clear()
    assert contents(fetch_case("13")) == UPSTREAM
    assert not server.lines("GET .*/resolve/.*/(3/|benchmark_metadata)")


@pytest.mark.parametrize("missing", sorted(UPSTREAM))
def test_a_download_killed_between_files_goes_on(
    server: HubServer, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    fetch_case("3")  # so the commit's list of files is known when fetching 13 is interrupted
    download = hub._cached_or_downloaded

    def killed(source: Source, commit: str, name: str) -> Path:
        if name.endswith(missing):
            raise KeyboardInterrupt
        return download(source, commit, name)

    with monkeypatch.context() as patch:
        patch.setattr(hub, "_cached_or_downloaded", killed)
        with pytest.raises(KeyboardInterrupt):
            fetch_case("13")
    server.requests.clear()
    assert contents(fetch_case("13")) == UPSTREAM
    assert server.lines("GET .*/resolve/")[0].endswith(missing)


@pytest.mark.parametrize("missing", [None, *sorted(UPSTREAM)])
def test_without_a_list_of_files_only_a_full_layout_is_whole(
    server: HubServer, missing: str | None
) -> None:
    for name in UPSTREAM.keys() - {missing}:
        huggingface_hub.hf_hub_download(REPO, f"13/{name}")
    server.requests.clear()
    assert contents(fetch_case("13")) == UPSTREAM
    assert bool(server.requests) == (missing is not None)


@pytest.mark.skipif(
    not hasattr(huggingface_hub, "get_cached_repo_tree"),
    reason="this version of huggingface_hub keeps no list of a commit's files",
)
def test_what_the_librarys_own_download_left_is_believed(server: HubServer) -> None:
    files = {f"ioi/{name}": UPSTREAM[name] for name in ("ll_model_510.pth", "edges.pkl")}
    server.commit(REPO, files)
    huggingface_hub.snapshot_download(REPO, allow_patterns=["ioi/*"])
    server.close()
    assert contents(fetch_case("ioi")).keys() == {"ll_model_510.pth", "edges.pkl"}


def test_a_file_that_lost_bytes_in_the_cache_is_downloaded_again(server: HubServer) -> None:
    case = fetch_case("13")
    (case.directory / "ll_model_510.pth").resolve().write_bytes(b"w" * 7)
    assert contents(fetch_case("13")) == UPSTREAM


def test_main_stays_until_refreshed_and_a_commit_stays_for_good(server: HubServer) -> None:
    old = fetch_case("13")
    moved = server.commit(REPO, {**FILES, "13/edges.pkl": b"new edges"})
    assert fetch_case("13") == old
    new = fetch_case("13", refresh=True)
    assert (new.commit, contents(new)["edges.pkl"]) == (moved, b"new edges")
    assert len(server.lines(WEIGHTS)) == 1
    server.close()
    assert fetch_case("13") == new
    assert fetch_case("13", revision=old.commit) == old
    assert contents(old) == UPSTREAM


def test_a_branch_moves_only_once_its_case_is_there(server: HubServer) -> None:
    old = fetch_case("13")
    server.commit(REPO, {**FILES, "13/edges.pkl": b"new edges"})
    server.faults.append(Fault(r"HEAD .*edges\.pkl", status=403))
    with pytest.raises(HubError):
        fetch_case("13", refresh=True)
    assert fetch_case("13") == old


def test_tags_are_revisions(server: HubServer) -> None:
    server.commit(REPO, {**FILES, "13/edges.pkl": b"tagged"}, ref="refs/pr/1")
    assert contents(fetch_case("13", revision="refs/pr/1"))["edges.pkl"] == b"tagged"
    server.close()
    assert contents(fetch_case("13", revision="refs/pr/1"))["edges.pkl"] == b"tagged"


PROGRAM = """
import json, sys
from interpbench_conversion.hub import HubError, fetch_case
try:
    case = fetch_case(sys.argv[1])
    print(json.dumps([str(case.directory), case.commit]))
except HubError as error:
    print(json.dumps(str(error)))
"""


@pytest.mark.slow
def test_the_environment_set_before_the_start(server: HubServer, tmp_path: Path) -> None:
    home = tmp_path / "set before"
    environment = {**os.environ, "HF_ENDPOINT": server.endpoint, "HF_HOME": str(home)}

    def run(case_id: str, **variables: str) -> object:
        command = [sys.executable, "-W", "error", "-c", PROGRAM, case_id]
        ran = subprocess.run(
            command, env={**environment, **variables}, capture_output=True, check=True, text=True
        )
        return json.loads(ran.stdout)

    directory = home / "hub" / f"models--{REPO.replace('/', '--')}" / "snapshots" / head(server)
    assert run("13") == [str(directory / "13"), head(server)]
    server.requests.clear()
    assert run("13") == [str(directory / "13"), head(server)]
    assert run("13", HF_HUB_OFFLINE="1") == [str(directory / "13"), head(server)]
    assert "HF_HUB_OFFLINE is set" in str(run("3", HF_HUB_OFFLINE="1"))
    assert server.requests == []

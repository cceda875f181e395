"""Errors of fetching a case: refused requests, and the message for each server or network fault."""

import re
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import huggingface_hub
import pytest
from huggingface_hub import constants

from interpbench_conversion import hub_errors
from interpbench_conversion.hub import (
    CaseNotFoundError,
    FetchedCase,
    HubError,
    InvalidNameError,
    fetch_case,
)
from interpbench_conversion.hub_source import METADATA_FILE
from tests.hub_server import FILES, REPO, UPSTREAM, Fault, HubServer, close_sessions

BAD_SHA = b'{"id": "a/b", "sha": "../x", "siblings": []}'
WEIGHTS = r"GET /.*/resolve/.*ll_model_510\.pth"
RESUMES = pytest.mark.skipif(
    not hasattr(huggingface_hub, "close_session"),
    reason="huggingface_hub before version 1 does not resume a body that was cut short",
)


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    with HubServer() as server:
        server.use(monkeypatch, tmp_path / "home")
        server.commit(REPO, FILES)
        yield server


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set all waits to zero, for tests that are not about waiting."""
    monkeypatch.setattr(hub_errors, "RETRY_WAITS", (0.0, 0.0))
    monkeypatch.setattr("huggingface_hub.file_download.time.sleep", lambda seconds: None)


def fetch(repo_id: str = REPO, revision: str = "main", repo_type: str = "model") -> FetchedCase:
    return fetch_case("13", repo_id=repo_id, revision=revision, repo_type=repo_type)


def contents(case: FetchedCase) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in case.directory.iterdir()}


def cached_bytes() -> list[bytes]:
    """Return every blob in the cache, whatever its name."""
    blobs = Path(constants.HF_HUB_CACHE).glob("*/blobs/*")
    return [path.read_bytes() for path in blobs if path.is_file()]


def head(server: HubServer) -> str:
    return server.refs[REPO]["main"]


def hub_error(call: Callable[[], object]) -> str:
    """Return the message of the HubError that the call raises."""
    with pytest.raises(HubError) as caught:
        call()
    return str(caught.value)


@pytest.mark.parametrize("case_id", ["../x", "a/b", "*", "1?", "[1]", "", ".", "..", ".x", "a\\b"])
def test_a_case_id_is_checked_before_any_request(server: HubServer, case_id: str) -> None:
    with pytest.raises(InvalidNameError, match=re.escape(f"got {case_id!r}")):
        fetch_case(case_id)
    assert server.requests == []


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("repo_id", "a/b/c"),
        ("repo_id", "a b"),
        ("revision", "../x"),
        ("revision", ""),
        ("repo_type", "bucket"),
    ],
)
def test_the_other_names_are_checked_too(server: HubServer, option: str, value: str) -> None:
    with pytest.raises(InvalidNameError, match=re.escape(f"got {value!r}")):
        fetch(**{option: value})
    assert server.requests == []


def test_an_unknown_case_lists_those_there_are(server: HubServer) -> None:
    with pytest.raises(CaseNotFoundError) as caught:
        fetch_case("notes")
    message = str(caught.value)
    assert f"case 'notes' of {REPO} (revision main) from {server.endpoint}" in message
    assert head(server) in message
    assert message.endswith("Pass one of its cases: 3, 13, ours.")


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"repo_id": "no/where"}, "no such model repository, or it is private"),
        ({"revision": "v9"}, "no such revision"),
        ({"revision": "0" * 40}, "no such revision"),
    ],
)
def test_unknown_repositories_and_revisions(
    server: HubServer, options: dict[str, str], expected: str
) -> None:
    message = hub_error(lambda: fetch(**options))
    assert expected in message
    assert all(value in message for value in options.values())


@pytest.mark.parametrize(
    ("request_line", "status", "code", "expected"),
    [
        ("GET /api/", 403, "GatedRepo", "the repository is gated (403)"),
        (r"HEAD .*/resolve/", 403, "GatedRepo", "the repository is gated (403)"),
        (r"HEAD .*/resolve/", 401, "GatedRepo", "the repository is gated (401)"),
        ("GET /api/", 401, "RepoNotFound", "or it is private"),
        ("GET /api/", 401, None, "access was refused (401)"),
        (r"HEAD .*/resolve/", 403, None, "access was refused (403)"),
        ("GET /api/", 429, None, "too many requests (429)"),
        (r"HEAD .*edges", 404, "EntryNotFound", "13/edges.pkl: it is listed, but cannot"),
        ("GET /api/", 418, None, "the server answered 418"),
    ],
)
def test_refusals(
    server: HubServer, request_line: str, status: int, code: str | None, expected: str
) -> None:
    server.faults.append(Fault(request_line, status=status, error_code=code))
    message = hub_error(lambda: fetch_case("13"))
    assert expected in message
    assert f"case '13' of {REPO} (revision main) from {server.endpoint}" in message
    assert status not in (401, 403, 429) or "HF_TOKEN" in message


@pytest.mark.parametrize("request_line", ["GET /api/", r"HEAD .*\.pth", r"GET .*\.pth"])
@pytest.mark.parametrize("status", [500, 502, 503])
def test_a_server_error_that_passes(
    server: HubServer, quick: None, request_line: str, status: int
) -> None:
    server.faults.append(Fault(request_line, status=status, times=2))
    assert contents(fetch_case("13")) == UPSTREAM


@pytest.mark.slow
@pytest.mark.parametrize("request_line", ["GET /api/", r"HEAD .*\.pth", r"GET .*\.pth"])
def test_a_server_error_that_stays(server: HubServer, request_line: str) -> None:
    server.faults.append(Fault(request_line, status=503))
    message = hub_error(lambda: fetch_case("13"))
    assert "the server failed 3 times (503)" in message
    assert "try again later" in message


@RESUMES
@pytest.mark.parametrize("times", [1, 3])
def test_a_body_cut_short_is_resumed(server: HubServer, quick: None, times: int) -> None:
    server.faults.append(Fault(WEIGHTS, keep_bytes=1234, times=times))
    assert contents(fetch_case("13")) == UPSTREAM
    assert len(server.lines(WEIGHTS)) == 1 + times


@RESUMES
def test_a_body_always_cut_short_leaves_nothing(server: HubServer, quick: None) -> None:
    server.faults.append(Fault(WEIGHTS, keep_bytes=1234))
    message = hub_error(lambda: fetch_case("13"))
    assert "13/ll_model_510.pth: the connection broke" in message
    assert sorted(cached_bytes()) == sorted([FILES[METADATA_FILE], b"config", b"{}", b"edges"])
    server.faults.clear()
    assert contents(fetch_case("13")) == UPSTREAM


def test_a_list_cut_short_is_asked_for_again(server: HubServer, quick: None) -> None:
    server.faults.append(Fault("GET /api/", keep_bytes=10, times=1))
    assert contents(fetch_case("13")) == UPSTREAM


def test_a_body_of_another_size_than_listed(
    server: HubServer, quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = server.repositories[REPO][head(server)]
    listed = server._metadata
    monkeypatch.setattr(server, "_metadata", lambda data: {**listed(data), "size": 5000})
    whole["13/ll_model_510.pth"] = b"w" * 4000
    for name in UPSTREAM.keys() - {"ll_model_510.pth"}:
        whole[f"13/{name}"] = b"x" * 5000
    whole[METADATA_FILE] = b"x" * 5000
    message = hub_error(lambda: fetch_case("13"))
    assert "13/ll_model_510.pth" in message
    assert "not have the 5000 bytes that the Hub lists" in message
    assert b"w" * 4000 not in cached_bytes()


@pytest.mark.parametrize("body", [b"<html>Sign in</html>", b"[]", b"{}", b'{"id": "a/b"}', BAD_SHA])
def test_an_answer_that_is_not_a_hubs(
    server: HubServer, monkeypatch: pytest.MonkeyPatch, body: bytes
) -> None:
    answer = replace(server.answer("/"), status=200, body=body)
    monkeypatch.setattr(server, "answer", lambda path: answer)
    message = hub_error(lambda: fetch_case("13"))
    assert "the answer does not come from a Hub" in message
    assert "HF_ENDPOINT" in message


def test_a_token_that_is_asked_for_and_not_there(server: HubServer) -> None:
    message = hub_error(lambda: fetch_case("13", token=True))
    assert "no token is stored" in message
    assert server.requests == []


@pytest.mark.parametrize("request_line", ["GET /api/", r"HEAD .*edges\.pkl"])
def test_a_server_that_never_answers(
    server: HubServer, quick: None, monkeypatch: pytest.MonkeyPatch, request_line: str
) -> None:
    monkeypatch.setattr(hub_errors, "ANSWER_SECONDS", 0.5)
    server.faults.append(Fault(request_line, hang=True))
    message = hub_error(lambda: fetch_case("13"))
    assert "no answer within 0.5 s" in message


@pytest.mark.slow
def test_a_server_that_stops_in_the_middle_of_a_file(
    server: HubServer, quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 0.2)
    server.faults.append(Fault(WEIGHTS, keep_bytes=1234, hang=True))
    message = hub_error(lambda: fetch_case("13"))
    assert "13/ll_model_510.pth: the download stalled" in message
    assert "HF_HUB_DOWNLOAD_TIMEOUT" in message
    assert " within " not in message
    server.faults.clear()
    assert contents(fetch_case("13")) == UPSTREAM


def test_a_cache_that_cannot_be_written(server: HubServer, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    message = hub_error(lambda: fetch_case("13", cache_dir=tmp_path / "file"))
    assert "could not be stored in the cache" in message
    assert str(tmp_path / "file") in message


def check_offline_message(message: str, endpoint: str) -> None:
    assert f"case '13' of {REPO} (revision main) from {endpoint}" in message
    assert f"hf download {REPO} --revision main --include '13/*'" in message
    assert constants.HF_HUB_CACHE in message
    assert "HF_HOME" in message
    assert "pass a folder" in message


def test_offline_with_a_closed_port(server: HubServer) -> None:
    case = fetch_case("13")
    server.close()
    assert fetch_case("13") == case
    message = hub_error(lambda: fetch_case("13", refresh=True))
    assert "no connection" in message
    check_offline_message(message, server.endpoint)
    assert "Without refresh" in message
    message = hub_error(lambda: fetch_case("3"))
    assert "Without refresh" not in message


def test_offline_with_names_that_do_not_resolve(
    server: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", "http://no-such-host.invalid")
    message = hub_error(lambda: fetch_case("13"))
    assert "no connection" in message
    check_offline_message(message, "http://no-such-host.invalid")


@pytest.mark.slow
def test_offline_with_packets_that_are_dropped(
    server: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    over = threading.Event()

    def dropped(*address: object, **options: object) -> socket.socket:
        over.wait()
        raise TimeoutError

    monkeypatch.setattr(socket, "create_connection", dropped)
    message = hub_error(lambda: fetch_case("13"))
    over.set()
    assert "no connection (nothing came back within 1.5 s)" in message


def test_a_proxy_is_left_to_the_library(server: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{port}")
    monkeypatch.setenv("no_proxy", "")
    close_sessions()
    assert "no connection" in hub_error(lambda: fetch_case("13"))
    assert server.requests == []


def test_the_switch_for_offline(server: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    case = fetch_case("13")
    server.requests.clear()
    close_sessions()  # The mode may be fixed when a client is made.
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert fetch_case("13") == case
    message = hub_error(lambda: fetch_case("3"))
    assert "HF_HUB_OFFLINE is set" in message
    assert server.requests == []

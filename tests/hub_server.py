"""A local server that implements the Hugging Face Hub's protocol, for tests without a network.

It serves model and dataset repositories: revisions, trees, files (with `Range`; large ones behind a
redirect, as in the Hub's storage), the Hub's error codes, and faults on request.
"""

import hashlib
import json
import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar, Self
from urllib.parse import unquote, urlsplit

import huggingface_hub
import pytest
from huggingface_hub import constants, file_download

from interpbench_conversion.hub_source import DEFAULT_REPO, METADATA_FILE

# A repository with a case in each layout, and files that belong to no case.
REPO = DEFAULT_REPO
UPSTREAM = {
    "ll_model_510.pth": b"w" * 5000,
    "ll_model_cfg_510.pkl": b"config",
    "meta_510.json": b"{}",
    "edges.pkl": b"edges",
}
CURRENT = {name.replace("_510", ""): data + b" of 3" for name, data in UPSTREAM.items()}
OURS = {"model.safetensors": b"s" * 5000, "config.json": b"{1}", "circuit.json": b"{2}"}
UNWANTED = {"optimizer.pt": b"big", "plots/ll_model.pth": b"not the case's", "train.json": b"[]"}
FILES = {
    METADATA_FILE: b'{"cases": []}',
    "README.md": b"card",
    **{f"13/{name}": data for name, data in {**UPSTREAM, **UNWANTED}.items()},
    **{f"3/{name}": data for name, data in CURRENT.items()},
    **{f"ours/{name}": data for name, data in OURS.items()},
    "notes/text.md": b"no case",
}


@dataclass(frozen=True)
class LoggedRequest:
    """One request that the server received."""

    method: str
    path: str
    authorization: str | None


@dataclass
class Fault:
    """A fault in the answers to the next `times` requests (all, if None) that match `pattern`.

    The pattern is a regular expression, searched for in `METHOD /path?query`. The answer is an
    error with `status`, or its body ends after `keep_bytes`. With `hang`, the connection stalls
    after `keep_bytes`, or after the request if that is None.
    """

    pattern: str
    times: int | None = None
    status: int | None = None
    error_code: str | None = None
    keep_bytes: int | None = None
    hang: bool = False


@dataclass(frozen=True)
class Answer:
    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


class NotFound(Exception):
    """An exception whose text is the Hub's error code."""


def close_sessions() -> None:
    """Make `huggingface_hub` forget its connections and the settings they were made with."""
    close = getattr(huggingface_hub, "close_session", None)  # from version 1 on
    if close is None:
        from huggingface_hub import utils

        close = getattr(utils, "reset_sessions")  # noqa: B009
    close()


class HubServer:
    """A Hub on 127.0.0.1, as a context manager; files of at least `large` bytes are redirected."""

    def __init__(self, *, large: int = 1 << 20) -> None:
        self.repositories: dict[str, dict[str, dict[str, bytes]]] = {}
        self.refs: dict[str, dict[str, str]] = {}
        self.stored: dict[str, bytes] = {}
        self.requests: list[LoggedRequest] = []
        self.faults: list[Fault] = []
        self.large = large
        self.closing = threading.Event()
        self._lock = threading.Lock()
        handler = type("Handler", (Handler,), {"hub": self})
        self._server = _Listener(("127.0.0.1", 0), handler)
        self.endpoint = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop listening, so that the port refuses connections; a second call does nothing."""
        if self.closing.is_set():
            return
        self.closing.set()
        close_sessions()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def use(self, monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
        """Make `huggingface_hub` use this server in this process, with its cache under `home`."""
        close_sessions()
        for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
            monkeypatch.delenv(name, raising=False)
        template = self.endpoint + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "ENDPOINT", self.endpoint)
        # Before version 1, the library looks it up in the module that downloads.
        for module in (constants, file_download):
            monkeypatch.setattr(module, "HUGGINGFACE_CO_URL_TEMPLATE", template, raising=False)
        monkeypatch.setattr(constants, "HF_HOME", str(home))
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(home / "hub"))
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(home / "token"))
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        # Otherwise a process's first request makes additional requests to the endpoint.
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_TELEMETRY", True)

    def commit(self, repo: str, files: Mapping[str, bytes], *, ref: str = "main") -> str:
        """Add a commit and point `ref` at it; a dataset's `repo` starts with `datasets/`.

        Returns:
            The commit as 40 hex digits.
        """
        commits = self.repositories.setdefault(repo, {})
        sha = hashlib.sha1(repr((repo, len(commits), sorted(files.items()))).encode()).hexdigest()
        commits[sha] = dict(files)
        self.stored |= {hashlib.sha256(data).hexdigest(): data for data in files.values()}
        self.refs.setdefault(repo, {})[ref] = sha
        return sha

    def log(self, request: LoggedRequest) -> Fault | None:
        """Record a request and consume the first fault that matches it."""
        line = f"{request.method} {request.path}"
        with self._lock:
            self.requests.append(request)
            for fault in self.faults:
                if fault.times != 0 and re.search(fault.pattern, line):
                    if fault.times is not None:
                        fault.times -= 1
                    return fault
        return None

    def lines(self, pattern: str = "") -> list[str]:
        """Return the matching requests so far, each as `METHOD /path?query`."""
        lines = (f"{request.method} {request.path}" for request in self.requests)
        return [line for line in lines if re.search(pattern, line)]

    def answer(self, path: str) -> Answer:
        """Return the Hub's answer to a GET of this path, without its query."""
        for pattern, method in (
            (r"/api/(models|datasets)/([^/]+/[^/]+)(?:/revision/([^/]+))?", self._revision),
            (r"/api/(models|datasets)/([^/]+/[^/]+)/tree/([^/]+)(?:/(.*))?", self._tree),
            (r"/storage/([0-9a-f]{64})", self._stored),
            (r"/(?:(datasets)/)?([^/]+/[^/]+)/resolve/([^/]+)/(.+)", self._file),
        ):
            match = re.fullmatch(pattern, path)
            if match:
                try:
                    return method(*(part and unquote(part) for part in match.groups()))
                except NotFound as error:
                    return error_answer(404, str(error))
        return Answer(404, b"not a Hub's path")

    def _find(
        self, kind: str | None, repo: str, revision: str | None
    ) -> tuple[str, dict[str, bytes]]:
        name = f"datasets/{repo}" if kind == "datasets" else repo
        if name not in self.repositories:
            raise NotFound("RepoNotFound")
        commit = self.refs[name].get(revision or "main", revision or "")
        if commit not in self.repositories[name]:
            raise NotFound("RevisionNotFound")
        return commit, self.repositories[name][commit]

    def _revision(self, kind: str, repo: str, revision: str | None) -> Answer:
        commit, files = self._find(kind, repo, revision)
        siblings = [{"rfilename": name, **self._metadata(data)} for name, data in files.items()]
        return json_answer({"id": repo, "sha": commit, "siblings": siblings, "tags": []})

    def _tree(self, kind: str, repo: str, revision: str, folder: str | None) -> Answer:
        _, files = self._find(kind, repo, revision)
        entries = [
            {"type": "file", "path": name, **self._metadata(data)}
            for name, data in files.items()
            if name.startswith(f"{folder}/" if folder else "")
        ]
        return json_answer(entries)

    def _metadata(self, data: bytes) -> dict[str, object]:
        known: dict[str, object] = dict.fromkeys(("oid", "blobId"), git_oid(data))
        known["size"] = len(data)
        if len(data) >= self.large:
            sha256 = hashlib.sha256(data).hexdigest()
            known["lfs"] = {"sha256": sha256, "oid": sha256, "size": len(data), "pointerSize": 130}
        return known

    def _file(self, kind: str | None, repo: str, revision: str, name: str) -> Answer:
        commit, files = self._find(kind, repo, revision)
        data = files.get(name)
        headers = {"X-Repo-Commit": commit}
        if data is None:
            return error_answer(404, "EntryNotFound", headers)
        if len(data) < self.large:
            return Answer(200, data, {**headers, "ETag": f'"{git_oid(data)}"'})
        sha256 = hashlib.sha256(data).hexdigest()
        linked = {"X-Linked-Etag": f'"{sha256}"', "X-Linked-Size": str(len(data))}
        # Another name of this machine, because the Hub's storage is on another host.
        storage = f"{self.endpoint.replace('127.0.0.1', 'localhost')}/storage/{sha256}"
        return Answer(302, b"", {**headers, **linked, "Location": storage})

    def _stored(self, sha256: str) -> Answer:
        data = self.stored.get(sha256)
        return Answer(404) if data is None else Answer(200, data, {"ETag": f'"{sha256}"'})


def git_oid(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def json_answer(value: object) -> Answer:
    return Answer(200, json.dumps(value).encode(), {"Content-Type": "application/json"})


def error_answer(status: int, code: str, headers: Mapping[str, str] | None = None) -> Answer:
    body = json.dumps({"error": code}).encode()
    return Answer(status, body, {**(headers or {}), "X-Error-Code": code, "X-Error-Message": code})


class _Listener(ThreadingHTTPServer):
    def handle_error(self, request: object, client_address: object) -> None:
        """Print nothing: the tests deliberately close connections early."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 30
    wbufsize = -1  # head and body in one packet, or the client's delayed ACK costs 40 ms
    hub: ClassVar[HubServer]

    def do_GET(self) -> None:
        self._respond()

    do_HEAD = do_GET

    def log_message(self, format: str, *args: object) -> None:
        """Print nothing; the requests are in the server's log."""

    def _respond(self) -> None:
        fault = self.hub.log(LoggedRequest(self.command, self.path, self.headers["Authorization"]))
        if fault is not None and fault.hang and fault.keep_bytes is None:
            self._hang()
            return
        if fault is not None and fault.status is not None:
            code = fault.error_code
            self._send(
                error_answer(fault.status, code) if code else Answer(fault.status, b"broken")
            )
            return
        answer = self._ranged(self.answer())
        self._send(answer, keep_bytes=fault.keep_bytes if fault is not None else None)
        if fault is not None and fault.hang:
            self.wfile.flush()
            self._hang()

    def answer(self) -> Answer:
        return self.hub.answer(urlsplit(self.path).path)

    def _hang(self) -> None:
        self.hub.closing.wait(60)
        self.close_connection = True

    def _ranged(self, answer: Answer) -> Answer:
        match = re.fullmatch(r"bytes=(\d+)-", self.headers["Range"] or "")
        if match is None or answer.status != 200:
            return answer
        first, size = int(match[1]), len(answer.body)
        span = f"bytes {first}-{size - 1}/{size}"
        return Answer(206, answer.body[first:], {**answer.headers, "Content-Range": span})

    def _send(self, answer: Answer, *, keep_bytes: int | None = None) -> None:
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.body[:keep_bytes])
        self.close_connection |= keep_bytes is not None

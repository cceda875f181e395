"""The local Hub with write access: it creates repositories and accepts large files and commits."""

import base64
import hashlib
import json
import re
from urllib.parse import parse_qs, unquote, urlsplit

from tests.hub_server import (
    Answer,
    Handler,
    HubServer,
    NotFound,
    error_answer,
    git_oid,
    json_answer,
)

TOKEN = "hf_writer"
ATTRIBUTES = {".gitattributes": b"*.parquet filter=lfs diff=lfs merge=lfs -text\n"}


class WritableHub(HubServer):
    """A Hub on 127.0.0.1 to which the owner of `TOKEN` can write.

    Files of at least `large` bytes are stored separately, like files in Git LFS on the Hub.
    """

    def __init__(self, *, large: int = 1 << 20) -> None:
        super().__init__(large=large)
        self._server.RequestHandlerClass = type("Handler", (_WritingHandler,), {"hub": self})
        self.summaries: list[str] = []

    def write(self, method: str, path: str, body: bytes, token: str | None) -> Answer:
        """Return the Hub's answer to a POST or PUT of this path, without its query."""
        if method == "PUT":
            self.stored[hashlib.sha256(body).hexdigest()] = body
            return Answer(200)
        if match := re.fullmatch(r"/api/datasets/([^/]+/[^/]+)/paths-info/([^/]+)", path):
            return self._paths_info(match[1], unquote(match[2]), body)
        if path == "/api/validate-yaml":
            return json_answer({"errors": [], "warnings": []})
        if token is None:
            return error_answer(401, "Unauthorized")
        if token != f"Bearer {TOKEN}":
            return error_answer(403, "Forbidden")
        if path == "/api/repos/create":
            return self._create(json.loads(body))
        for pattern, method_of in (
            (r"/api/datasets/([^/]+/[^/]+)/preupload/([^/]+)", self._modes),
            (r"/datasets/([^/]+/[^/]+?)(\.git)/info/lfs/objects/batch", self._batch),
            (r"/api/datasets/([^/]+/[^/]+)/commit/([^/]+)", self._commit),
        ):
            if match := re.fullmatch(pattern, path):
                try:
                    return method_of(match[1], unquote(match[2]), body)
                except NotFound as error:
                    return error_answer(404, str(error))
        return Answer(404, b"not a Hub's path")

    def _create(self, wanted: dict[str, str]) -> Answer:
        repo = f"{wanted['organization']}/{wanted['name']}"
        known = json_answer({"url": f"{self.endpoint}/datasets/{repo}"})
        if f"datasets/{repo}" in self.repositories:
            return Answer(409, known.body, known.headers)
        self.commit(f"datasets/{repo}", ATTRIBUTES)
        return known

    def _modes(self, repo: str, revision: str, body: bytes) -> Answer:
        _, files = self._find("datasets", repo, revision)
        answers = []
        for file in json.loads(body)["files"]:
            path, old = file["path"], files.get(file["path"])
            is_large = file["size"] >= self.large
            answer = {"path": path, "uploadMode": "lfs" if is_large else "regular"}
            answer["shouldIgnore"] = False
            if old is not None:
                answer["oid"] = hashlib.sha256(old).hexdigest() if is_large else git_oid(old)
            answers.append(answer)
        return json_answer({"files": answers})

    def _batch(self, repo: str, _: str, body: bytes) -> Answer:
        objects = [
            {**wanted, "actions": {"upload": {"href": f"{self.endpoint}/storage/{wanted['oid']}"}}}
            for wanted in json.loads(body)["objects"]
        ]
        return json_answer({"transfer": "basic", "objects": objects})

    def _commit(self, repo: str, revision: str, body: bytes) -> Answer:
        _, old = self._find("datasets", repo, revision)
        files = dict(old)
        for line in body.splitlines():
            entry = json.loads(line)
            value = entry["value"]
            match entry["key"]:
                case "header":
                    self.summaries.append(value["summary"])
                case "file":
                    files[value["path"]] = base64.b64decode(value["content"])
                case "lfsFile":
                    files[value["path"]] = self.stored[value["oid"]]
                case "deletedFile":
                    del files[value["path"]]
                case other:
                    raise NotImplementedError(other)
        sha = self.commit(f"datasets/{repo}", files, ref=revision)
        url = f"{self.endpoint}/datasets/{repo}/commit/{sha}"
        return json_answer({"success": True, "commitUrl": url, "commitOid": sha})

    def _paths_info(self, repo: str, revision: str, body: bytes) -> Answer:
        _, files = self._find("datasets", repo, revision)
        text = body.decode()
        form = json.loads(text) if text.startswith("{") else parse_qs(text)
        entries = []
        for path in form["paths"]:
            if path in files:
                entries.append({"type": "file", "path": path, **self._metadata(files[path])})
            elif any(name.startswith(f"{path}/") for name in files):
                entries.append({"type": "directory", "path": path, "oid": "0" * 40})
        return json_answer(entries)


class _WritingHandler(Handler):
    hub: WritableHub  # pyright: ignore[reportIncompatibleVariableOverride]

    def do_POST(self) -> None:
        self.body = self._body()
        self._respond()

    def do_PUT(self) -> None:
        self.do_POST()

    def answer(self) -> Answer:
        if self.command not in ("POST", "PUT"):
            return super().answer()
        path, token = urlsplit(self.path).path, self.headers["Authorization"]
        return self.hub.write(self.command, path, self.body, token)

    def _body(self) -> bytes:
        if self.headers["Transfer-Encoding"] != "chunked":
            return self.rfile.read(int(self.headers["Content-Length"] or 0))
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

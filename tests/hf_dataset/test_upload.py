"""Uploading to a local server that implements the Hub's protocol, and loading from it."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from interpbench_dataset.upload import MESSAGE, UploadError, upload
from tests.hf_dataset.tiny_release import ROWS, Installation, write_release
from tests.hub_server import Fault, close_sessions
from tests.hub_uploads import ATTRIBUTES, TOKEN, WritableHub
from tests.tiny_models import write_model

# This warning comes from the library, when it sends a large file.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")

REPO = "someone/interpbench"
LARGE = 3_000  # bytes; only the table of case 11 is larger


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[WritableHub]:
    # The Hub's newer storage has its own protocol, which the server does not implement.
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
    with WritableHub(large=LARGE) as hub:
        hub.use(monkeypatch, tmp_path / "home")
        yield hub


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_release(tmp_path / "release")
    return tmp_path / "release"


def contents(folder: Path) -> dict[str, bytes]:
    paths = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def published(hub: WritableHub, commit: str) -> dict[str, bytes]:
    return hub.repositories[f"datasets/{REPO}"][commit]


def test_importing_the_module_imports_no_library() -> None:
    code = "import sys, interpbench_dataset.upload\n"
    code += "print({'huggingface_hub', 'datasets'} & {*sys.modules})"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    assert ran.stdout == "set()\n"


def test_a_folder_is_one_commit_in_a_new_repository(hub: WritableHub, folder: Path) -> None:
    commit = upload(REPO, folder=folder, token=TOKEN)
    assert re.fullmatch("[0-9a-f]{40}", commit)
    assert hub.refs[f"datasets/{REPO}"] == {"main": commit}
    assert published(hub, commit) == ATTRIBUTES | contents(folder)
    assert hub.summaries == [MESSAGE]
    assert len(hub.lines("PUT /storage/")) == 1, "large files go their own way"


def test_what_is_gone_is_deleted_and_what_is_new_is_added(hub: WritableHub, folder: Path) -> None:
    upload(REPO, folder=folder, token=TOKEN)
    (folder / "circuits.parquet").unlink()
    (folder / "data/11/test-00000-of-00001.parquet").write_bytes(b"n" * LARGE)
    (folder / "croissant.json").write_text("{}")
    commit = upload(REPO, folder=folder, token=TOKEN, message="Second")
    assert published(hub, commit) == ATTRIBUTES | contents(folder)
    assert hub.summaries == [MESSAGE, "Second"]


def test_the_same_folder_again_is_no_commit(hub: WritableHub, folder: Path) -> None:
    commit = upload(REPO, folder=folder, token=TOKEN)
    assert upload(REPO, folder=folder, token=TOKEN) == commit
    assert hub.summaries == [MESSAGE]


def test_leftovers_stay_here(hub: WritableHub, folder: Path) -> None:
    wanted = contents(folder)
    for name in (".DS_Store", "data/.hidden", "data/__pycache__/a.pyc", "README.md~"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("left over")
    assert published(hub, upload(REPO, folder=folder, token=TOKEN)) == ATTRIBUTES | wanted


def test_models_go_with_the_rest(hub: WritableHub, folder: Path) -> None:
    for case_id in ("3", "11"):
        write_model(folder / "models", case_id)
    commit = upload(REPO, folder=folder, token=TOKEN)
    assert published(hub, commit) == ATTRIBUTES | contents(folder)
    assert "models/11/certificate.json" in published(hub, commit)
    (folder / "models/3/model.safetensors").unlink()
    commit = upload(REPO, folder=folder, token=TOKEN)
    assert published(hub, commit) == ATTRIBUTES | contents(folder)


def test_a_branch(hub: WritableHub, folder: Path) -> None:
    upload(REPO, folder=folder, token=TOKEN)
    main = hub.commit(f"datasets/{REPO}", ATTRIBUTES, ref="next")
    commit = upload(REPO, folder=folder, token=TOKEN, revision="next")
    assert commit != main and hub.refs[f"datasets/{REPO}"]["next"] == commit
    assert published(hub, commit) == ATTRIBUTES | contents(folder)


# Errors before anything is sent


def test_a_check_that_fails_ends_the_upload(hub: WritableHub, folder: Path) -> None:
    def check(path: Path) -> None:
        raise ValueError(f"{path.name} is not as it should be")

    with pytest.raises(ValueError, match="release is not as it should be"):
        upload(REPO, folder=folder, token=TOKEN, check=check)
    assert not hub.requests


@pytest.mark.parametrize("repo_id", ["interpbench", "a/b/c", "some one/interpbench", "/x", "a/.."])
def test_a_name_that_no_repository_can_have(hub: WritableHub, folder: Path, repo_id: str) -> None:
    with pytest.raises(ValueError, match="Expected a repository such as 'someone/interpbench'"):
        upload(repo_id, folder=folder, token=TOKEN)
    assert not hub.requests


def test_a_folder_without_a_card(hub: WritableHub, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no README\.md in .*interpbench dataset build"):
        upload(REPO, folder=tmp_path, token=TOKEN)
    assert not hub.requests


def test_an_empty_message(hub: WritableHub, folder: Path) -> None:
    with pytest.raises(ValueError, match="Expected a commit message, got none"):
        upload(REPO, folder=folder, token=TOKEN, message=" ")
    assert not hub.requests


# Errors from the Hub


@pytest.mark.parametrize(
    ("token", "message"),
    [
        (None, r"does not know who you are \(401\)\. Pass a token that may write"),
        ("hf_reader", r"has no permission \(403\)\. Pass a token that may write"),
    ],
)
@pytest.mark.parametrize("exists", [True, False])
def test_no_right_to_write(
    hub: WritableHub, folder: Path, token: str | None, message: str, exists: bool
) -> None:
    if exists:
        hub.commit(f"datasets/{REPO}", ATTRIBUTES)
    with pytest.raises(UploadError, match=message) as caught:
        upload(REPO, folder=folder, token=token)
    start = f"Cannot upload to the dataset {REPO} (branch main) at {hub.endpoint}: "
    assert str(caught.value).startswith(start)
    assert not hub.summaries


def test_no_repository(hub: WritableHub, folder: Path) -> None:
    with pytest.raises(UploadError, match=r"no such repository \(404\).*create=True"):
        upload(REPO, folder=folder, token=TOKEN, create=False)


def test_no_branch(hub: WritableHub, folder: Path) -> None:
    with pytest.raises(UploadError, match=r"\(branch next\).*no such branch\. Create it"):
        upload(REPO, folder=folder, token=TOKEN, revision="next")


def test_a_server_that_fails(hub: WritableHub, folder: Path) -> None:
    hub.faults.append(Fault("POST .*/commit/", status=500))
    with pytest.raises(UploadError, match=r"answered 500\. Nothing was committed"):
        upload(REPO, folder=folder, token=TOKEN)


def test_storage_that_fails(hub: WritableHub, folder: Path) -> None:
    hub.faults.append(Fault("PUT /storage/", status=403))
    with pytest.raises(UploadError, match=r"has no permission \(403\)"):
        upload(REPO, folder=folder, token=TOKEN)
    assert not hub.summaries


def test_no_connection(hub: WritableHub, folder: Path) -> None:
    hub.close()
    with pytest.raises(UploadError, match=r"cannot be reached .*HF_ENDPOINT"):
        upload(REPO, folder=folder, token=TOKEN)


def test_offline(hub: WritableHub, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    close_sessions()  # The mode is fixed when a client is made.
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(UploadError, match=r"HF_HUB_OFFLINE is set\. Unset it"):
        upload(REPO, folder=folder, token=TOKEN)
    close_sessions()
    assert not hub.requests


# Loading the uploaded data


LOAD = f"""
import sys, time
import datasets

assert not {{"interpbench_jax", "interpbench_dataset"}} & {{*sys.modules}}
for what in ("cold", "warm"):
    start = time.perf_counter()
    rows = datasets.load_dataset("{REPO}", "11", split="test")
    print(what, "from the Hub's protocol:", round(time.perf_counter() - start, 3), "s")
print(rows.num_rows, sorted(rows.column_names))
print(datasets.get_dataset_config_names("{REPO}"))
streamed = datasets.load_dataset("{REPO}", "11", split="test", streaming=True)
assert list(streamed) == list(rows)
"""


@pytest.mark.slow
def test_what_was_uploaded_is_loaded_from_there(
    hub: WritableHub, folder: Path, tmp_path: Path
) -> None:
    upload(REPO, folder=folder, token=TOKEN)
    installation = Installation(tmp_path / "installation")
    printed = installation.run(
        LOAD, with_ours=False, HF_ENDPOINT=hub.endpoint, HF_HUB_DISABLE_XET="1"
    )
    print(printed)
    columns = ["corrupted_input_ids", "corrupted_target", "input_ids", "target"]
    assert f"{ROWS['11']} {columns}" in printed
    assert str(["cases", "circuits", "3", "11"]) in printed

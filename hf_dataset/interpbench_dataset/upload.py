"""Upload a published folder to a dataset repository on the Hub, as one commit.

Importing this module does not import `huggingface_hub`.
"""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from interpbench_dataset.loading import packaged_folder
from interpbench_jax.extras import needs_extra

if TYPE_CHECKING:
    from huggingface_hub import HfApi

MESSAGE = "Upload InterpBench's dataset"
# Files that must never be published, which editors, operating systems and Python leave behind.
_LEFTOVERS = (".*", "*/.*", "*__pycache__*", "*.pyc", "*~")


class UploadError(OSError):
    """The folder could not be uploaded; the message says why and what to do."""


def upload(
    repo_id: str,
    *,
    folder: str | Path | None = None,
    token: str | None = None,
    revision: str = "main",
    create: bool = True,
    private: bool = False,
    message: str = MESSAGE,
    check: Callable[[Path], object] | None = None,
) -> str:
    """Make a dataset repository equal to a published folder, in one commit.

    Files of the repository that are not in the folder are deleted, except `.gitattributes`.
    If nothing has changed, no commit is made.

    Args:
        repo_id: the repository's id, such as `"someone/interpbench"`.
        folder: the folder to upload; the default is the packaged folder.
        token: a token with write access; the default is `HF_TOKEN`, or that of `hf auth login`.
        revision: a branch that exists.
        create: whether to create the repository if it does not exist.
        private: whether a repository that is created here is visible only to its owner.
        message: the first line of the commit message.
        check: called with the folder before anything is sent; an error that it raises ends the
            upload.

    Returns:
        The id of the commit, 40 hex digits, at which the repository equals the folder.

    Raises:
        FileNotFoundError: if the folder has no card.
        ValueError: if the repository's id is not valid, the message is empty, or the card's
            metadata is refused.
        UploadError: if the Hub cannot be reached, refuses, or has no such repository or branch;
            an OSError.
        ImportError: if huggingface_hub is not installed; the message says how to install it.
    """
    with needs_extra("hub", "Uploading the dataset to the Hugging Face Hub"):
        from huggingface_hub import HfApi
        from huggingface_hub.errors import HFValidationError

    if repo_id.count("/") != 1:
        raise ValueError(f"Expected a repository such as 'someone/interpbench', got {repo_id!r}.")
    if not message.strip():
        raise ValueError("Expected a commit message, got none.")
    path = packaged_folder() if folder is None else Path(folder).expanduser()
    if not (path / "README.md").is_file():
        raise FileNotFoundError(
            f"Expected a folder with a dataset card, found no README.md in {path}; write one with "
            "`interpbench dataset build`."
        )
    if check is not None:
        check(path)
    api = HfApi(token=token)
    try:
        return _commit(api, repo_id, path, revision, message, private if create else None)
    except HFValidationError as error:
        raise ValueError(
            f"Expected a repository such as 'someone/interpbench', got {repo_id!r}: {error}"
        ) from None
    except Exception as error:
        explained = _explained(error, api.endpoint, repo_id, revision)
        if explained is None:
            raise
        raise UploadError(explained) from error


def _commit(
    api: "HfApi", repo_id: str, folder: Path, revision: str, message: str, private: bool | None
) -> str:
    if private is not None:
        api.create_repo(repo_id, repo_type="dataset", private=private, exist_ok=True)
    commit = api.upload_folder(
        repo_id=repo_id,
        folder_path=folder,
        repo_type="dataset",
        revision=revision,
        commit_message=message,
        ignore_patterns=list(_LEFTOVERS),
        delete_patterns="*",
    )
    return commit.oid


def _explained(error: Exception, endpoint: str, repo_id: str, revision: str) -> str | None:
    """Say what was wanted, what happened and what to do; None if the error is not the Hub's."""
    from huggingface_hub import errors

    if type(error) is RuntimeError and isinstance(error.__cause__, Exception):
        error = error.__cause__  # The outer error says only which large file was being sent.
    start = f"Cannot upload to the dataset {repo_id} (branch {revision}) at {endpoint}: "
    token = "a token that may write to it (token=..., HF_TOKEN, or `hf auth login`)"
    status = error.response.status_code if isinstance(error, errors.HfHubHTTPError) else None
    # By name, because huggingface_hub 0 has requests, 1 has httpx and 2 has httpx2.
    names = {cls.__name__ for cls in type(error).__mro__}
    if isinstance(error, errors.OfflineModeIsEnabled):
        return f"{start}HF_HUB_OFFLINE is set. Unset it before Python starts."
    if isinstance(error, errors.RevisionNotFoundError):
        return f"{start}there is no such branch. Create it on the Hub, or use revision='main'."
    if status == 401:
        return f"{start}the Hub does not know who you are (401). Pass {token}."
    if status == 403:
        return f"{start}the token in use has no permission (403). Pass {token}."
    if isinstance(error, errors.RepositoryNotFoundError) or status == 404:
        missing = f"{start}there is no such repository (404), or it is private."
        return f"{missing} Pass create=True, or {token}."
    if status is not None:
        return (
            f"{start}the Hub answered {status}. Nothing was committed; try again later. ({error})"
        )
    if names & {"TransportError", "ConnectionError", "Timeout", "TimeoutError"}:
        return (
            f"{start}the Hub cannot be reached ({type(error).__name__}: {error}). Check the "
            "network, a proxy's settings and HF_ENDPOINT."
        )
    return None

"""Fetch one case's folder from a Hugging Face Hub repository into the Hub library's own cache.

The cache comes first: a case that is complete there needs no request, so a branch such as `main`
stays at the commit at which it was first fetched until `refresh=True` asks for the current one.
"""

import queue
import re
import socket
import threading
import urllib.request
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from interpbench_conversion import hub_errors
from interpbench_conversion.hub_cache import (
    WEIGHTS_PATTERNS,
    Listing,
    find_snapshot,
    is_whole,
    remember,
)
from interpbench_conversion.hub_errors import CaseNotFoundError, HubError, InvalidNameError
from interpbench_conversion.hub_source import DEFAULT_REPO, DEFAULT_REVISION, Source
from interpbench_jax.extras import needs_extra

__all__ = [
    "DEFAULT_REPO",
    "DEFAULT_REVISION",
    "CaseNotFoundError",
    "FetchedCase",
    "HubError",
    "InvalidNameError",
    "fetch_case",
]

_REACH_SECONDS = 1.5


@dataclass(frozen=True)
class FetchedCase:
    """A case's files on this machine, and the commit (40 hex digits) that they come from."""

    directory: Path
    repo_id: str
    commit: str


def fetch_case(
    case_id: str,
    *,
    repo_id: str = DEFAULT_REPO,
    revision: str = DEFAULT_REVISION,
    repo_type: str = "model",
    cache_dir: Path | None = None,
    token: str | bool | None = None,
    refresh: bool = False,
) -> FetchedCase:
    """Return the folder `<case_id>/` of a Hub repository, downloaded unless all of it is cached.

    Only a case's weights, config, circuit and metadata are downloaded, in upstream's layouts or
    ours, and the repository's `benchmark_metadata.json` where there is one. `revision` is a branch,
    a tag or a full commit hash; `refresh` asks the Hub for a branch's current commit. The endpoint,
    the cache folder and the token are the library's: HF_ENDPOINT, HF_HOME, HF_HUB_CACHE,
    HF_HUB_OFFLINE and HF_TOKEN have their usual meaning.

    Raises:
        InvalidNameError: before any request, if an id, a type or a revision is not valid.
        CaseNotFoundError: if the repository has no such case.
        HubError: if there is no connection, no answer in time, no access, a lasting server error,
            or a download that breaks each time. No partial file is kept as if it were complete.
        ImportError: if huggingface_hub is not installed; the message says how to install it.
    """
    with needs_extra("hub", "Fetching a case from the Hugging Face Hub"):
        from huggingface_hub import constants

    folder = Path(constants.HF_HUB_CACHE if cache_dir is None else cache_dir).expanduser()
    source = Source(
        case_id, repo_id, revision, repo_type, folder.absolute(), token, constants.ENDPOINT, refresh
    )
    _check_names(source)
    snapshot = None if refresh else find_snapshot(source)
    if snapshot is None:
        listing = _list_repository(source)
        _check_has_case(source, listing)
        snapshot = [_download(source, listing, name) for name in listing.files_of(case_id)][-1]
        remember(source, listing, snapshot)
    return FetchedCase(snapshot / case_id, repo_id, snapshot.name)


def _check_names(source: Source) -> None:
    from huggingface_hub.utils import HFValidationError, validate_repo_id

    # The case id is a path and part of a pattern, the revision is a path inside the cache.
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", source.case_id):
        raise InvalidNameError(
            f"Expected a case id of letters, digits, '_', '-' and '.', got {source.case_id!r}. "
            "Pass the name of the case's folder alone, such as '13' or 'ioi'."
        )
    if ".." in source.revision or not re.fullmatch(r"\w[\w./+@#-]*", source.revision):
        raise InvalidNameError(
            f"Expected a branch, a tag or a commit hash as the revision, got {source.revision!r}. "
            f"Pass '{DEFAULT_REVISION}' or a full commit hash."
        )
    if source.repo_type not in ("model", "dataset"):
        raise InvalidNameError(
            f"Expected repo_type 'model' or 'dataset', got {source.repo_type!r}."
        )
    try:
        validate_repo_id(source.repo_id)
    except HFValidationError as error:
        raise InvalidNameError(
            f"Expected a repository id such as '{DEFAULT_REPO}', got {source.repo_id!r}: {error}"
        ) from error


def _list_repository(source: Source) -> Listing:
    from huggingface_hub import HfApi

    api = HfApi(endpoint=source.endpoint, token=source.token)
    ask = api.dataset_info if source.repo_type == "dataset" else api.model_info
    try:
        _check_reachable(source.endpoint)
        info = hub_errors.retried(
            lambda: ask(
                source.repo_id,
                revision=source.revision,
                files_metadata=True,
                timeout=hub_errors.ANSWER_SECONDS,
            ),
            also=hub_errors.DROPPED,
        )
        if info.siblings is None or not re.fullmatch(r"[0-9a-f]{40}", info.sha or ""):
            raise ValueError("it names no commit or no files")
    except Exception as error:
        raise hub_errors.explained(source, "the list of files", error) from error
    sizes = {file.rfilename: file.lfs.size if file.lfs else file.size for file in info.siblings}
    return Listing(str(info.sha), sizes)


def _check_reachable(endpoint: str) -> None:
    """Raise an error within `_REACH_SECONDS` if the endpoint cannot be reached.

    A firewall may silently drop packets and name look-ups, and the library's timeouts apply to
    each address of a host and not to look-ups at all: together that can take minutes.
    """
    from huggingface_hub import constants

    address = urlsplit(endpoint)
    if constants.HF_HUB_OFFLINE or urllib.request.getproxies().keys() & {address.scheme, "all"}:
        return  # the library itself raises the error, or a proxy is in between
    outcome: queue.Queue[OSError | None] = queue.Queue()

    def connect() -> None:
        try:
            port = address.port or (80 if address.scheme == "http" else 443)
            socket.create_connection((address.hostname or "", port), timeout=_REACH_SECONDS).close()
            outcome.put(None)
        except OSError as error:
            outcome.put(error)

    threading.Thread(target=connect, daemon=True).start()
    try:
        failure = outcome.get(timeout=_REACH_SECONDS)
    except queue.Empty:
        failure = TimeoutError(f"nothing came back within {_REACH_SECONDS} s")
    if failure is not None:
        raise ConnectionError(str(failure)) from failure


def _check_has_case(source: Source, listing: Listing) -> None:
    cases = listing.cases()
    if source.case_id in cases:
        return
    in_order = sorted(cases, key=lambda case: (not case.isdigit(), len(case), case))
    weights = " or ".join(WEIGHTS_PATTERNS)
    raise CaseNotFoundError(
        f"Cannot fetch {source}: '{source.case_id}/' with {weights} is not in commit "
        f"{listing.commit}.\n"
        f"Pass one of its cases: {', '.join(in_order) or 'there is none, so check repo_id'}."
    )


def _download(source: Source, listing: Listing, name: str) -> Path:
    """Get one file, of the size that the Hub lists, into the cache, and return the snapshot."""
    try:
        for _ in range(2):
            path = _cached_or_downloaded(source, listing.commit, name)
            if is_whole(path, listing.sizes[name]):
                return path.parents[name.count("/")]
            # The library stores only complete files, but a cache that was copied may be damaged.
            path.resolve().unlink()
        raise OSError(f"it does not have the {listing.sizes[name]} bytes that the Hub lists")
    except Exception as error:
        raise hub_errors.explained(source, name, error) from error


def _cached_or_downloaded(source: Source, commit: str, name: str) -> Path:
    import huggingface_hub as hub
    from huggingface_hub.errors import LocalEntryNotFoundError

    def ask(local_files_only: bool) -> Path:
        path = hub.hf_hub_download(
            source.repo_id,
            name,
            repo_type=source.repo_type,
            revision=commit,
            cache_dir=source.cache_dir,
            token=source.token,
            endpoint=source.endpoint,
            local_files_only=local_files_only,
        )
        return Path(path)

    with suppress(LocalEntryNotFoundError):
        return ask(local_files_only=True)
    url = hub.hf_hub_url(
        source.repo_id, name, repo_type=source.repo_type, revision=commit, endpoint=source.endpoint
    )
    # The library asks this first too, but retries for minutes if no answer comes.
    hub_errors.retried(
        lambda: hub.get_hf_file_metadata(
            url, token=source.token, timeout=hub_errors.ANSWER_SECONDS, endpoint=source.endpoint
        ),
        also=hub_errors.DROPPED,
    )
    try:
        # It resumes an interrupted body, but gives up at once on a server error or a wrong size.
        return hub_errors.retried(
            lambda: ask(local_files_only=False), also=hub_errors.DROPPED | {"OSError"}
        )
    except Exception as error:
        if hub_errors.is_timeout(error):
            raise hub_errors.BodyStalledError from error
        raise

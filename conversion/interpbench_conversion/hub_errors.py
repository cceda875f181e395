"""Errors of a fetch: which of them are retried, and a message for each that says what to do.

`huggingface_hub` and its HTTP client have some thirty error classes. A caller sees `HubError`.
"""

import time
from collections.abc import Callable
from typing import TypeVar

from interpbench_conversion.hub_source import DEFAULT_REVISION, METADATA_FILE, Source

ANSWER_SECONDS = 10.0
RETRY_WAITS = (0.5, 1.0)
# The client's errors are recognized by name, because huggingface_hub 0 uses requests, 1 httpx and 2
# httpx2. The first set is for a connection that ended early, the second for a missing answer.
DROPPED = frozenset({"RemoteProtocolError", "ReadError", "WriteError", "ChunkedEncodingError"})
_LATE = frozenset({"TimeoutException", "Timeout"})

_T = TypeVar("_T")


class HubError(OSError):
    """A case could not be fetched from the Hub; the message says why and what to do."""


class CaseNotFoundError(HubError):
    """The repository is there, but has no such case at this revision."""


class InvalidNameError(HubError, ValueError):
    """A case id, repository id, repository type or revision is not valid."""


class BodyStalledError(Exception):
    """A download that the server had started stalled, and resuming it did not help."""


def retried(call: Callable[[], _T], *, also: frozenset[str]) -> _T:
    """Make a call; repeat it after a server error or an error whose class is named in `also`."""
    for wait in RETRY_WAITS:
        try:
            return call()
        except Exception as error:
            if _status(error) < 500 and type(error).__name__ not in also:
                raise
        time.sleep(wait)
    return call()


def _status(error: Exception) -> int:
    from huggingface_hub.errors import HfHubHTTPError

    return error.response.status_code if isinstance(error, HfHubHTTPError) else 0


def is_timeout(error: Exception) -> bool:
    """Whether the client gave up waiting for the server."""
    return bool(_LATE & _class_names(_unwrapped(error)))


def explained(source: Source, asked: str, error: Exception) -> HubError:
    """Convert the library's error into ours: what was wanted, what happened, what to do."""
    error = _unwrapped(error)
    happened, advice = _refusal(source, error) or _failure(source, error)
    return HubError(f"Cannot fetch {source}: {asked}: {happened}.\n{advice}")


def _unwrapped(error: Exception) -> Exception:
    """Return the cause of a `LocalEntryNotFoundError` if it has one; any other error as it is."""
    from huggingface_hub.errors import LocalEntryNotFoundError

    wrapped = isinstance(error, LocalEntryNotFoundError)
    return error.__cause__ if wrapped and isinstance(error.__cause__, Exception) else error


def _class_names(error: Exception) -> set[str]:
    return {cls.__name__ for cls in type(error).__mro__}


def _refusal(source: Source, error: Exception) -> tuple[str, str] | None:
    """Say what the Hub's error answer means and what to do; None if the Hub did not answer."""
    from huggingface_hub import errors

    status = _status(error)
    page = f"{source.endpoint}/{'' if source.repo_type == 'model' else source.repo_type + 's/'}"
    page += source.repo_id
    token = "HF_TOKEN (or `hf auth login`)"
    if isinstance(error, errors.GatedRepoError):
        advice = f"Accept its terms at {page}, then set {token}."
        return f"the repository is gated ({status})", advice
    if isinstance(error, errors.RevisionNotFoundError):
        advice = f"Pass '{DEFAULT_REVISION}' or one listed at {page}/commits/main."
        return "there is no such revision", advice
    if isinstance(error, errors.RepositoryNotFoundError):
        advice = f"Check repo_id and repo_type; if it is private, set {token}."
        return f"there is no such {source.repo_type} repository, or it is private", advice
    if isinstance(error, errors.EntryNotFoundError) and status:
        advice = f"The repository may be changing at the moment: look at {page}, then try again."
        return f"it is listed, but cannot be downloaded ({status})", advice
    if status in (401, 403):
        return f"access was refused ({status})", f"Set {token} to a token that may read {page}."
    if status == 429:
        return "too many requests (429)", f"Wait a few minutes, or set {token} for a higher limit."
    if status >= 500:
        advice = f"The fault is the server's: try again later. {_without_network(source)}"
        return f"the server failed {len(RETRY_WAITS) + 1} times ({status})", advice
    if status:
        return f"the server answered {status}", f"Check {page} and that HF_ENDPOINT is a Hub."
    return None


def _failure(source: Source, error: Exception) -> tuple[str, str]:
    """Say what went wrong where the Hub did not answer, and what to do."""
    from huggingface_hub.errors import LocalTokenNotFoundError, OfflineModeIsEnabled

    names = _class_names(error)
    offline = _without_network(source)
    if isinstance(error, OfflineModeIsEnabled):
        return "HF_HUB_OFFLINE is set, so no request is made", f"Unset it. {offline}"
    if isinstance(error, LocalTokenNotFoundError):
        return "token=True, but no token is stored", "Set HF_TOKEN, or run `hf auth login`."
    if isinstance(error, BodyStalledError):
        advice = f"Try again later, or set HF_HUB_DOWNLOAD_TIMEOUT to more seconds. {offline}"
        return "the download stalled, and resuming it did not help", advice
    if is_timeout(error):
        return f"no answer within {ANSWER_SECONDS:g} s", f"Try again later. {offline}"
    if names & DROPPED:
        advice = f"No part of it was kept: try again. {offline}"
        return f"the connection broke each time before it was complete ({error})", advice
    if names & {"ConnectionError", "NetworkError", "ProxyError"}:
        return f"there is no connection ({error})", f"Check the network and proxies. {offline}"
    if isinstance(error, OSError) and error.errno is not None:
        advice = f"Make {source.cache_dir} writable, with room, or set HF_HOME to another folder."
        return f"it could not be stored in the cache ({error})", advice
    if isinstance(error, ValueError | KeyError | TypeError):
        advice = "Check HF_ENDPOINT, and that no proxy or login page answers in its place."
        return f"the answer does not come from a Hub ({error})", advice
    return f"{type(error).__name__}: {error}", f"Try again. {offline}"


def _without_network(source: Source) -> str:
    kind = "" if source.repo_type == "model" else f" --repo-type {source.repo_type}"
    cached = "Without refresh, a copy in the cache is used. " if source.refresh else ""
    return (
        f"{cached}To work without the network, run on a machine that has one\n"
        f"    hf download {source.repo_id}{kind} --revision {source.revision} "
        f"--include '{source.case_id}/*' --include {METADATA_FILE}\n"
        f"and copy its cache to {source.cache_dir} (HF_HOME sets where it is), "
        "or pass a folder that holds the case's files as the source."
    )

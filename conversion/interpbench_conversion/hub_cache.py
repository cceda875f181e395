"""Look up a case in the Hub library's cache, and decide whether it is complete there.

A snapshot folder in that cache may be partial (only another case was fetched, or a download was
killed), so a folder is compared with a list of the commit's files: the one that we store beside the
snapshots after a fetch, or the one that `hf download` left. Where there is no list, nothing less
than a full layout (weights, config, circuit and upstream's metadata) counts as complete.
"""

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from interpbench_conversion.hub_source import METADATA_FILE, Source
from interpbench_jax.storage import write_files

WEIGHTS_PATTERNS = ("ll_model*.pth", "model.safetensors")
OTHER_PATTERNS = (
    "edges.pkl",
    "ll_model_cfg*.pkl",
    "meta*.json",
    "corr*.json",
    "training_args.json",
    "config.json",
    "circuit.json",
)

_LISTINGS_FOLDER = "interpbench-jax"


@dataclass(frozen=True)
class Listing:
    """Every file of one commit, with its size in bytes if that is known."""

    commit: str
    sizes: Mapping[str, int | None]

    def cases(self) -> set[str]:
        """The cases in the commit: the folders at its root that hold weights."""
        paths = [name.split("/") for name in self.sizes]
        return {path[0] for path in paths if len(path) == 2 and _fits(path[1], WEIGHTS_PATTERNS)}

    def files_of(self, case_id: str) -> list[str]:
        """Return the repository's metadata, then the case's files, the weights last."""
        names = [METADATA_FILE] if METADATA_FILE in self.sizes else []
        inside = sorted(name for name in self.sizes if name.rpartition("/")[0] == case_id)
        for patterns in (OTHER_PATTERNS, WEIGHTS_PATTERNS):
            names += [name for name in inside if _fits(name.rpartition("/")[2], patterns)]
        return names


def _fits(file_name: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(file_name, pattern) for pattern in patterns)


def is_whole(path: Path, size: int | None) -> bool:
    """Whether the file is there and, if its size is known, has that size."""
    return path.is_file() and size in (None, path.stat().st_size)


def find_snapshot(source: Source) -> Path | None:
    """Return the cached folder of the revision's commit; None if it lacks a file of the case."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        path = snapshot_download(
            source.repo_id,
            repo_type=source.repo_type,
            revision=source.revision,
            cache_dir=source.cache_dir,
            local_files_only=True,
            allow_patterns=[],  # the required files are checked below
        )
    except LocalEntryNotFoundError:
        return None
    snapshot = Path(path)
    listing = _read_listing(source, snapshot)
    if listing is None:
        whole = _is_full_layout(snapshot / source.case_id)
    else:
        whole = source.case_id in listing.cases() and all(
            is_whole(snapshot / name, listing.sizes[name])
            for name in listing.files_of(source.case_id)
        )
    return snapshot if whole else None


def _read_listing(source: Source, snapshot: Path) -> Listing | None:
    with suppress(OSError, ValueError):
        return Listing(snapshot.name, json.loads(_listing_path(snapshot).read_text()))
    try:
        from huggingface_hub import get_cached_repo_tree
        from huggingface_hub.errors import CachedRepoTreeNotFoundError
    except ImportError:  # huggingface_hub 1 keeps no list of its own
        return None
    try:
        files = get_cached_repo_tree(
            source.repo_id,
            repo_type=source.repo_type,
            revision=snapshot.name,
            cache_dir=source.cache_dir,
        )
    except CachedRepoTreeNotFoundError:
        return None
    return Listing(snapshot.name, {file.path: None for file in files})


def _is_full_layout(folder: Path) -> bool:
    """Whether all files of one layout are there, to which a list could hardly add any."""
    present = {path.name for path in folder.glob("*") if path.is_file()}
    layouts = [{"model.safetensors", "config.json", "circuit.json"}]
    for weights in folder.glob("ll_model*.pth"):
        suffix = weights.stem.removeprefix("ll_model")
        others = {"edges.pkl", f"ll_model_cfg{suffix}.pkl", f"meta{suffix}.json"}
        layouts.append({weights.name} | others)
    return any(layout <= present for layout in layouts)


def _listing_path(snapshot: Path) -> Path:
    return snapshot.parents[1] / _LISTINGS_FOLDER / f"{snapshot.name}.json"


def remember(source: Source, listing: Listing, snapshot: Path) -> None:
    """Store the list, and the commit of the branch or tag; call it once every file is there."""
    # A cache that someone else owns may be read-only; then the next call asks the Hub again.
    with suppress(OSError):
        paths = {_listing_path(snapshot): json.dumps(dict(listing.sizes), indent=0)}
        if source.revision != listing.commit:
            paths[snapshot.parents[1] / "refs" / source.revision] = listing.commit
        for path in paths:
            path.parent.mkdir(parents=True, exist_ok=True)
        write_files(paths)

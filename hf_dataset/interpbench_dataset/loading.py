"""The packaged dataset, opened without a network through the `datasets` library.

Importing this module does not import `datasets`.
"""

import errno
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Literal, cast, overload

from interpbench_dataset.packaged import packaged_folder as packaged_folder
from interpbench_jax.extras import needs_extra
from interpbench_jax.storage import digest_file, read_text
from interpbench_jax.texts import cut_off

if TYPE_CHECKING:
    from datasets import BuilderConfig, Dataset, DatasetBuilder, IterableDataset
    from datasets.load import DatasetModule

TABLES = ("cases", "circuits")
_MOST_CARD_BYTES = 2**24
_REINSTALL = "Reinstall interpbench-jax, or rebuild the folder with `interpbench dataset build`."
# The card has the digest of a configuration's one file in its description.
_DIGEST = re.compile(r"\bsha256[:= ]\s*([0-9a-f]{64})\b")
_UNWRITABLE = frozenset(
    {
        errno.EACCES,
        errno.EPERM,
        errno.EROFS,
        errno.ENOSPC,
        errno.EDQUOT,
        errno.ENOTDIR,
        errno.EEXIST,
    }
)


class StaleDataError(ValueError):
    """A file of the packaged folder is not the one that the folder's card describes."""


@overload
def load_dataset(
    name: str = ...,
    split: str = ...,
    *,
    streaming: Literal[False] = ...,
    cache_dir: str | Path | None = ...,
) -> "Dataset": ...
@overload
def load_dataset(
    name: str = ...,
    split: str = ...,
    *,
    streaming: Literal[True],
    cache_dir: str | Path | None = ...,
) -> "IterableDataset": ...


def load_dataset(
    name: str = "cases",
    split: str = "test",
    *,
    streaming: bool = False,
    cache_dir: str | Path | None = None,
) -> "Dataset | IterableDataset":
    """Load rows of the packaged dataset offline: a case's pairs, or a table of all cases.

    Args:
        name: a case's id such as `"11"`, or `"cases"` or `"circuits"`.
        split: a split or a part of one in the syntax of `datasets`, such as `"test[:100]"`.
        streaming: whether to read the rows on demand, instead of a copy in the cache.
        cache_dir: the cache to use instead of `datasets`' own; streaming needs one too.

    Returns:
        A `Dataset`, or an `IterableDataset` if streaming. A case's columns are `input_ids`,
        `corrupted_input_ids`, `target` and `corrupted_target`, each a list of fixed length.

    Raises:
        ImportError: if `datasets` is not installed.
        TypeError: if the name or the split is not a string.
        ValueError: if there is no such name or split.
        StaleDataError: if a file was changed after the card was written; a ValueError.
        OSError: if the cache cannot be written.
    """
    for argument, value, example in (("name", name, "11"), ("split", split, "test")):
        if not isinstance(value, str):
            raise TypeError(
                f"Expected {argument} to be a string such as {example!r}, got {value!r} of type "
                f"{type(value).__name__}."
            )
    datasets = import_datasets()
    folder = packaged_folder()
    with _cache_errors_explained(cache_dir, folder), card_errors_explained(folder):
        builder = _builder(datasets, folder, name, cache_dir)
        _check_split(builder, name, split)
        if streaming:
            _check_whole(builder, split)
            return cast("IterableDataset", builder.as_streaming_dataset(split=split))
        builder.download_and_prepare()
        return cast("Dataset", builder.as_dataset(split=split))


def import_datasets() -> ModuleType:
    """Import and return the `datasets` library.

    Raises:
        ImportError: if it is not installed; the message says how to install it.
    """
    with needs_extra("dataset", "Loading the dataset"):
        import datasets
    return datasets


@contextmanager
def card_errors_explained(folder: Path) -> Iterator[None]:
    """Name the file at fault if `datasets` fails because of a damaged card.

    Raises:
        OSError: if the card cannot be read.
        StaleDataError: if it is not there, or `datasets` does not understand it.
        ValueError: if it is not a regular file, not text, or too large for a card.
    """
    card = folder / "README.md"
    try:
        read_text(card, _MOST_CARD_BYTES)
        yield
    except FileNotFoundError as error:
        if card.exists():
            raise
        raise StaleDataError(
            f"Expected the card of the published dataset at {card}, found none: the folder is "
            "being built at the moment, or a build was stopped. Wait for it, or run `interpbench "
            "dataset build` again."
        ) from error
    except (ImportError, OSError, ValueError):
        raise
    # For invalid or unexpected YAML, `datasets` may raise any error.
    except Exception as error:
        raise StaleDataError(
            f"Expected the card of the published dataset at {card}, got one that is not "
            f"understood: {type(error).__name__}: {str(error)[:300]}. {_REINSTALL}"
        ) from error


def check_digests(module: "DatasetModule", folder: Path) -> None:
    """Check every file that `datasets` found in the folder against the folder's card.

    `datasets` keys its cache by the card's text, so a table that was changed under an unchanged
    card would otherwise not be read again.

    Raises:
        StaleDataError: if a file does not have its configuration's digest.
    """
    for config in module.builder_configs_parameters.builder_configs or []:
        _check_digest(config, folder)


def _builder(
    datasets: ModuleType, folder: Path, name: str, cache_dir: str | Path | None
) -> "DatasetBuilder":
    cache = None if cache_dir is None else str(cache_dir)
    try:
        # With an empty name, `datasets` would take the default.
        builder = datasets.load_dataset_builder(str(folder), name or "-", cache_dir=cache)
    except ValueError:
        names = datasets.get_dataset_config_names(str(folder))
        if name in names:
            raise
        raise ValueError(
            f"Expected one of InterpBench's cases or tables, got {name!r}"
            f"{_suggestion(name, names)}; there are: {', '.join(names)}."
        ) from None
    _check_digest(builder.config, folder)
    return builder


def _check_digest(config: "BuilderConfig", folder: Path) -> None:
    paths = [folder / path for paths in (config.data_files or {}).values() for path in paths]
    expected = _DIGEST.findall(config.description or "")
    actual = [digest_file(path) for path in paths]
    if sorted(expected) != sorted(actual):
        names = cut_off([str(path) for path in paths])
        raise StaleDataError(
            f"Expected the data of {config.name!r} to have the SHA-256 in the card of {folder}, "
            f"{cut_off(expected) or 'which has none'}; {names} has {cut_off(actual)}. "
            f"{_REINSTALL}"
        )


def _check_split(builder: "DatasetBuilder", name: str, split: str) -> None:
    splits = list(builder.info.splits or ())
    asked = re.findall(r"(?:^|\+)\s*([^\s\[+]*)", split)
    if all(each in splits for each in asked):
        return
    hint = _suggestion(split, splits)
    if "train" in asked and name not in TABLES:
        sample = f"interpbench_jax.CASES[{name!r}].sample(n, seed, split='train')"
        hint = f"; training pairs are not shipped but drawn: {sample}"
    raise ValueError(
        f"Expected a split of {name!r}, one of {', '.join(splits)}, got {split!r}{hint}."
    )


def _check_whole(builder: "DatasetBuilder", split: str) -> None:
    if split not in (builder.info.splits or ()):
        raise ValueError(
            f"Expected a whole split to stream, got {split!r}; stream all of it and use skip and "
            "take, or load without streaming."
        )


def _suggestion(word: str, known: Sequence[str]) -> str:
    candidates = [re.sub(r"\D", "", word), *get_close_matches(word.strip().lower(), known, n=1)]
    matches = [candidate for candidate in candidates if candidate in known]
    return f" (did you mean {matches[0]!r}?)" if matches else ""


@contextmanager
def _cache_errors_explained(cache_dir: str | Path | None, folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        from datasets import config

        cache = config.HF_DATASETS_CACHE if cache_dir is None else cache_dir
        path = Path(str(error.filename or ""))
        is_in_cache = path.is_relative_to(Path(cache).expanduser())
        if path.is_relative_to(folder) or (error.errno not in _UNWRITABLE and not is_in_cache):
            raise
        raise OSError(
            error.errno,
            f"Cannot write datasets' cache in {cache}: {error.strerror} ({error.filename}). Pass a "
            "writable folder as cache_dir, or set HF_DATASETS_CACHE to one before "
            "Python starts",
        ) from error

"""Writing files so that nothing is lost on a full disk or when the process is killed."""

import errno
import os
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path

from interpbench_jax.storage.temporary import TemporaryFile, remove_abandoned

# The disk is full, a quota is used up, or the file exceeds a size limit.
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def make_folder(folder: Path) -> Path:
    """Create a folder to write into, with its parents, if it does not exist.

    Raises:
        NotADirectoryError: if something else is in its place, or in the place of a parent.
        PermissionError: if it may not be created, or does not accept new files.
        OSError: if it cannot be created, because the disk is full for instance.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        kind = "a symbolic link that leads nowhere" if folder.is_symlink() else "a file"
        raise NotADirectoryError(
            errno.ENOTDIR,
            f"Expected a folder to write into, got {folder}, where there is {kind}; choose another",
        ) from None
    except PermissionError as error:
        raise PermissionError(
            error.errno,
            f"Expected to create the folder {folder}, but its place is read-only; choose another",
        ) from None
    if not os.access(folder, os.W_OK | os.X_OK):
        raise PermissionError(
            errno.EACCES,
            f"Expected a writable folder, got {folder}, which is read-only; choose another",
        )
    return folder


def write_file(path: Path, content: bytes | str) -> None:
    """Write a file as in `write_files`: a reader sees all of it or what was there before."""
    write_files({path: content})


def write_files(
    contents: Mapping[Path, bytes | str],
    remove: Iterable[Path] = (),
    *,
    outdated: Iterable[Path] = (),
) -> None:
    """Write files that belong together, in a given order.

    Everything is encoded, and written beside its target under a temporary name, before the first
    file is replaced, so a full disk or text that cannot be encoded changes nothing. The files are
    then moved into place one after the other, and old ones are removed at the end. What a killed
    process left under a temporary name is removed the next time that its target is written. For a
    symbolic link, its target is replaced, not the link. Content for a device or a pipe is written
    to it directly; a device is never replaced by a file.

    Args:
        contents: the contents by path, in the order in which the files appear; the last file
            should be the one that tells readers that all are there.
        remove: old files that do not belong with the new ones.
        outdated: old files that would be wrong beside a new one: they are removed after everything
            is written beside its target, and before the first file is moved into place.

    Raises:
        OSError: if a folder cannot be written, or the disk is full. No temporary file is left, and
            existing files are unchanged unless the error came while files were moved into place.
        ValueError: if a text cannot be encoded, or two paths lead to the same file.
    """
    encoded = {Path(path): _encode(Path(path), content) for path, content in contents.items()}
    beside: dict[Path, TemporaryFile] = {}
    try:
        for path, data in encoded.items():
            target = Path(os.path.realpath(path))
            if target in beside:
                raise ValueError(f"Expected different files to write, got {target} twice.")
            if _is_special(target):
                with target.open("wb") as file:
                    file.write(data)
            else:
                remove_abandoned(target)
                beside[target] = TemporaryFile(target, data)
        for path in outdated:
            path.unlink(missing_ok=True)
        for target, temporary in list(beside.items()):
            temporary.replace()
            del beside[target]
    except OSError as error:
        if error.errno in FULL:
            raise _full(encoded, error) from error
        raise
    finally:
        for temporary in beside.values():
            temporary.discard()
    for path in remove:
        path.unlink(missing_ok=True)


def remove_leftovers(folder: Path, name: str) -> None:
    """Remove temporary files that a killed process left, of files whose names start with `name`."""
    for path in folder.glob(f".{name}*"):
        if path.is_file():
            path.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Flush a folder to disk, so that its file names survive a power failure."""
    if os.name == "nt":
        return  # Windows cannot open folders.
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _encode(path: Path, content: bytes | str) -> bytes:
    if isinstance(content, bytes):
        return content
    try:
        return content.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ValueError(
            f"Expected text that UTF-8 can encode for {path}, got {content[error.start]!a} at "
            f"character {error.start}."
        ) from None


def _is_special(path: Path) -> bool:
    """Whether the path exists and is neither a regular file nor a folder."""
    try:
        mode = path.stat().st_mode  # raises the error for a loop of symbolic links
    except (FileNotFoundError, NotADirectoryError):
        return False
    return not stat.S_ISREG(mode) and not stat.S_ISDIR(mode)


def _full(contents: Mapping[Path, bytes], error: OSError) -> OSError:
    size = sum(map(len, contents.values()))
    paths = list(map(str, contents))
    where = paths[0] if len(paths) == 1 else f"{len(paths)} files in {Path(paths[0]).parent}"
    return OSError(
        error.errno,
        f"Expected room for {size:,} bytes to write {where}, but the disk is full or a quota is "
        "used up; free some space, or write elsewhere. Existing files are unchanged",
    )

"""Writing files so that nothing is lost: not on a full disk, nor when the process is killed."""

import errno
import os
import stat
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path

# The disk is full, a quota is used up, or a file may not be so large.
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def make_folder(folder: Path) -> Path:
    """A folder to write into, made with its parents where there is none.

    Raises:
        NotADirectoryError: if there is something else in its place, or in that of a parent.
        PermissionError: if it cannot be made, or does not take new files.
        OSError: if the disk does not take it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        kind = "a symbolic link that leads nowhere" if folder.is_symlink() else "a file"
        raise NotADirectoryError(
            errno.ENOTDIR,
            f"Expected a folder to write into, got {folder}, where there is {kind}; name another",
        ) from None
    except PermissionError as error:
        raise PermissionError(
            error.errno,
            f"Expected to make the folder {folder}, but no new files are taken there; name another",
        ) from None
    if not os.access(folder, os.W_OK | os.X_OK):
        raise PermissionError(
            errno.EACCES,
            f"Expected a folder that takes new files, got {folder}, which does not; name another",
        )
    return folder


def write_file(path: Path, content: bytes | str) -> None:
    """Write a file so that a reader sees all of it or what was there before; as `write_files`."""
    write_files({path: content})


def write_files(contents: Mapping[Path, bytes | str], remove: Iterable[Path] = ()) -> None:
    """Write files that belong together, in an order.

    Everything is encoded, and written beside its place under another name, before the first file
    is replaced; so a full disk, or text that has no encoding, changes nothing. The files then take
    their places one after the other, and old ones are removed at the end. What stands behind a
    symbolic link is replaced, not the link. To a device or a pipe the content is written as it
    is; a device is never replaced by a file.

    Args:
        contents: by path, in the order in which they appear; the last one should be what tells
            readers that all are there.
        remove: files that do not belong to the new ones.

    Raises:
        OSError: if a folder cannot be written, or the disk is full; the files that were there are
            unchanged, and nothing is left behind.
        ValueError: if a text cannot be encoded, or two paths lead to one file.
    """
    encoded = {Path(path): _encode(Path(path), content) for path, content in contents.items()}
    beside: dict[Path, Path] = {}
    try:
        for path, data in encoded.items():
            target = Path(os.path.realpath(path))
            if target in beside:
                raise ValueError(f"Expected different files to write, got {target} twice.")
            if _is_special(target):
                with target.open("wb") as file:
                    file.write(data)
            else:
                beside[target] = _write_beside(target, data)
        for target, temporary in list(beside.items()):
            os.replace(temporary, target)
            del beside[target]
    except OSError as error:
        if error.errno in FULL:
            raise _full(encoded, error) from error
        raise
    finally:
        for temporary in beside.values():
            temporary.unlink(missing_ok=True)
    for path in remove:
        path.unlink(missing_ok=True)


def remove_leftovers(folder: Path, name: str) -> None:
    """Remove what a process that was killed left of files whose names start so."""
    for path in folder.glob(f".{name}*"):
        if path.is_file():
            path.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder outlive a loss of power."""
    if os.name == "nt":
        return  # Windows opens no folders.
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
            f"Expected text that UTF-8 can hold for {path}, got {content[error.start]!a} at "
            f"character {error.start}."
        ) from None


def _is_special(path: Path) -> bool:
    """Whether there is something that is neither a file nor a folder."""
    try:
        mode = path.stat().st_mode  # of a loop of symbolic links, there is none
    except (FileNotFoundError, NotADirectoryError):
        return False
    return not stat.S_ISREG(mode) and not stat.S_ISDIR(mode)


def _write_beside(target: Path, data: bytes) -> Path:
    """The content in a new file of the target's folder, safely on disk."""
    if target.is_dir():
        raise IsADirectoryError(
            errno.EISDIR, f"Expected a file to write at {target}, got a folder; name another"
        )
    try:
        handle, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(target)) from None
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, _mode_for(target))
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return temporary


def _mode_for(target: Path) -> int:
    """The permissions of the file that is replaced, or those of a new one."""
    try:
        return stat.S_IMODE(target.stat().st_mode)
    except OSError:
        umask = os.umask(0)
        os.umask(umask)
        return 0o666 & ~umask  # mkstemp makes private files


def _full(contents: Mapping[Path, bytes], error: OSError) -> OSError:
    size = sum(map(len, contents.values()))
    paths = list(map(str, contents))
    where = paths[0] if len(paths) == 1 else f"{len(paths)} files in {Path(paths[0]).parent}"
    return OSError(
        error.errno,
        f"Expected room for {size:,} bytes to write {where}, but the disk is full or a quota is "
        "used up; free some, or write elsewhere. What was there before is unchanged",
    )

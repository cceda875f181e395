"""Checkpoints of a stack of models, written by orbax: each appears complete or not at all."""

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from interpbench_jax.extras import needs_extra
from interpbench_jax.storage import FULL, make_folder

_PREFIX = "epoch_"


class Checkpoint(NamedTuple):
    """The state of training after an epoch.

    Attributes:
        epoch: number of finished epochs.
        state: the arrays from which training resumes.
    """

    epoch: int
    state: PyTree


class Checkpoints:
    """The checkpoints of one stack, in a folder of their own; only the last is kept.

    A new one is written beside the old one under another name and renamed when it is complete, and
    only then is the old one removed: whenever the process is killed, a complete one remains.
    """

    def __init__(self, directory: Path) -> None:
        with needs_extra("train", "Saving checkpoints"):
            import orbax.checkpoint

        self.directory = Path(os.path.realpath(directory))
        self._orbax = orbax.checkpoint.StandardCheckpointer()

    def save(self, checkpoint: Checkpoint) -> None:
        """Write a checkpoint and remove the earlier ones.

        Raises:
            OSError: if the folder cannot be written.
        """
        make_folder(self.directory)
        path = self.directory / f"{_PREFIX}{checkpoint.epoch}"
        packed = _pack(checkpoint.state)
        # On a full disk, orbax prints pages of output from its own threads.
        self._check_room(sum(array.nbytes for array in packed.values()))
        self._orbax.save(path, packed, force=True)
        self._orbax.wait_until_finished()
        for other in self.directory.iterdir():
            # An older checkpoint, or an unfinished one of a killed process; nothing else is ours.
            if other != path and other.name.startswith(_PREFIX) and other.is_dir():
                shutil.rmtree(other)

    def _check_room(self, n_bytes: int) -> None:
        """Raise an error before writing more than the disk has room for.

        Raises:
            OSError: if there is no room for `n_bytes` bytes.
        """
        if not hasattr(os, "posix_fallocate"):
            return
        try:
            with tempfile.TemporaryFile(dir=self.directory) as file:
                os.posix_fallocate(file.fileno(), 0, max(1, n_bytes))
        except OSError as error:
            if error.errno not in FULL:
                raise
            raise OSError(
                error.errno,
                f"Expected room for {n_bytes:,} bytes to write a checkpoint into {self.directory}, "
                "but the disk is full or a quota is used up; free some space and train again: the "
                "previous checkpoint is still there",
            ) from None

    def restore(self, like: PyTree) -> Checkpoint | None:
        """Read the last checkpoint; None if there is none.

        Args:
            like: a state of the same structure, shapes and dtypes.

        Raises:
            ValueError: if the checkpoint is damaged or belongs to other models.
        """
        folders = self._folders()
        if not folders:
            return None
        path = max(folders, key=_epoch_of)
        try:
            packed = self._orbax.restore(path, _pack(like))
        except Exception as error:
            raise ValueError(
                f"Expected a checkpoint of this training in {path}, got one that is damaged or "
                f"belongs to other models ({type(error).__name__}); delete "
                f"{self.directory.parent} to train from the start."
            ) from error
        return Checkpoint(_epoch_of(path), _unpack(packed, like))

    def clear(self) -> None:
        """Remove every checkpoint, including unfinished ones of a killed process."""
        shutil.rmtree(self.directory, ignore_errors=True)

    def close(self) -> None:
        """Release the resources that orbax holds."""
        self._orbax.close()

    def _folders(self) -> list[Path]:
        if not self.directory.is_dir():
            return []
        return [
            path
            for path in self.directory.iterdir()
            if path.name.removeprefix(_PREFIX).isdecimal() and path.is_dir()
        ]


def _epoch_of(path: Path) -> int:
    return int(path.name.removeprefix(_PREFIX))


def _pack(state: PyTree) -> dict[str, Any]:
    """Join all arrays of one dtype, because orbax writes files per array and ours are tiny."""
    leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(state)]
    types = sorted({leaf.dtype.name for leaf in leaves})
    return {
        name: np.concatenate([leaf.ravel() for leaf in leaves if leaf.dtype.name == name])
        for name in types
    }


def _unpack(packed: dict[str, Any], like: PyTree) -> PyTree:
    leaves, structure = jax.tree.flatten(like)
    offsets = dict.fromkeys(packed, 0)
    found = []
    for leaf in leaves:
        name = np.asarray(leaf).dtype.name
        start = offsets[name]
        offsets[name] = start + leaf.size
        array = np.asarray(packed[name])[start : offsets[name]].reshape(leaf.shape)
        found.append(jnp.asarray(array) if isinstance(leaf, jax.Array) else array)
    return jax.tree.unflatten(structure, found)

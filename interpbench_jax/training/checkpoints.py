"""Checkpoints of a stack of models, by orbax: each appears whole or not at all."""

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
    """Where training stands after an epoch.

    Attributes:
        epoch: epochs done.
        state: what training goes on from; arrays.
    """

    epoch: int
    state: PyTree


class Checkpoints:
    """The checkpoints of one stack, in a folder of their own; only the last is kept.

    A new one is written beside the old one under another name and renamed when it is complete, and
    only then is the old one removed: whenever the process is killed, one whole checkpoint is left.
    """

    def __init__(self, directory: Path) -> None:
        with needs_extra("train", "Keeping checkpoints"):
            import orbax.checkpoint

        self.directory = Path(os.path.realpath(directory))
        self._orbax = orbax.checkpoint.StandardCheckpointer()

    def save(self, checkpoint: Checkpoint) -> None:
        """Write a checkpoint and remove those before it.

        Raises:
            OSError: if the folder cannot be written.
        """
        make_folder(self.directory)
        path = self.directory / f"{_PREFIX}{checkpoint.epoch}"
        packed = _pack(checkpoint.state)
        # Orbax on a full disk prints pages out of threads of its own.
        self._check_room(sum(array.nbytes for array in packed.values()))
        self._orbax.save(path, packed, force=True)
        self._orbax.wait_until_finished()
        for other in self.directory.iterdir():
            # An older one, or what a killed process left half-written; nothing else is ours.
            if other != path and other.name.startswith(_PREFIX) and other.is_dir():
                shutil.rmtree(other)

    def _check_room(self, n_bytes: int) -> None:
        """Refuse to begin what the disk does not hold.

        Raises:
            OSError: if there is no room for so much.
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
                "but the disk is full or a quota is used up; free some and train again: the "
                "checkpoint before is still there",
            ) from None

    def restore(self, like: PyTree) -> Checkpoint | None:
        """The last checkpoint; None where there is none.

        Args:
            like: a state of the same structure, shapes and types.

        Raises:
            ValueError: if the checkpoint is damaged or of other models.
        """
        folders = self._folders()
        if not folders:
            return None
        path = max(folders, key=_epoch_of)
        try:
            packed = self._orbax.restore(path, _pack(like))
        except Exception as error:
            raise ValueError(
                f"Expected a checkpoint of this training in {path}, got one that is damaged or of "
                f"other models ({type(error).__name__}); delete {self.directory.parent} to train "
                "anew."
            ) from error
        return Checkpoint(_epoch_of(path), _unpack(packed, like))

    def clear(self) -> None:
        """Remove every checkpoint, and what a killed process left half-written."""
        shutil.rmtree(self.directory, ignore_errors=True)

    def close(self) -> None:
        """Give back what orbax holds."""
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
    """All arrays of one type as one, because orbax writes files per array and ours are tiny."""
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

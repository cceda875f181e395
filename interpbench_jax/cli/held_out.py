"""The `key` command, which makes and shows the keys of private tasks."""

import os
from pathlib import Path
from typing import Annotated

import typer

from interpbench_jax.cli.console import JsonOption, check_file, print_json
from interpbench_jax.cli.terminal import say


def key(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="The key's file.", show_default=False)
    ],
    new: Annotated[
        bool, typer.Option("--new", help="Draw a new key and write it to FILE.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Show the hundred private tasks that a secret key draws, or draw a new key.

    Nobody can tell what the tasks are without the key. If its SHA-256 is published
    beforehand, everybody can check later that the tasks have stayed the same. While
    INTERPBENCH_PRIVATE_KEY names the file, every command knows the tasks by their ids.
    """
    from interpbench_jax.cases.generated.held_out import KEY_VARIABLE, SecretKey

    if new:
        check_file(file)
        _write_new(file, SecretKey.draw().text)
    own = SecretKey.read(file)
    ids = own.ids
    if as_json:
        print_json({"file": str(file), "sha256": own.digest, "tasks": list(ids)})
        return
    say(f"Key:     {file} (secret; without it nobody can draw the tasks again)")
    say(f"SHA-256: {own.digest} (to be published)")
    say(f"Tasks:   {ids[0]} to -{len(ids)}")
    say(f"To use:  export {KEY_VARIABLE}={file.absolute()}")


def _write_new(file: Path, text: str) -> None:
    """Write a file that only its owner can read, unless there is one of this name already."""
    try:
        handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise FileExistsError(
            f"Expected a new file for the key, found {file} already; a lost key cannot be had "
            "again, so no file is overwritten."
        ) from None
    try:
        with os.fdopen(handle, "w", encoding="ascii") as target:
            target.write(text)
    except OSError:
        file.unlink(missing_ok=True)
        raise

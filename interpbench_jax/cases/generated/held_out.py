"""Held-out tasks: random ones on which to try a method that was developed on other tasks.

A hundred are public: `held-out-1` to `held-out-100`. Whoever compares methods draws a hundred of
their own with a secret key: `private-0f3c…-1` to `-100`, where the hexadecimal digits are the
beginning of the key's SHA-256. So the name of a private task says which key it was drawn with, and
nothing about the task.
"""

import hashlib
import hmac
import os
import re
import secrets
from dataclasses import dataclass, field, replace
from pathlib import Path

from interpbench_jax.cases.generated.dials import Dials
from interpbench_jax.cases.generated.task import (
    RECIPE,
    SILENCE,
    GeneratedTask,
    generate,
    silence,
)
from interpbench_jax.storage import read_text
from interpbench_jax.texts import shown

N_TASKS = 100
PUBLIC = "held-out"
PRIVATE = "private"
KEY_VARIABLE = "INTERPBENCH_PRIVATE_KEY"

_SHAPE = re.compile(rf"({PUBLIC}|{PRIVATE}-(?P<key>[0-9a-f]{{16}}))-(?P<number>[1-9][0-9]{{0,2}})")
_MAX_BYTES = 1_000
_KEY_TEXT = re.compile(r"[0-9a-f]{64}")
_TWO_TASKS = Dials(hops=2, tasks=2, scattered=True, d_model=32)
_LEAK = Dials(hops=2, leak=(0.03, 0.3), scattered=True)
_RARE = Dials(tasks=2, markers=2, scattered=True, d_model=32)
_IDEAS = (_TWO_TASKS, _LEAK, _RARE)  # The tasks of a set take turns with these.


class PrivateTaskError(ValueError):
    """A private task is asked for without the key that it was drawn with."""


@dataclass(frozen=True)
class SecretKey:
    """The key that a private set of tasks is drawn with.

    Attributes:
        value: 32 random bytes.
    """

    value: bytes = field(repr=False)

    @classmethod
    def draw(cls) -> "SecretKey":
        """A new key, from the operating system's source of secrets."""
        return cls(secrets.token_bytes(32))

    @classmethod
    def read(cls, path: Path | str) -> "SecretKey":
        """Read a key from a file.

        Raises:
            OSError: if the file cannot be read.
            ValueError: if it is no regular file, or does not hold a key.
        """
        text = read_text(Path(path), _MAX_BYTES).strip()
        if not _KEY_TEXT.fullmatch(text):
            raise ValueError(f"Expected 64 hexadecimal digits, a key, in {path}; found other text.")
        return cls(bytes.fromhex(text))

    @property
    def text(self) -> str:
        """The content of the key's file."""
        return f"{self.value.hex()}\n"

    @property
    def digest(self) -> str:
        """The SHA-256 of the key; published beforehand, it binds its owner to the tasks."""
        return hashlib.sha256(self.value).hexdigest()

    @property
    def ids(self) -> tuple[str, ...]:
        """The ids of the private tasks."""
        return tuple(f"{PRIVATE}-{self.digest[:16]}-{n}" for n in range(1, N_TASKS + 1))


def is_held_out(case_id: str) -> bool:
    """Whether a name begins like the id of a held-out task."""
    return case_id.startswith((f"{PUBLIC}-", f"{PRIVATE}-"))


def draw_held_out(case_id: str) -> GeneratedTask:
    """The held-out task of an id.

    Raises:
        PrivateTaskError: if it is private, and the environment variable `INTERPBENCH_PRIVATE_KEY`
            does not name the file of its key; a ValueError.
        ValueError: if it is no such id.
    """
    found = _SHAPE.fullmatch(case_id)
    if found is None or int(found["number"]) > N_TASKS:
        raise ValueError(
            f"Expected {PUBLIC}-1 to {PUBLIC}-{N_TASKS}, or {PRIVATE}-, sixteen hexadecimal "
            f"digits and such a number; got {shown(case_id)}."
        )
    number = int(found["number"])
    secret = b"public" if found["key"] is None else _key_of(case_id, found["key"]).value
    return _draw(case_id, secret, number)


def _key_of(case_id: str, start: str) -> SecretKey:
    path = os.environ.get(KEY_VARIABLE)
    if not path:
        raise PrivateTaskError(
            f"Expected the file of the key that {case_id!r} was drawn with in {KEY_VARIABLE}, "
            "which is not set. Only whoever drew private tasks can tell what they are."
        )
    try:
        key = SecretKey.read(path)
    except (OSError, ValueError) as error:
        raise PrivateTaskError(f"{KEY_VARIABLE} is no key for {case_id!r}: {error}") from error
    if not key.digest.startswith(start):
        raise PrivateTaskError(
            f"Expected the key whose SHA-256 begins with {start} for {case_id!r}, got in {path} "
            f"one whose SHA-256 begins with {key.digest[:16]}."
        )
    return key


def _draw(case_id: str, secret: bytes, number: int) -> GeneratedTask:
    drawn = hmac.digest(secret, str(number).encode(), "sha256")
    dials = _IDEAS[(number - 1) % len(_IDEAS)]
    recipe = silence(RECIPE, SILENCE) if dials is _RARE else RECIPE
    task = generate(int.from_bytes(drawn[:8], "big"), dials, recipe=recipe)
    return replace(task.first_task if dials is _TWO_TASKS else task, case_id=case_id)

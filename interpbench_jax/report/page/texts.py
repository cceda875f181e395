"""Texts about a case that a benchmark's files do not contain."""

from dataclasses import dataclass


@dataclass(frozen=True)
class CaseText:
    """What the declaration of a case says about its task.

    Attributes:
        description: what the model computes.
        program: the program as text, one step per line; empty if there is none.
        note: facts to know before comparing with upstream; empty if there are none.
        releases: the releases of InterpBench that have the task; empty if they are not known.
    """

    description: str
    program: str = ""
    note: str = ""
    releases: tuple[str, ...] = ()

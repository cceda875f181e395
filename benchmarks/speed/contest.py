"""Contestants as processes that stay alive together and run in turn, one at a time.

The speed of a shared machine drifts by half or more within minutes, so only alternating runs can be
compared.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.speed.process import ContestantError, Entry, Process

_LONG_RUN_SECONDS = 20.0
_FEW_ROUNDS = 2
# After a run, its threads may keep spinning for a short while in case more work comes.
_PAUSE_SECONDS = 0.2

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Runs:
    """The runs of one contestant.

    Attributes:
        name: the contestant's name.
        facts: facts that it reported about itself.
        cold_seconds: the seconds of the first call of each fresh process.
        warm_seconds: one number per round, the mean of a few calls where they are short.
        peak_rise_bytes: the largest rise in resident memory in a warm run; None where it cannot be
            measured.
        effects: the effects that the latest process's first call returned.
    """

    name: str
    facts: Mapping[str, str | float]
    cold_seconds: tuple[float, ...]
    warm_seconds: tuple[float, ...]
    peak_rise_bytes: int | None
    effects: np.ndarray


@dataclass(frozen=True)
class NotRun:
    """Something that was not measured, and why."""

    name: str
    reason: str


def alternate(
    entries: Sequence[Entry],
    rounds: int,
    seconds: float,
    progress: Progress,
    fresh: int = 1,
) -> dict[str, Runs | NotRun]:
    """Start every contestant, then run them in turn, round by round.

    Args:
        entries: the contestants.
        rounds: the number of warm runs of each; at most 2 once a warm run has taken over 20 s.
        seconds: how long short calls are repeated for one number.
        progress: called with a line for each measurement.
        fresh: the number of processes started per contestant for cold calls; the last one stays
            alive for the warm runs.

    Returns:
        The runs by name, in order; a contestant that fails is skipped in the remaining rounds.
    """
    contestants = [_Contestant(entry, seconds, progress) for entry in entries]
    try:
        for again in range(fresh):
            for contestant in contestants:
                contestant.stop()
                contestant.run_cold(f"{again + 1}/{fresh}")
        done = 0
        while done < rounds:
            done += 1
            for contestant in contestants:
                contestant.run_warm(f"{done}/{rounds}")
            if max((each.longest for each in contestants), default=0.0) > _LONG_RUN_SECONDS:
                rounds = min(rounds, _FEW_ROUNDS)
    finally:
        for contestant in contestants:
            contestant.stop()
    return {contestant.entry.name: contestant.result() for contestant in contestants}


class _Contestant:
    """One entry with its process and its measurements so far."""

    def __init__(self, entry: Entry, seconds: float, progress: Progress):
        self.entry = entry
        self.failure: str | None = None
        self._seconds = seconds
        self._progress = progress
        self._process: Process | None = None
        self._facts: Mapping[str, str | float] = {}
        self._cold: list[float] = []
        self._warm: list[float] = []
        self._rises: list[int] = []
        self._effects = np.zeros(0)

    @property
    def longest(self) -> float:
        """The seconds of the longest warm run so far."""
        return max(self._warm, default=0.0)

    def run_cold(self, label: str) -> None:
        """Start a process and time its first call."""
        if self.failure is not None:
            return
        try:
            self._process = Process(self.entry)
            self._facts = self._process.facts
            reply = self._process.run(0.0, effects=True)
        except ContestantError as error:
            self._fail(error)
            return
        self._cold.append(reply.seconds)
        self._effects = reply.effects
        self._progress(f"{self.entry.name}: cold {label}: {reply.seconds:.3f} s")

    def run_warm(self, label: str) -> None:
        """Time one more run of the process."""
        if self.failure is not None or self._process is None:
            return
        time.sleep(_PAUSE_SECONDS)
        try:
            reply = self._process.run(self._seconds, effects=False)
        except ContestantError as error:
            self._fail(error)
            return
        self._warm.append(reply.seconds)
        if reply.peak_rise_bytes is not None:
            self._rises.append(reply.peak_rise_bytes)
        self._progress(f"{self.entry.name}: warm {label}: {reply.seconds:.4f} s")

    def stop(self) -> None:
        """End the process, if there is one."""
        if self._process is not None:
            self._process.stop()
            self._process = None

    def result(self) -> Runs | NotRun:
        """Return its runs, or why it was not run."""
        if self.failure is not None:
            return NotRun(self.entry.name, self.failure)
        return Runs(
            self.entry.name,
            self._facts,
            tuple(self._cold),
            tuple(self._warm),
            max(self._rises, default=None),
            self._effects,
        )

    def _fail(self, error: ContestantError) -> None:
        self.failure = str(error)
        self._progress(f"{self.entry.name}: not run: {error}")
        self.stop()

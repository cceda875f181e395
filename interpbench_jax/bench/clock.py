"""The time that JAX spends on tracing, lowering, compiling, and loading from its cache."""

import threading
import time
from functools import lru_cache

import jax

_EVENTS = "/jax/core/compile/"


class CompileClock:
    """Records when programs were compiled; times that overlap in several threads count once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._spans: list[tuple[float, float]] = []

    def seconds_since(self, start: float) -> float:
        """Return the seconds spent compiling since `start`, a time of `time.perf_counter`."""
        with self._lock:
            spans = sorted(span for span in self._spans if span[1] > start)
            self._spans = spans
        total, reached = 0.0, start
        for begin, end in spans:
            total += max(0.0, end - max(begin, reached))
            reached = max(reached, end)
        return total

    def hear(self, event: str, duration_secs: float, **kwargs: str | int) -> None:
        """Listen to JAX, which calls this at the end of each event."""
        if event.startswith(_EVENTS):
            now = time.perf_counter()
            with self._lock:
                self._spans.append((now - duration_secs, now))


@lru_cache(maxsize=1)
def compile_clock() -> CompileClock:
    """Return the one clock of this process, which listens from the first call on."""
    clock = CompileClock()
    jax.monitoring.register_event_duration_secs_listener(clock.hear)
    return clock

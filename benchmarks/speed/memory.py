"""The rise of a process's resident memory while something runs."""

import contextlib
import ctypes
from pathlib import Path
from types import TracebackType

_STATUS = Path("/proc/self/status")
_CLEAR = Path("/proc/self/clear_refs")
_RESET_PEAK = "5"


class PeakMemory:
    """A context manager; `rise` is the peak resident memory inside it minus that at its start.

    Freed memory is first returned to the system, so that memory which a run takes again is counted.
    `rise` stays None where the system does not let a process reset its peak (only Linux does).
    """

    rise: int | None = None

    def __enter__(self) -> "PeakMemory":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).malloc_trim(0)
        self._before: int | None = None
        with contextlib.suppress(OSError):
            _CLEAR.write_text(_RESET_PEAK)
            self._before = _status_bytes("VmRSS")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._before is not None:
            self.rise = max(0, _status_bytes("VmHWM") - self._before)


def _status_bytes(field: str) -> int:
    lines = _STATUS.read_text(encoding="ascii", errors="replace").splitlines()
    (line,) = (line for line in lines if line.startswith(f"{field}:"))
    return int(line.split()[1]) * 1024

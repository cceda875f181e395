"""A small part of `python -m benchmarks.fire`: damaged files, kills, two processes at once."""

from pathlib import Path

import pytest

from benchmarks.fire.commands import COMMANDS
from benchmarks.fire.formats import FORMATS
from benchmarks.fire.fuzz import fuzz_format
from benchmarks.fire.processes import disturb_one

# Slower commands are tested separately, with training and with the dataset.
QUICK = sorted(COMMANDS.keys() - {"train", "dataset build"})


@pytest.mark.slow
@pytest.mark.usefixtures("unchecked")
# If Orbax cannot read a checkpoint, it closes its event loop before the other reads end.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("name", FORMATS)
def test_damaged_files_end_in_typed_errors(name: str) -> None:
    n = 10 if name.startswith(("card", "checkpoint")) else 150
    found = fuzz_format(name, n, seed=0)
    assert not found.defects, "\n".join(found.defects.values())
    assert found.mutations == n and 0 < sum(found.errors.values()) <= n
    assert found.growth_mb < 100 and found.slowest_seconds < 10


@pytest.mark.slow
@pytest.mark.parametrize("name", QUICK)
def test_a_kill_and_a_second_process_lose_nothing(name: str, tmp_path: Path) -> None:
    fate = disturb_one(tmp_path, 0, name, kills=1, pairs=1, is_warm=False)
    assert not fate.defects, "\n".join(fate.defects)
    assert fate.killed == fate.pairs == 1
    assert not fate.leftovers

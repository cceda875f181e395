"""List the tests whose `slow` mark does not match their measured time.

    make test TEST=--junitxml=report.xml
    python scripts/slow_tests.py report.xml

A test function is slow if any of its cases takes longer than `--seconds`. Exits with 1 if a mark is
missing; a mark that may be removed is only listed.
"""

import argparse
import contextlib
import io
import sys
from collections import defaultdict
from pathlib import Path
from xml.etree import ElementTree

import pytest


class Collector:
    """A plugin that records the collected test functions and whether each is marked as slow."""

    def __init__(self) -> None:
        self.is_slow: dict[str, bool] = {}

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        for item in session.items:
            path, _, name = item.nodeid.partition("::")
            function = f"{path.removesuffix('.py').replace('/', '.')}::{name.partition('[')[0]}"
            self.is_slow[function] = item.get_closest_marker("slow") is not None


def slowest_cases(report: Path) -> dict[str, float]:
    """Return the seconds of the slowest case of each test function in a JUnit report."""
    slowest: dict[str, float] = defaultdict(float)
    for case in ElementTree.parse(report).iter("testcase"):
        function = f"{case.get('classname')}::{case.get('name', '').partition('[')[0]}"
        slowest[function] = max(slowest[function], float(case.get("time", 0)))
    return slowest


def main() -> int:
    """Read the arguments and the report, collect the tests and print what does not match."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("report", type=Path, help="the file that pytest wrote with --junitxml")
    parser.add_argument("--seconds", type=float, default=2.0, help="tests above this are slow")
    arguments = parser.parse_args()
    collector = Collector()
    with contextlib.redirect_stdout(io.StringIO()) as shown:
        status = pytest.main(["--collect-only", "-qq"], plugins=[collector])
    if status:
        print(shown.getvalue(), file=sys.stderr)
        return 2
    slowest = slowest_cases(arguments.report)
    missing = 0
    for function, seconds in sorted(slowest.items(), key=lambda each: -each[1]):
        is_slow = collector.is_slow.get(function)
        if is_slow is False and seconds > arguments.seconds:
            print(f"mark   {seconds:6.1f} s  {function}")
            missing += 1
        if is_slow and seconds < arguments.seconds / 4:
            print(f"unmark {seconds:6.1f} s  {function}")
    return int(missing > 0)


if __name__ == "__main__":
    sys.exit(main())

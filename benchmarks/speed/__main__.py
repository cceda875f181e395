"""Measure the speed of exhaustive edge patching, against a plain vmap and other libraries.

Writes results.json, README.md and plots into a folder and replaces those of an earlier run. Parts
that were not measured are listed as such, with the reason.
"""

import argparse
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from benchmarks.speed.bench import PEAK, Bench, peak_entry
from benchmarks.speed.comparisons import compare_auto_circuit, compare_cases
from benchmarks.speed.contest import NotRun, Runs, alternate
from benchmarks.speed.curves import (
    Curve,
    scale_devices,
    scale_edges,
    scale_inputs,
    scale_memory,
    scale_models,
    scale_width,
)
from benchmarks.speed.hardware import Hardware, describe_hardware
from benchmarks.speed.markdown import render
from benchmarks.speed.peers import find_peer
from benchmarks.speed.plots import plot_curve, plot_roofline
from benchmarks.speed.results import FILE, Part, Results
from benchmarks.speed.roofline import Roofline, measure_roofline
from benchmarks.speed.workloads import packaged_job
from interpbench_jax.storage import write_file

PARTS: Mapping[str, Callable[[Bench], Part]] = {
    "table": compare_cases,
    "auto-circuit": compare_auto_circuit,
    "inputs": scale_inputs,
    "edges": scale_edges,
    "width": scale_width,
    "devices": scale_devices,
    "models": scale_models,
    "memory": scale_memory,
    "roofline": measure_roofline,
}
_TEXT_FILE = "README.md"
# The peers run on the CPU: with JAX on an accelerator, the two would run on different devices.
_NEEDS_CPU = ("auto-circuit",)


def main() -> None:
    """Measure the requested parts one by one; the files are complete after each part."""
    arguments = _parse()
    with tempfile.TemporaryDirectory() as temporary:
        bench, hardware = _prepare(arguments, Path(temporary))
        chosen = [name for name in PARTS if name in (arguments.only or PARTS)]
        reasons = {name: "not requested" for name in PARTS if name not in chosen}
        reasons |= {name: "the run ended before it" for name in chosen}
        _remove_old_files(arguments.output)
        parts: dict[str, Part] = {}
        for name in chosen:
            if name in _NEEDS_CPU and bench.backend != "cpu":
                reasons[name] = "peers are compared on a CPU only"
            else:
                say(f"{name}: started")
                parts[name] = PARTS[name](bench)
                del reasons[name]
            missing = tuple(NotRun(part, reason) for part, reason in reasons.items())
            results = Results(hardware, bench.is_quick, bench.rounds, bench.seconds, parts, missing)
            write(results, arguments.output)


def write(results: Results, folder: Path) -> None:
    """Write the numbers, the plots and the text of everything measured so far."""
    results.write(folder)
    for part in results.parts.values():
        if isinstance(part, Curve) and part.points:
            plot_curve(part, folder)
        elif isinstance(part, Roofline) and part.points:
            plot_roofline(part, folder)
    write_file(folder / _TEXT_FILE, render(results))


def say(line: str) -> None:
    """Print a line of progress."""
    print(line, file=sys.stderr, flush=True)


def _prepare(arguments: argparse.Namespace, folder: Path) -> tuple[Bench, Hardware]:
    """Find out what JAX runs on, then return the settings and the hardware."""
    rounds = arguments.rounds or (3 if arguments.quick else 5)
    seconds = 0.1 if arguments.quick else 0.5
    entry = peak_entry(packaged_job("11", 1).write(folder / "first"))
    found = alternate([entry], 1, seconds, say)[PEAK]
    if not isinstance(found, Runs):
        sys.exit(f"Expected JAX to multiply two matrices, but it failed: {found.reason}")
    hardware = describe_hardware(found.facts)
    backend = str(found.facts["backend"])

    def peer(name: str, python: str | None) -> str | NotRun:
        if arguments.no_peers:
            return NotRun(name, "--no-peers was given")
        if backend != "cpu":
            return NotRun(name, "peers are compared on a CPU only")
        wanted = {"transformer-lens": "table", "auto-circuit": "auto-circuit"}[name]
        if arguments.only and wanted not in arguments.only:
            return NotRun(name, "not requested")
        return find_peer(name, python, say)

    bench = Bench(
        folder=folder,
        is_quick=arguments.quick,
        rounds=rounds,
        seconds=seconds,
        backend=backend,
        transformer_lens=peer("transformer-lens", arguments.peer_python),
        auto_circuit=peer("auto-circuit", arguments.auto_circuit_python),
        say=say,
    )
    return bench, hardware


def _remove_old_files(folder: Path) -> None:
    """Remove an earlier run's files, so that its numbers do not mix with those of this run."""
    names = [FILE, _TEXT_FILE, *(f"{name}.{kind}" for name in PARTS for kind in ("png", "svg"))]
    for name in names:
        (folder / name).unlink(missing_ok=True)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.speed",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--quick", action="store_true", help="a small run of under 3 minutes")
    parser.add_argument(
        "--only", nargs="+", choices=list(PARTS), metavar="NAME", help=f"any of {', '.join(PARTS)}"
    )
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results"), metavar="DIR")
    parser.add_argument("--rounds", type=int, help="warm runs per contestant (5; quick: 3)")
    parser.add_argument("--no-peers", action="store_true", help="measure only our own code")
    parser.add_argument(
        "--peer-python",
        metavar="PATH",
        help="an interpreter that has transformer-lens<3; default: one made in .venv-peer/",
    )
    parser.add_argument(
        "--auto-circuit-python",
        metavar="PATH",
        help="an interpreter that has auto-circuit; default: one made in .venv-peer/",
    )
    return parser.parse_args()


if __name__ == "__main__":
    main()

"""The command that compiles programs for the targets; `__main__` starts it."""

import argparse
import importlib.metadata
import json
import sys
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

import interpbench_jax as ib
from benchmarks.accelerators.programs import ProgramFacts, compile_for
from benchmarks.accelerators.table import as_markdown
from benchmarks.accelerators.targets import TARGETS, Target
from benchmarks.accelerators.workloads import WORKLOADS

_COMPILERS = ("jax", "jaxlib", "libtpu", "jax-cuda12-pjrt", "nvidia-cuda-nvcc-cu12")


def main(description: str) -> int:
    """Compile and print a table; return 1 if a program did not compile."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--targets", default=",".join(TARGETS), help=f"of {', '.join(TARGETS)}")
    parser.add_argument("--workloads", default=",".join(WORKLOADS), help="likewise")
    parser.add_argument("--full-effort", action="store_true", help="as for a long sweep")
    parser.add_argument("--json", type=Path, help="file for the numbers")
    parser.add_argument("--markdown", type=Path, help="file for the table")
    arguments = parser.parse_args()
    targets = [TARGETS[name] for name in _chosen(parser, arguments.targets, TARGETS)]
    workloads = _chosen(parser, arguments.workloads, WORKLOADS)
    found: list[ProgramFacts] = []
    for target in targets:
        target.devices()
        for name in workloads:
            if name != "sweeps" and target.n_devices > 1 and _has_single(target, targets):
                continue
            for each in WORKLOADS[name](target):
                facts = compile_for(
                    target,
                    each.workload,
                    each.program,
                    each.trace,
                    full_effort=arguments.full_effort,
                )
                found.append(facts)
                print(f"{target.name}: {each.workload}, {each.program}", file=sys.stderr)
                _write(arguments, found)
    print(as_markdown(found, _versions()))
    return int(any(facts.error for facts in found))


def _has_single(target: Target, targets: list[Target]) -> bool:
    """Whether a smaller target of the same kind is in the table: one device runs these programs."""
    return any(
        other.platform == target.platform and other.n_devices < target.n_devices
        for other in targets
    )


def _chosen(parser: argparse.ArgumentParser, text: str, known: object) -> list[str]:
    names = [name for name in text.split(",") if name]
    unknown = [name for name in names if name not in known]  # pyright: ignore
    if unknown or not names:
        parser.error(f"Expected names out of {', '.join(known)}, got {text!r}.")  # pyright: ignore
    return names


def _versions() -> dict[str, str]:
    versions = {"interpbench-jax": ib.__version__}
    for name in _COMPILERS:
        with suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    return versions


def _write(arguments: argparse.Namespace, found: list[ProgramFacts]) -> None:
    if arguments.json is not None:
        text = {"versions": _versions(), "programs": [asdict(facts) for facts in found]}
        arguments.json.write_text(json.dumps(text, indent=1), encoding="utf-8")
    if arguments.markdown is not None:
        arguments.markdown.write_text(as_markdown(found, _versions()), encoding="utf-8")

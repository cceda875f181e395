"""Measure robustness against damaged files and killed or concurrent processes.

    python -m benchmarks.fire [--mutations 100000] [--kills 100] [--pairs 50] [--seed 0]

Damages files of every format that the library reads, kills every command that writes, and starts
two processes of each command at once. Prints two tables in Markdown, or JSON. Exits with 1 if there
is a defect, such as an error of an unexpected type, an overlong message, or a result that is
neither the old nor the new one.
"""

import argparse
import json
import sys
import time
from dataclasses import asdict

from benchmarks.fire.fuzz import Outcome, fuzz
from benchmarks.fire.processes import Fate, disturb


def _print_mutations(found: list[Outcome], seconds: float) -> None:
    print(f"{sum(each.mutations for each in found):,} mutations in {seconds:,.0f} s\n")
    print(
        "| format | mutations | accepted | typed errors | defects | longest message | slowest "
        "| peak memory | growth |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    for each in found:
        print(
            f"| {each.format} | {each.mutations:,} | {each.accepted:,} "
            f"| {sum(each.errors.values()) - len(each.defects):,} | {len(each.defects)} "
            f"| {each.longest_message:,} | {each.slowest_seconds * 1e3:,.0f} ms "
            f"| {each.peak_mb:,.0f} MB | {each.growth_mb:,.0f} MB |"
        )
    for each in found:
        for number, text in each.defects.items():
            print(f"\n{each.format}, mutation {number}:\n{text}")


def _print_fates(found: list[Fate], seconds: float) -> None:
    kills, pairs = sum(each.killed for each in found), sum(each.pairs for each in found)
    print(f"\n{kills} kills and {pairs} pairs of processes in {seconds:,.0f} s\n")
    print("| command | alone | killed | found out | pairs | turned away | left over | defects |")
    print("|---|---|---|---|---|---|---|---|")
    for each in found:
        print(
            f"| {each.command} | {each.seconds:.1f} s | {each.killed} | {each.found_out} "
            f"| {each.pairs} | {each.turned_away} | {len(each.leftovers)} | {len(each.defects)} |"
        )
    for each in found:
        for text in [*each.defects, *(f"left over: {name}" for name in each.leftovers)]:
            print(f"\n{each.command}: {text}")


def main() -> None:
    """Parse the arguments, run the measurements and print the report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mutations", type=int, default=100_000)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--pairs", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="print only JSON")
    arguments = parser.parse_args()
    began = time.perf_counter()
    outcomes = fuzz(arguments.mutations, arguments.seed) if arguments.mutations else []
    between = time.perf_counter()
    fates: list[Fate] = []
    if arguments.kills or arguments.pairs:
        fates = disturb(arguments.kills, arguments.pairs, arguments.seed)
    if arguments.json:
        parts = {"mutations": outcomes, "processes": fates}
        print(json.dumps({key: list(map(asdict, part)) for key, part in parts.items()}, indent=1))
    else:
        if outcomes:
            _print_mutations(outcomes, between - began)
        if fates:
            _print_fates(fates, time.perf_counter() - between)
    sys.exit(any(each.defects for each in [*outcomes, *fates]))


if __name__ == "__main__":
    main()

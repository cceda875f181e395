"""The table of compiled programs as Markdown."""

from collections.abc import Iterable, Mapping, Sequence

from benchmarks.accelerators.programs import ProgramFacts

# Cycles per second by the start of a target's name.
_CLOCKS = {"v5e": 0.94e9}
_HEAD = (
    *("Program", "Compiling", "Arguments", "Results", "Working"),
    *("FLOP, XLA", "FLOP, ours", "Bytes, XLA", "Bytes, least"),
    *("Kernels", "Loops", "Branches", "Collectives", "Padding", "Estimate"),
)


def as_markdown(programs: Sequence[ProgramFacts], versions: Mapping[str, str]) -> str:
    """A table for each target."""
    lines = ["Compiled with " + ", ".join(f"{name} {versions[name]}" for name in versions) + "."]
    for target in dict.fromkeys(facts.target for facts in programs):
        own = [facts for facts in programs if facts.target == target]
        seconds = sum(facts.compile_seconds for facts in own)
        lines += ["", f"## {target}", "", f"{len(own)} programs, compiled in {seconds:.0f} s.", ""]
        lines += [_row(_HEAD), _row("---" for _ in _HEAD)]
        for facts in own:
            lines.append(_row(_cells(facts)))
    return "\n".join(lines) + "\n"


def _cells(facts: ProgramFacts) -> list[str]:
    name = f"{facts.workload}: {facts.program}"
    if facts.error:
        return [name, f"fails: {facts.error}", *[""] * (len(_HEAD) - 2)]
    hlo = facts.hlo
    assert hlo is not None
    sizes = (facts.argument_bytes, facts.result_bytes, facts.working_bytes)
    counts = (facts.xla_flops, facts.flops, facts.xla_bytes, facts.least_bytes)
    return [
        name,
        f"{facts.compile_seconds:.1f} s ({facts.cpu_seconds:.1f})",
        *(f"{size / 1e6:,.1f} MB" for size in sizes),
        *("" if count is None else f"{count:.2g}" for count in counts),
        *map(str, (hlo.n_kernels, hlo.n_loops, hlo.n_branches, hlo.n_collectives)),
        "" if hlo.padding == 1 else f"{hlo.padding:.2f}",
        _estimate(facts.target, hlo.cycles),
    ]


def _estimate(target: str, cycles: int | None) -> str:
    clock = next((clock for start, clock in _CLOCKS.items() if target.startswith(start)), None)
    return "" if cycles is None or clock is None else f"{1e3 * cycles / clock:.2f} ms"


def _row(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"

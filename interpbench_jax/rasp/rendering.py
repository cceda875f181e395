"""Programs as text, with one named step per line."""

from collections import Counter
from collections.abc import Mapping
from typing import Protocol, runtime_checkable

from interpbench_jax.rasp.traversal import in_order, walk


@runtime_checkable
class RenderedStep(Protocol):
    """A part of a program, as far as its text is concerned."""

    @property
    def name(self) -> str | None:
        """The name that the program gives it, if any."""
        ...

    @property
    def children(self) -> "tuple[RenderedStep, ...]":
        """The parts that it reads."""
        ...

    def text(self, *reads: str) -> str:
        """This step as text, given the text of each part that it reads."""
        ...


def render(program: RenderedStep) -> str:
    """The program as readable text: inputs first, the output last.

    The output and every part that is named or used more than once get a line of their own; other
    parts are written where they are used. Example: `same = select(key tokens == query tokens)`,
    then `output = width(same)`.
    """
    parts = list(walk(program))
    uses = Counter(child for part in parts for child in part.children)
    names: dict[RenderedStep, str] = {}
    lines: list[str] = []
    for part in in_order(program):
        if not part.children:
            names[part] = _call(part, names)
        elif part == program or part.name is not None or uses[part] > 1:
            text = _call(part, names)
            names[part] = _fresh(part, set(names.values()), is_output=part == program)
            lines.append(f"{names[part]} = {text}")
        else:
            names[part] = _call(part, names)
    return "\n".join(lines) if lines else names[program]


def _fresh(part: RenderedStep, taken: set[str], *, is_output: bool) -> str:
    wanted = part.name or ("output" if is_output else type(part).__name__.lower())
    name, number = wanted, 2
    while name in taken:
        name, number = f"{wanted}_{number}", number + 1
    return name


def _call(part: RenderedStep, names: Mapping[RenderedStep, str]) -> str:
    return part.text(*(names[child] for child in part.children))

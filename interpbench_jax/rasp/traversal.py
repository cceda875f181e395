"""Traversal orders of a program's parts."""

from collections import deque
from collections.abc import Iterator
from typing import Protocol, TypeVar, cast, runtime_checkable

PartT = TypeVar("PartT")
PartT_co = TypeVar("PartT_co", covariant=True)


@runtime_checkable
class HasChildren(Protocol[PartT_co]):
    """A hashable part of a program, and the parts that it reads."""

    @property
    def children(self) -> tuple[PartT_co, ...]:
        """The parts that this one reads."""
        ...


def walk(program: HasChildren[PartT]) -> Iterator[PartT]:
    """Every distinct part of a program, breadth first from the output, which comes first."""
    first = cast("PartT", program)
    seen, queue = {first}, deque([first])
    while queue:
        part = queue.popleft()
        yield part
        for child in _children(part):
            if child not in seen:
                seen.add(child)
                queue.append(child)


def in_order(program: HasChildren[PartT]) -> tuple[PartT, ...]:
    """Every distinct part of a program, each after the parts that it reads; the output last."""
    order: dict[PartT, None] = {}
    stack = [(cast("PartT", program), False)]
    while stack:
        part, is_ready = stack.pop()
        if is_ready:
            order[part] = None
        elif part not in order:
            stack.append((part, True))
            stack.extend((child, False) for child in reversed(_children(part)))
    return tuple(order)


def _children(part: PartT) -> tuple[PartT, ...]:
    return cast("HasChildren[PartT]", part).children

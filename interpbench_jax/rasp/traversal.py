"""Traversal orders of a program's parts."""

from collections import deque
from collections.abc import Iterator

from interpbench_jax.rasp.expressions import Expression


def walk(program: Expression) -> Iterator[Expression]:
    """Every distinct part of a program, breadth first from the output, which comes first."""
    seen = {program}
    queue = deque([program])
    while queue:
        expression = queue.popleft()
        yield expression
        for child in expression.children:
            if child not in seen:
                seen.add(child)
                queue.append(child)


def in_order(program: Expression) -> tuple[Expression, ...]:
    """Every distinct part of a program, each after the parts that it reads; the output last."""
    order: dict[Expression, None] = {}
    stack = [(program, False)]
    while stack:
        expression, is_ready = stack.pop()
        if is_ready:
            order[expression] = None
        elif expression not in order:
            stack.append((expression, True))
            stack.extend((child, False) for child in reversed(expression.children))
    return tuple(order)

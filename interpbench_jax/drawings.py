"""The drawings that objects show in notebooks beside their tables.

Circuits and cases come before `pictures` and cannot import it. `notebooks.install`, which the
package calls when it is imported, enters here the function that draws. Nothing is imported until an
object is displayed.
"""

from collections.abc import Callable

DRAWERS: list[Callable[[object], str]] = []


def beside(table: str, thing: object) -> str:
    """Return a table's HTML with the object's drawing beside it, if there is one."""
    shown = "".join(drawer(thing) for drawer in DRAWERS)
    if not shown:
        return table
    style = "display:flex;flex-wrap:wrap;gap:1.5em;align-items:flex-start"
    return f'<div style="{style}"><div>{table}</div>{shown}</div>'

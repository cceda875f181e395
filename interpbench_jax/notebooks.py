"""Joins objects with their drawings in notebooks, without importing either."""

from interpbench_jax.drawings import DRAWERS


def install() -> None:
    """Let circuits and cases show drawings, which `pictures` makes when one is displayed."""
    DRAWERS.append(_draw)


def _draw(thing: object) -> str:
    from interpbench_jax.pictures.displays import drawing_of

    return drawing_of(thing)

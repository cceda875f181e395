"""A band of shares, which a leak of edges outside a circuit is held to."""

Band = tuple[float, float]


def check_band(what: str, band: object) -> None:
    """Check that a value is None, or two numbers between 0 and 1 of which the second is larger.

    Args:
        what: what an error calls the value.
        band: the value.

    Raises:
        ValueError: if it is neither.
    """
    if band is None:
        return
    match band:
        case [int() | float() as low, int() | float() as high] if 0 < low < high < 1:
            return
    raise ValueError(
        f"Expected {what} to be two rising shares between 0 and 1, or None; got {band!r}."
    )

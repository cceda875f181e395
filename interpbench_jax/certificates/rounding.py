"""Rounding of the numbers in a certificate, so that its file does not change needlessly."""

# Further decimals of an effect are float32 noise.
_DECIMALS = 9


def round_effect(effect: float) -> float:
    """Round an effect to six significant digits and at most nine decimals; never -0."""
    return float(f"{round(effect, _DECIMALS):.6g}") + 0.0


def round_share(share: float) -> float:
    """Round a share to six decimals; a share below 1 never becomes 1."""
    rounded = round(share, 6)
    return 0.999999 if rounded == 1 and share < 1 else rounded

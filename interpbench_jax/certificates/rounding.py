"""Measured numbers as a certificate states them, so that its file does not churn."""

# Below this an effect is float32 noise.
_DECIMALS = 9


def round_effect(effect: float) -> float:
    """An effect to six significant digits, and to nine decimals; never -0."""
    return float(f"{round(effect, _DECIMALS):.6g}") + 0.0


def round_share(share: float) -> float:
    """A share to six decimals; what falls short of 1 is never stated as 1."""
    rounded = round(share, 6)
    return 0.999999 if rounded == 1 and share < 1 else rounded

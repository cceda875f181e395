"""The bars: the thresholds that a trained model must meet to be certified."""

import math
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Bars:
    """The thresholds that a certificate must meet.

    Attributes:
        share: the lowest accuracy allowed.
        outside: the largest effect allowed for an edge that is out, as a share of the median of
            those that are in.
        clearance: the lowest ratio allowed between the smallest effect of an edge that is in and
            the largest of one that is out.

    Raises:
        ValueError: if a share is not from 0 to 1, or the clearance is negative or not finite.
    """

    share: float = 0.999
    outside: float = 0.01
    clearance: float = 10.0

    def __post_init__(self) -> None:
        for name in ("share", "outside"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(
                    f"Expected the bar `{name}` to be from 0 to 1, got {getattr(self, name)}."
                )
        if not 0 <= self.clearance < math.inf:
            raise ValueError(
                "Expected the bar `clearance` to be a finite number of at least 0, got "
                f"{self.clearance}."
            )


BARS = Bars()

"""A straight line through points."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class LineFit:
    """`intercept + slope * x`, by least squares.

    Attributes:
        intercept: in the unit of y.
        slope: in the unit of y per x.
        r_squared: the share of the variance of y that the line explains; 1 where y is constant.
    """

    intercept: float
    slope: float
    r_squared: float


def fit_line(x: Sequence[float], y: Sequence[float]) -> LineFit | None:
    """The line through three points or more; None for fewer."""
    if len(x) < 3:
        return None
    across, up = np.asarray(x, np.float64), np.asarray(y, np.float64)
    slope, intercept = np.polyfit(across, up, 1)
    left = float(((up - intercept - slope * across) ** 2).sum())
    all_of_it = float(((up - up.mean()) ** 2).sum())
    return LineFit(float(intercept), float(slope), 1 - left / all_of_it if all_of_it else 1.0)

"""A least-squares line through points."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class LineFit:
    """The line `intercept + slope * x`, fitted by least squares.

    Attributes:
        intercept: the value at x = 0, in the unit of y.
        slope: the rise per unit of x, in the unit of y.
        r_squared: the share of the variance of y that the line explains; 1 where y is constant.
    """

    intercept: float
    slope: float
    r_squared: float


def fit_line(x: Sequence[float], y: Sequence[float]) -> LineFit | None:
    """Fit a line to three points or more; return None for fewer."""
    if len(x) < 3:
        return None
    across, up = np.asarray(x, np.float64), np.asarray(y, np.float64)
    slope, intercept = np.polyfit(across, up, 1)
    left = float(((up - intercept - slope * across) ** 2).sum())
    all_of_it = float(((up - up.mean()) ** 2).sum())
    return LineFit(float(intercept), float(slope), 1 - left / all_of_it if all_of_it else 1.0)

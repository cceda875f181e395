"""The colors and dashes that all plots and pictures share."""

# Okabe and Ito 2008, for every kind of color vision, without yellow, which is too pale for lines.
BLUE, ORANGE, GREEN, PURPLE = "#0072B2", "#D55E00", "#009E73", "#CC79A7"
LINES = (BLUE, ORANGE, GREEN, PURPLE, "#56B4E9", "#E69F00", "#000000")
DASHES = ("solid", "dashed", "dotted", "dashdot")
GREY, PALE = "#777777", "#CCCCCC"


def line_style(index: int) -> tuple[str, str]:
    """A color and a dash for the line with this number; no two of the first 28 are alike."""
    return LINES[index % len(LINES)], DASHES[index // len(LINES) % len(DASHES)]

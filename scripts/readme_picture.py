"""Draw the README's picture: what a method found of a case's circuit.

python scripts/readme_picture.py
"""

from pathlib import Path

import interpbench_jax as ib
from interpbench_jax.pictures.circuits import drawing_size
from interpbench_jax.report.figures import encode_figure, house_style, new_figure
from interpbench_jax.storage import write_file

CASE, METHOD = "4", "flow-routes"
PICTURE = Path(__file__).resolve().parents[1] / "docs" / "circuit.svg"


def main() -> None:
    """Write the picture."""
    case = ib.load_case(CASE)
    found = ib.discover(case.model, case.sample(1000, seed=0), METHOD)
    with house_style():
        figure, axes = new_figure(*drawing_size(case.truth()))
        title = f"Case {CASE}: the edges that {METHOD} found"
        ib.draw_circuit(case.truth(), found, universe="qkv", title=title, ax=axes)
        write_file(PICTURE, encode_figure(figure, "svg"))


if __name__ == "__main__":
    main()

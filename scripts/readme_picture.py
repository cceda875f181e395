"""Draw the README's picture: what a method found of a case's circuit.

python scripts/readme_picture.py
"""

from pathlib import Path

import interpbench_jax as ib
from interpbench_jax.pictures.circuits import encode_circuit
from interpbench_jax.storage import write_file

CASE, METHOD = "4", "flow-routes"
PICTURE = Path(__file__).resolve().parents[1] / "docs" / "circuit.svg"


def main() -> None:
    """Write the picture."""
    case = ib.load_case(CASE)
    found = ib.discover(case.model, case.sample(1000, seed=0), METHOD)
    title = f"Case {CASE}: the edges that {METHOD} found"
    picture = encode_circuit(case.truth(), found, universe="qkv", title=title)
    write_file(PICTURE, picture)


if __name__ == "__main__":
    main()

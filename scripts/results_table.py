"""Print the README's table of results, from the packaged certificates.

python scripts/results_table.py
"""

from interpbench_dataset.models import model_path
from interpbench_dataset.packaged import packaged_folder
from interpbench_jax.cases import CASES
from interpbench_jax.certificates import Certificate, read_certificate

HEADER = (
    "case",
    "accuracy",
    "IIA",
    "strict",
    "outside",
    "inside",
    "`head`",
    "`head-no-embed`",
    "silent",
    "unexpected",
)


def main() -> None:
    """Print one row per case."""
    print("| " + " | ".join(HEADER) + " |")
    print("|" + "---|" * len(HEADER))
    for case_id in CASES:
        certificate = read_certificate(packaged_folder() / model_path(case_id))
        print("| " + " | ".join(row(certificate)) + " |")


def row(certificate: Certificate) -> tuple[str, ...]:
    """One case's numbers as text."""
    outside, inside = certificate.largest_outside, certificate.smallest_inside
    areas = certificate.edges.auc["complete_circuit"]
    return (
        certificate.case_id,
        share(certificate.accuracy),
        share(certificate.lowest_iia),
        share(certificate.lowest_strict),
        "-" if outside is None else f"{outside.effect:.1e}",
        "-" if inside is None else f"{inside.effect:.2g}",
        area(areas["head"]),
        area(areas["head-no-embed"]),
        str(len(certificate.edges.silent)),
        str(len(certificate.edges.unexpected)),
    )


def share(value: float) -> str:
    """A share as a percentage, rounded down, so that 100 % is all."""
    return f"{int(value * 1e5) / 1e3:.3f} %"


def area(value: float | None) -> str:
    """An area under the curve, or a dash where there is none."""
    return "-" if value is None else f"{value:.3f}"


if __name__ == "__main__":
    main()

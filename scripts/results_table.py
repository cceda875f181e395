"""Print the table of the packaged models' certificates, as Markdown.

Usage: `python scripts/results_table.py [1.0.0|current]`
"""

import sys
from typing import cast

from interpbench_dataset.models import model_path
from interpbench_dataset.packaged import packaged_folder
from interpbench_jax.cases import RELEASES
from interpbench_jax.certificates import BARS, Certificate, read_certificate
from interpbench_jax.loading import packaged_cases
from interpbench_jax.names import ReleaseName

HEADER = (
    "case",
    "accuracy",
    "IIA",
    "joint IIA",
    "edges",
    "strict",
    "all out cut, resampled",
    "mean",
    "out above 1 %, metric",
    "logits",
    "largest out, metric",
    "logits",
    "in / out",
    "constant",
)


def table(release: ReleaseName = "1.0.0") -> str:
    """Return the Markdown table, with one row per packaged model.

    Args:
        release: `"1.0.0"` for all of its cases; `"current"` for those that only it has.
    """
    old = RELEASES["1.0.0"]
    cases = old if release == "1.0.0" else [each for each in packaged_cases() if each not in old]
    rows = [row(read_certificate(packaged_folder() / model_path(each))) for each in cases]
    lines = [HEADER, ("---",) * len(HEADER), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def row(certificate: Certificate) -> tuple[str, ...]:
    """Return one case's numbers as text, for the edges of the universe `qkv`."""
    edges, alone = certificate.edges, certificate.circuit_alone
    metric, logits = (edges.separation("qkv", measure) for measure in ("effect", "centred"))
    assert metric is not None and logits is not None
    return (
        certificate.case_id,
        share(certificate.accuracy),
        share(certificate.lowest_iia),
        share(certificate.lowest_joint) if certificate.joint_iia else "-",
        share(certificate.lowest_edge),
        share(certificate.lowest_strict),
        share(alone.edges_resample),
        share(alone.edges_mean),
        str(len(edges.unexpected("qkv", "effect", BARS.outside))),
        str(len(edges.unexpected("qkv", "centred", BARS.outside))),
        f"{100 * metric.outside_share:.2f} %",
        f"{100 * logits.outside_share:.2f} %",
        times(min(metric.clearance, logits.clearance)),
        str(len(edges.constant("qkv"))),
    )


def share(value: float) -> str:
    """Format a share as a percentage, rounded down so that 100 % means all."""
    return f"{int(value * 1e5) / 1e3:g} %"


def times(factor: float) -> str:
    """Format a factor with three significant digits."""
    rounded = float(f"{factor:.3g}")
    return f"{rounded:,.0f}" if rounded >= 100 else f"{rounded:g}"


if __name__ == "__main__":
    print(table(cast(ReleaseName, sys.argv[1]) if len(sys.argv) > 1 else "1.0.0"))

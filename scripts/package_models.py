"""Put trained models into the published folder, and describe them there.

    interpbench train --all --out trained
    python scripts/package_models.py trained

Copies the files of every case's model that the folder holds, certificate included, then builds the
dataset's card and tables again and checks all of it. A case whose certificate falls below `--min`
is refused, and then nothing is copied.
"""

import argparse
import sys
from pathlib import Path

from interpbench_dataset.builder import build, check
from interpbench_dataset.models import MODEL_FILES, model_path
from interpbench_dataset.packaged import packaged_folder
from interpbench_jax.cases import CASES
from interpbench_jax.certificates import read_certificate
from interpbench_jax.weights import write_atomically


def main() -> int:
    """Read the arguments, copy, build, check; 0 where all is well."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("trained", type=Path, help="the folder with one folder per case")
    parser.add_argument("--min", type=float, default=0.995, help="the lowest share to accept")
    arguments = parser.parse_args()
    trained = [case_id for case_id in CASES if (arguments.trained / case_id).is_dir()]
    if not trained:
        print(f"Expected folders of cases in {arguments.trained}, found none.", file=sys.stderr)
        return 1
    low = {
        case_id: certificate.lowest
        for case_id in trained
        if (certificate := read_certificate(arguments.trained / case_id)).lowest < arguments.min
    }
    if low:
        print(f"Expected at least {arguments.min} of every model, got {low}.", file=sys.stderr)
        return 1
    published = packaged_folder()
    for case_id in trained:
        # The config comes last: a folder that has it is complete.
        for name in sorted(MODEL_FILES, key=lambda name: name == "config.json"):
            target = published / model_path(case_id, name)
            target.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(target, (arguments.trained / case_id / name).read_bytes())
    report = build(published, progress=print)
    problems = check(published, all_models=True)
    for problem in problems:
        print(problem)
    print(f"{report.directory}: {report.n_bytes:,} bytes of tables and texts")
    return int(any(problem.is_error for problem in problems))


if __name__ == "__main__":
    sys.exit(main())

"""Copy trained models into the published folder and rebuild its card and tables.

    interpbench train --all --out trained
    python scripts/package_models.py trained

Copies the model files of every case in the folder, including the certificate, then rebuilds the
dataset's card and tables and checks everything. If a certificate fails, nothing is copied and the
reasons are printed; `--despite` names cases whose failures are accepted.
"""

import argparse
import sys
from pathlib import Path

from interpbench_dataset.builder import build, check
from interpbench_dataset.models import MODEL_FILES, model_path
from interpbench_dataset.packaged import packaged_folder
from interpbench_jax.cases import CASES
from interpbench_jax.certificates import read_certificate
from interpbench_jax.storage import write_file


def main() -> int:
    """Read the arguments, copy, build and check; return 0 if there is no error."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("trained", type=Path, help="the folder with one folder per case")
    parser.add_argument(
        "--despite",
        default="",
        help="comma-separated cases to copy although their certificates fail",
    )
    arguments = parser.parse_args()
    trained = [case_id for case_id in CASES if (arguments.trained / case_id).is_dir()]
    if not trained:
        print(f"Expected case folders in {arguments.trained}, found none.", file=sys.stderr)
        return 1
    accepted = set(filter(None, arguments.despite.split(",")))
    has_failed = False
    for case_id in trained:
        for failure in read_certificate(arguments.trained / case_id).failures():
            is_accepted = case_id in accepted
            has_failed |= not is_accepted
            note = "accepted: " if is_accepted else ""
            print(f"case {case_id}: {note}{failure}", file=sys.stderr)
    if has_failed:
        print("Nothing was copied.", file=sys.stderr)
        return 1
    published = packaged_folder()
    for case_id in trained:
        # The config comes last: a folder that has it is complete.
        for name in sorted(MODEL_FILES, key=lambda name: name == "config.json"):
            target = published / model_path(case_id, name)
            target.parent.mkdir(parents=True, exist_ok=True)
            write_file(target, (arguments.trained / case_id / name).read_bytes())
    report = build(published, progress=print)
    problems = check(published, all_models=True)
    for problem in problems:
        print(problem)
    print(f"{report.directory}: {report.n_bytes:,} bytes of tables and text")
    return int(any(problem.is_error for problem in problems))


if __name__ == "__main__":
    sys.exit(main())

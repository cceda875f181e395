"""Examine every declared task and store what was found in the package.

python scripts/examine_tasks.py
"""

from pathlib import Path

from interpbench_jax.cases import CASES
from interpbench_jax.cases.health import HEALTH_FILE, examine, health_as_json, number_circuits
from interpbench_jax.storage import write_file

FILE = Path(__file__).resolve().parents[1] / "interpbench_jax" / "cases" / HEALTH_FILE


def main() -> None:
    """Write the file, and print the tasks that have flags."""
    numbers = number_circuits(CASES.values())
    found = {}
    for case_id, task in CASES.items():
        found[case_id] = examine(task, numbers[case_id])
        print(f"{case_id:12} {'; '.join(found[case_id].flags)}", flush=True)
    write_file(FILE, health_as_json(found))


if __name__ == "__main__":
    main()

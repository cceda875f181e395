"""Which inputs a command patches between."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from interpbench_jax.case import Case
    from interpbench_jax.inputs import InputPairs


def draw_pairs(case: "Case", n: int, seed: int, counterfactual: str | None) -> "InputPairs":
    """Inputs of a language task by its own rules; else uniform over the tokens.

    Raises:
        ValueError: if the case has no such counterfactual.
    """
    from interpbench_jax.cases import CASES
    from interpbench_jax.inputs import task_pairs, uniform_pairs

    task = CASES.get(case.case_id)
    if task is not None and len(task.counterfactuals) > 1:
        return task_pairs(case, n, seed, counterfactual)
    if counterfactual not in (None, "random"):
        raise ValueError(
            f"Expected no --counterfactual, or 'random', for case {case.case_id!r}, got "
            f"{counterfactual!r}; ioi and ioi_next_token have others."
        )
    return uniform_pairs(case, n, seed)

"""What the components of random tasks do, in words."""

from interpbench_jax.cases.generated import Dials, generate


def test_components_say_what_they_compute() -> None:
    task = generate(0, Dials(tasks=2, markers=2))
    texts = {name: role for roles in task.roles.values() for role in roles for name in [role.name]}
    assert set(texts) == {step.variable.name for step in task.lowering.steps}
    found = {name: role.words for name, role in texts.items()}
    assert found["marker_1"] == (
        "Attends to the positions where the key's index is 0, and writes the mean of tokens there."
    )
    assert found["flag_2"] == "Computes flag_2: whether marker_1 and marker_2 are both marks."
    assert found["first_or_blank"] == (
        "Computes first_or_blank: first_token_1 where flag_2 selects the first task, else a blank."
    )
    assert found["chosen"] == (
        "Computes chosen: whichever of first_or_blank and second_or_blank is not blank, looked up "
        "in its own table."
    )
    assert found["first_place_1"].startswith(
        "Computes first_place_1: indices moved on by the entry of ("
    )
    assert found["first_place_1"].endswith(" for tokens, modulo 6.")


def test_gates_say_what_they_combine() -> None:
    latin, threshold = (
        [role.words for roles in generate(0, Dials(gate=gate)).roles.values() for role in roles][-1]
        for gate in ("latin", "threshold")
    )
    assert latin == (
        "Computes gate: the entry of a Latin square in the row of token_1 and the column of tokens."
    )
    assert threshold == (
        "Computes gate: how many of the steps (3, 5) the added ranks of token_1 and tokens reach."
    )

"""What components do, in words."""

import pytest

from interpbench_jax.cases import CASES, RaspTask
from interpbench_jax.cases.roles import model_roles, roles_by_name
from interpbench_jax.rasp import (
    Aggregate,
    Comparison,
    Map,
    Select,
    SelectorWidth,
    SequenceMap,
    Variable,
    indices,
    lookup,
    shift,
    tokens,
)
from interpbench_jax.rasp.roles import role_of
from interpbench_jax.sites import Kind, Node


def is_long(word: str) -> bool:
    """Whether the word has more than four letters."""
    return len(word) > 4


def is_next(key: int, query: int) -> bool:
    """Whether the key comes right after the query."""
    return key == query + 1


SAME = Select(tokens, tokens, Comparison.EQ)
EARLIER = Select(indices, indices, Comparison.LT)


@pytest.mark.parametrize(
    ("variable", "words"),
    [
        (
            Map(is_long, tokens, name="long"),
            "Computes long: Whether the word has more than four letters. Read from tokens.",
        ),
        ((tokens + 1).named("more"), "Computes more: tokens + 1."),
        ((10 - indices).named("left"), "Computes left: 10 - indices."),
        (Map(lookup({"a": 1}), tokens, name="one"), "Computes one: what {'a': 1} has for tokens."),
        (
            SequenceMap(max, tokens, indices, name="larger"),
            "Computes larger: max(tokens, indices).",
        ),
        (
            Aggregate(SAME & EARLIER, indices, name="before"),
            "Attends to the positions where the key's token equals the query's token and the "
            "key's index is less than the query's index, and writes the mean of indices there.",
        ),
        (
            Aggregate(Select(indices, indices, is_next), tokens, name="next"),
            "Attends to the positions where the key comes right after the query, comparing the "
            "key's index with the query's index, and writes the mean of tokens there.",
        ),
        (
            shift(tokens, -2),
            "Attends to the positions where the key's index equals the query's index + 2, and "
            "writes the mean of tokens there.",
        ),
        (
            SelectorWidth(~SAME, name="others"),
            "Computes others: the number of the positions where it is not so that the key's token "
            "equals the query's token.",
        ),
        (
            SelectorWidth(Select(tokens, tokens, Comparison.TRUE), name="length"),
            "Computes length: the number of positions.",
        ),
    ],
)
def test_words(variable: Variable, words: str) -> None:
    assert role_of(variable).words == words


def test_every_component_of_every_task_has_a_role() -> None:
    for task in CASES.values():
        for component, roles in task.roles.items():
            assert component in task.alignment and roles
            for role in roles:
                assert role.words[0].isupper() and role.words.endswith(".")
                assert role.program and "<function" not in role.words
        assert list(task.roles) == list(task.alignment)


def test_a_head_of_a_width() -> None:
    task = CASES["14"]
    assert isinstance(task, RaspTask)
    head, *_ = task.roles.values()
    assert head[0].words == (
        "Attends to BOS and the positions where the key is 'a', comparing the key's token with the "
        "query's token, all alike, and so writes 1 / (1 + their number)."
    )


def test_roles_of_the_model() -> None:
    roles = model_roles(CASES["18"])
    assert [role.name for role in roles[Node(Kind.MLP_OUT, 0)]] == ["count", "length"]
    assert Node(Kind.EMBED) in roles and Node(Kind.HEAD, 1, 3) not in roles
    named = roles_by_name(CASES["18"])
    assert list(named) == [str(node) for node in roles]
    assert named["hook_embed"][0]["name"] == "tokens"

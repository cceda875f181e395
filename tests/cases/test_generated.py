"""Random tasks: reproducible, within their dials, and rejected where they are of no use."""

import dataclasses
import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from interpbench_jax.cases import CASES, find_task, task_of
from interpbench_jax.cases.generated import Dials, GeneratedTask, find_problems, generate
from interpbench_jax.cases.sequences import SequenceSpace
from interpbench_jax.rasp import Map, Value, lookup, tokens
from interpbench_jax.sites import Kind

TWO = Dials(tasks=2, hops=1, n_tokens=6, marks=3, length=5)
RARE = Dials(tasks=2, hops=1, markers=2, length=5)
KINDS = {
    "one fetch": Dials(),
    "two fetches": Dials(hops=2, length=5),
    "fan-out": Dials(hops=2, fan_out=2, length=5),
    "thresholds": Dials(hops=2, gate="threshold", length=5),
    "copies": Dials(copies=3, n_tokens=3, length=4),
    "two tasks": TWO,
    "a rare branch": RARE,
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_seed_and_dials_give_one_task(kind: str) -> None:
    task, again = generate(3, KINDS[kind]), generate(3, KINDS[kind])
    assert task == again and task.program_text == again.program_text
    assert generate(4, KINDS[kind]).case_id != task.case_id
    pairs = task.sample(64, 0)
    rows = np.asarray(task.high_level(pairs.input_ids))[pairs.is_scored]
    np.testing.assert_array_equal(np.sort(rows, axis=1)[:, :-1], 0)
    np.testing.assert_allclose(rows.max(axis=1), 1)


def test_the_task_of_a_seed_stays_what_it_is() -> None:
    """Published seeds must mean the same everywhere, so the draw itself is pinned."""
    task = generate(0, TWO)
    digest = hashlib.sha256(task.program_text.encode()).hexdigest()
    assert (task.case_id, task.marks, digest[:16]) == (
        "generated-0-tasks=2-marks=3-n_tokens=6-length=5",
        (0, 2, 3),
        "3886d61ae266a041",
    )


def test_an_id_says_how_to_draw_the_task() -> None:
    for dials in (*KINDS.values(), Dials(leak=(0.03, 0.3)), Dials(hops=2, n_layers=4)):
        task = generate(11, dials)
        assert find_task(task.case_id) == task
        assert task_of(task.case_id) == task
    assert generate(3).case_id == "generated-3"
    named = "generated-7-leak=0.03..0.3-hops=2"
    assert find_task(named).case_id == "generated-7-hops=2-leak=0.03..0.3"


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("generated-", "a seed and dials, as in 'generated-7-hops=2'"),
        ("generated--3", "a seed and dials"),
        ("generated-1-hops", "a seed and dials"),
        ("generated-1-hops=2-hops=3", "each dial at most once, of hops, fan_out"),
        ("generated-1-depth=2", "each dial at most once, of hops, fan_out"),
        ("generated-1-hops=two", "hops to be a whole number, got 'two'"),
        ("generated-1-hops=4", "hops to be at most 3, got 4"),
        ("generated-1-n_tokens=1000000000", "n_tokens to be at most 100"),
        ("generated-1-gate=xor", "gate to be one of latin, threshold"),
        ("generated-1-leak=0.3", "leak to be two rising shares"),
        ("generated-1-leak=a..b", "leak to be two shares, as in 0.03..0.3, got 'a..b'"),
    ],
)
def test_ids_that_say_no_task(name: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        find_task(name)
    assert task_of(name) is None


@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    hops=st.integers(1, 3),
    tasks=st.integers(1, 2),
    markers=st.integers(1, 2),
)
def test_dials_are_kept(seed: int, hops: int, tasks: int, markers: int) -> None:
    dials = Dials(hops=hops, tasks=tasks, markers=markers)
    task = generate(seed, dials)
    heads = [node for node in task.lowering.nodes if node.kind is Kind.HEAD]
    assert len(heads) == (hops if tasks == 1 else 2 * hops + markers)
    assert task.config.n_layers == task.lowering.n_layers <= 6
    assert task.config.n_heads >= 4
    assert len(task.marks) == (dials.marks if tasks == 2 else 0)


@pytest.mark.slow
def test_the_first_of_two_tasks_computes_the_second_in_vain() -> None:
    task = generate(0, TWO)
    first, second = task.first_task, task.second_task
    pairs = first.sample(200, 0)
    starts = {int(first.decode(row)[1]) for row in pairs.input_ids}
    assert starts | {int(first.decode(row)[1]) for row in pairs.corrupted_input_ids} == set(
        range(6)
    ) - set(task.marks)
    whole, own, other = (
        set(each.complete_circuit.in_universe("qkv")) for each in (task, first, second)
    )
    assert own < whole and other < whole and own | other < whole
    assert own - other and other - own
    # What the other task computes differs between the inputs, so it is out rather than constant.
    truths = first.complete_circuit.edge_truths("qkv")
    assert {truths[edge] for edge in other - own} == {"out"}
    chosen = np.asarray(task.high_level.targets(pairs.input_ids))
    np.testing.assert_array_equal(pairs.target[pairs.is_scored], chosen[pairs.is_scored])


def test_a_rare_branch_is_as_rare_as_it_says() -> None:
    task = generate(1, RARE)
    assert RARE.rarity == pytest.approx(0.04)
    inputs = task.all_inputs()
    is_rare = np.isin(inputs[:, 1:3], [task.token_ids[str(mark)] for mark in task.marks]).all(
        axis=1
    )
    assert is_rare.mean() == pytest.approx(RARE.rarity)
    rare = task.second_task.sample(50, 0)
    assert np.isin(rare.input_ids[:, 1:3], [task.token_ids[str(m)] for m in task.marks]).all()


def test_cutting_one_of_three_copies_changes_nothing() -> None:
    task = generate(0, KINDS["copies"])
    pairs, model = task.sample(200, 0), task.high_level
    heads = [node for node in model.nodes if node.kind is Kind.HEAD]
    assert len(heads) == 3
    for head in heads:
        alone = model.targets(pairs.input_ids, pairs.corrupted_input_ids, node=head)
        np.testing.assert_array_equal(alone, model.targets(pairs.input_ids))
    two = np.asarray(model.targets(pairs.input_ids, pairs.corrupted_input_ids, node=heads[:2]))
    assert (two != np.asarray(model.targets(pairs.input_ids)))[pairs.is_scored].mean() > 0.2


@pytest.mark.slow
def test_good_tasks_have_no_problems() -> None:
    for kind in ("two fetches", "fan-out", "two tasks"):
        circuits = [task.complete_circuit for task in (CASES["11"], CASES["13"])]
        assert find_problems(generate(0, KINDS[kind]), circuits, n=512) == (), kind


@pytest.mark.slow
def test_every_reason_to_reject() -> None:
    small = find_problems(generate(0, Dials()), n=256)
    assert small == ("Only 3 edges do not start at the embedding; 5 are required.",)
    task = generate(0, KINDS["two fetches"])
    assert "Another task has the same circuit." in find_problems(
        task, [task.complete_circuit], n=256
    )

    def problems(**changes: object) -> str:
        return " ".join(find_problems(dataclasses.replace(task, **changes), n=256))  # pyright: ignore

    rarely: dict[Value, Value | None] = {token: int(token == 0) for token in range(5)}
    assert "One class has" in problems(program=Map(lookup(rarely), tokens))
    assert "outputs are missing" in problems(program=Map(lookup({0: 0, 1: 1}), tokens))
    never = problems(
        program=dataclasses.replace(
            task.program,
            function=dataclasses.replace(task.program.function, rows=(0, 0, 0, 0, 0)),  # pyright: ignore
        )
    )
    assert "changes 0.0% of the outputs, fewer than 5%" in never
    assert "changes 0.00% of the outputs, fewer than 1%" in never


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("dials", "message"),
    [
        ({"hops": 4}, "hops to be at most 3, got 4"),
        ({"fan_out": 2}, "fan_out to be at most 1, got 2"),
        ({"hops": 2, "tasks": 2, "fan_out": 2}, "fan_out to be at most 1, got 2"),
        ({"copies": 2}, "Expected 1 copy or 3, got copies=2"),
        ({"gate": "xor"}, "gate to be one of latin, threshold; got 'xor'"),
        ({"marks": 5}, "marks to be at most 4, got 5"),
        ({"length": 2}, "at least 3 tokens and 3 positions"),
        ({"n_tokens": "5"}, "n_tokens to be an int of at least 1, got '5'"),
        ({"leak": (0.5,)}, "leak to be two rising shares between 0 and 1, or None; got"),
        ({"leak": ("a", "b")}, "leak to be two rising shares between 0 and 1, or None; got"),
        ({"tasks": True}, "tasks to be an int of at least 1, got True"),
    ],
)
def test_dials_out_of_range(dials: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Dials(**dials)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("given", [("1",), (1.0,), (True,), (0, {"hops": 2})])
def test_what_is_no_seed_and_no_dials(given: tuple) -> None:
    with pytest.raises(TypeError, match="Expected an int as the seed, and Dials; got"):
        generate(*given)


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="n_layers of at least 3 and n_heads of at least 1"):
        generate(0, Dials(hops=2, n_layers=2))
    with pytest.raises(ValueError, match="a seed of at least 0, got -1"):
        generate(-1)
    with pytest.raises(ValueError, match="Expected two tasks in case"):
        _ = generate(0).first_task
    with pytest.raises(ValueError, match="expected a prefix of tokens of the vocabulary"):
        dataclasses.replace(generate(0), prefix=((9,),))


def test_a_prefix_is_kept_by_every_way_to_draw() -> None:
    space = SequenceSpace(
        (0, 1, 2), bos=3, pad=4, min_seq_len=5, max_seq_len=5, prefix=((1,), (0, 2))
    )
    every = space.list_all()
    assert len(every) == space.size(5) == 2 * 9
    assert len(np.unique(every, axis=0)) == 18
    rng = np.random.default_rng(0)
    drawn = space.draw(100, rng, None, is_variable=False)
    others = space.draw_others(drawn, rng, None)
    big = dataclasses.replace(space, max_seq_len=16, min_seq_len=16)
    for rows in (every, drawn, others, big.draw(100, rng, "train", is_variable=False)):
        assert (rows[:, 1] == 1).all() and np.isin(rows[:, 2], (0, 2)).all()
    assert (drawn != others).any(axis=1).all()


def test_it_says_what_it_is() -> None:
    task = generate(0, TWO)
    assert isinstance(task, GeneratedTask)
    assert "seed 0, tasks=2, marks=3, n_tokens=6, length=5" in task.description
    assert "keep if first task" in task.program_text

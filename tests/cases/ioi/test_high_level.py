"""The rule of the task: its answers, and its answers under interchange."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, combinations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from interpbench_jax.cases import IoiTask
from interpbench_jax.cases.case_ioi import TASK
from interpbench_jax.cases.case_ioi_next_token import TASK as NEXT_TOKEN
from interpbench_jax.cases.ioi.high_level import IoiModel
from interpbench_jax.high_level import Chosen
from interpbench_jax.sites import Kind, Node

FULL = TASK.in_full_vocabulary()
MODEL = TASK.high_level
NAMES = tuple(MODEL.names)
SUBSETS = tuple(chain.from_iterable(combinations(NAMES, size) for size in range(5)))
PAIRS = TASK.sample(40, seed=3)
INPUTS, SOURCES = PAIRS.input_ids, TASK.sample(40, seed=4).input_ids


def prompt(first: str, second: str, giver: str, noun: str = "store", thing: str = "milk") -> str:
    return f"Then, {first} and {second} went to the {noun}. {giver} gave the {thing} to"


def answer(model: IoiModel, text: str, source: str | None = None, node: str | None = None) -> str:
    """The last position's answer, as a name."""
    base = TASK.encode(text)[None]
    sources = None if source is None else TASK.encode(source)[None]
    target = int(np.asarray(model.targets(base, sources, node))[0, -1])
    return TASK.tokens[target].removeprefix(" ")


# Answers


@pytest.mark.optimized
@pytest.mark.slow
def test_every_prompt_is_answered_with_the_name_said_once() -> None:
    rows = TASK.all_inputs()
    first, second, giver = rows[:, 3], rows[:, 5], rows[:, 11]
    expected = np.where(giver == first, second, first)
    assert ((giver == first) ^ (giver == second)).all()
    size = 9_702  # a twelfth, so that no array is large and one program does
    found = [MODEL.targets(rows[i : i + size])[:, -1] for i in range(0, len(rows), size)]
    assert len(found) == 12
    np.testing.assert_array_equal(np.concatenate(found), expected)


def test_what_it_tells() -> None:
    assert NAMES == ("tokens", "duplicate", "s_inhibition", "name_mover")
    assert list(map(str, MODEL.nodes)) == [
        "blocks.0.mlp.hook_post",
        "blocks.1.attn.hook_result[1]",
        "blocks.2.attn.hook_result[1]",
        "blocks.4.attn.hook_result[1]",
    ]
    assert MODEL.is_categorical
    assert MODEL == NEXT_TOKEN.high_level == IoiModel(TASK.vocabulary)


def test_values_by_hand() -> None:
    values = MODEL.values(TASK.encode(prompt("Mary", "John", "John"))[None])
    # Then , Mary and John went to the store . John gave the milk to: the giver was said at 5,
    # "the" at 8 and "to" at 7.
    duplicate = [-1] * 11 + [5, -1, 8, -1, 7]
    np.testing.assert_array_equal(values.duplicate, [duplicate])
    repeated = [TASK.tokens[i] for i in np.asarray(values.s_inhibition)[0] if i >= 0]
    assert repeated == [" John", " the", " to"]
    scores = {
        TASK.tokens[i]: score
        for i, score in enumerate(np.asarray(values.name_mover)[0, -1].tolist())
        if score
    }
    # John: twice 10, less 15.
    assert scores == {" Mary": 10, " John": 5, " the": -15, " to": -15}
    assert values.name_mover.dtype == values.duplicate.dtype == jnp.int32


# Interchange by hand

MARY_JOHN_JOHN = prompt("Mary", "John", "John")  # Mary
MARY_JOHN_MARY = prompt("Mary", "John", "Mary", "market", "eggs")  # John
SARA_TYLER_TYLER = prompt("Sara", "Tyler", "Tyler", "market", "bread")  # Sara
SARA_TYLER_SARA = prompt("Sara", "Tyler", "Sara", "store", "eggs")  # Tyler
KELLY_ERIN_ERIN = prompt("Kelly", "Erin", "Erin")  # Kelly

# A base, a source, and the answers with the source's tokens, duplicate, s_inhibition, name_mover.
# The giver has 20 for being said twice, the other 10, and 15 less whoever is inhibited.
TABLE: tuple[tuple[str, str, tuple[str, str, str, str]], ...] = (
    # The duplicate is at 5 in both; Paul, inhibited, is not in the base: its giver wins.
    (MARY_JOHN_JOHN, prompt("Lisa", "Paul", "Paul"), ("Lisa", "Mary", "John", "Lisa")),
    # The duplicate is at 3 in the source: the base's Mary is inhibited, 20 against -5.
    (MARY_JOHN_JOHN, prompt("Lisa", "Paul", "Lisa"), ("Paul", "John", "John", "Paul")),
    (MARY_JOHN_MARY, prompt("Lisa", "Paul", "Lisa"), ("Paul", "John", "Mary", "Paul")),
    (MARY_JOHN_MARY, prompt("Lisa", "Paul", "Paul"), ("Lisa", "Mary", "Mary", "Lisa")),
    # The same giver, said first: as a position it is Mary's, as a token still John.
    (MARY_JOHN_JOHN, prompt("John", "Mary", "John"), ("Mary", "John", "Mary", "Mary")),
    # The other giver: position and token both inhibit Mary.
    (MARY_JOHN_JOHN, prompt("Mary", "John", "Mary"), ("John", "John", "John", "John")),
    (MARY_JOHN_MARY, prompt("John", "Mary", "Mary"), ("John", "Mary", "John", "John")),
    # The same position, the other giver: as a position it is Tyler's, as a token Sara.
    (SARA_TYLER_TYLER, prompt("Tyler", "Sara", "Sara"), ("Tyler", "Sara", "Tyler", "Tyler")),
    # One name in common, which both inhibit.
    (SARA_TYLER_SARA, prompt("Sara", "Kelly", "Sara"), ("Kelly", "Tyler", "Tyler", "Kelly")),
    # Nobody is said twice: three names score 10, of whom Mark's id is the smallest; in the base
    # nobody is inhibited.
    (KELLY_ERIN_ERIN, prompt("Amy", "Mark", "Eric"), ("Mark", "Erin", "Erin", "Mark")),
)


def test_the_bases_of_the_table() -> None:
    bases = (MARY_JOHN_JOHN, MARY_JOHN_MARY, SARA_TYLER_TYLER, SARA_TYLER_SARA, KELLY_ERIN_ERIN)
    assert [answer(MODEL, base) for base in bases] == ["Mary", "John", "Sara", "Tyler", "Kelly"]
    assert len(TABLE) == 10


@pytest.mark.parametrize(("base", "source", "expected"), TABLE)
def test_interchanges_by_hand(base: str, source: str, expected: tuple[str, ...]) -> None:
    found = tuple(answer(MODEL, base, source, name) for name in NAMES)
    assert found == expected
    by_node = tuple(answer(MODEL, base, source, str(node)) for node in MODEL.nodes)
    assert by_node == expected


@pytest.mark.parametrize(("base", "source", "expected"), TABLE)
def test_interchanges_by_hand_in_gpt2s_ids(
    base: str, source: str, expected: tuple[str, ...]
) -> None:
    tokens, sources = FULL.encode(base)[None], FULL.encode(source)[None]
    for name, wanted in zip(NAMES, expected, strict=True):
        target = int(np.asarray(FULL.high_level.targets(tokens, sources, name))[0, -1])
        assert FULL.tokens[target] == f" {wanted}"


# Another reading: plain Python, one position after another


@dataclass(frozen=True)
class Plain:
    tokens: list[int]
    duplicate: list[int]
    s_inhibition: list[int]
    name_mover: list[dict[int, int]]


def read_plainly(
    row: Sequence[int],
    names: Collection[int],
    source: Plain | None = None,
    chosen: Collection[str] = (),
) -> Plain:
    """The rule of upstream's facts, with components taken from a source before they are read."""

    def is_taken(name: str) -> bool:
        return name in chosen

    assert source is not None or not chosen
    tokens = source.tokens if source and is_taken("tokens") else list(row)
    duplicate = []
    for t, token in enumerate(tokens):
        earlier = [s for s in range(t) if tokens[s] == token]
        duplicate.append(earlier[-1] if earlier else -1)
    if source and is_taken("duplicate"):
        duplicate = source.duplicate
    s_inhibition = [-1 if d == -1 else tokens[d] for d in duplicate]
    if source and is_taken("s_inhibition"):
        s_inhibition = source.s_inhibition
    name_mover: list[dict[int, int]] = []
    so_far: dict[int, int] = {}
    for token, inhibited in zip(tokens, s_inhibition, strict=True):
        if token in names:
            so_far[token] = so_far.get(token, 0) + 10
        if inhibited != -1:
            so_far[inhibited] = so_far.get(inhibited, 0) - 15
        name_mover.append(dict(so_far))
    if source and is_taken("name_mover"):
        name_mover = source.name_mover
    return Plain(tokens, duplicate, s_inhibition, name_mover)


def as_rows(name_mover: Sequence[Mapping[int, int]], ids: Sequence[int]) -> list[list[int]]:
    return [[scores.get(i, 0) for i in ids] for scores in name_mover]


def random_tokens(
    rng: np.random.Generator, ids: Sequence[int], batch: int, n_pos: int
) -> np.ndarray:
    """Rows of few different tokens, names and others, so that many are said again."""
    few = [rng.choice(ids, 5, replace=False) for _ in range(batch)]
    return np.stack([rng.choice(own, n_pos) for own in few]).astype(np.int32)


@pytest.mark.parametrize("n_pos", [1, 2, 7, 16, 23])
@pytest.mark.parametrize("task", [TASK, FULL], ids=["prompts' tokens", "GPT-2"])
def test_values_are_those_of_plain_python(task: IoiTask, n_pos: int) -> None:
    names = set(task.vocabulary.names.tolist())
    rng = np.random.default_rng(n_pos)
    tokens = random_tokens(rng, task.vocabulary.ids, 12, n_pos)
    tokens[:4] = random_tokens(rng, sorted(names), 4, n_pos)
    values = task.high_level.values(jnp.asarray(tokens))
    for i, row in enumerate(tokens.tolist()):
        plain = read_plainly(row, names)
        for field in ("tokens", "duplicate", "s_inhibition"):
            assert np.asarray(getattr(values, field))[i].tolist() == getattr(plain, field)
        found = np.asarray(values.name_mover)[i]
        assert np.issubdtype(found.dtype, np.integer)
        assert found.tolist() == as_rows(plain.name_mover, task.vocabulary.ids)
    if n_pos >= 16:  # nothing that a prompt would hold
        assert len(np.unique(values.duplicate)) >= n_pos - 2
        assert (np.asarray(values.name_mover) < -15).any()


@pytest.mark.parametrize("n_pos", [2, 9, 16])
def test_interchanges_are_those_of_plain_python(n_pos: int) -> None:
    """Any tokens, any components at once: positions that hold no name, and none at all."""
    rng = np.random.default_rng(n_pos)
    names = set(TASK.vocabulary.names.tolist())
    both = [random_tokens(rng, range(113), 48, n_pos) for _ in range(2)]
    for tokens in both:
        tokens[::3] = random_tokens(rng, sorted(names), 16, n_pos)
    base, source = both
    chosen = [SUBSETS[i % len(SUBSETS)] for i in range(48)]
    mask = np.asarray([[name in subset for name in NAMES] for subset in chosen])
    args = (jnp.asarray(base), jnp.asarray(source), mask)
    outputs, targets = np.asarray(MODEL(*args)), np.asarray(MODEL.targets(*args))
    assert outputs.shape == (48, n_pos, 113) and outputs.dtype == np.float32
    n_changed = 0
    for i, subset in enumerate(chosen):
        of_source = read_plainly(source[i].tolist(), names)
        plain = read_plainly(base[i].tolist(), names, of_source, subset)
        expected = as_rows(plain.name_mover, range(113))
        assert outputs[i].tolist() == expected, subset
        assert targets[i].tolist() == [row.index(max(row)) for row in expected], subset
        n_changed += plain.name_mover != read_plainly(base[i].tolist(), names).name_mover
    assert n_changed > 10


@pytest.mark.slow
def test_interchanges_in_gpt2s_ids_are_those_of_plain_python() -> None:
    rng = np.random.default_rng(0)
    names = set(FULL.vocabulary.names.tolist())
    base, source = (random_tokens(rng, FULL.vocabulary.ids, 16, 6) for _ in range(2))
    mask = np.asarray([[name in subset for name in NAMES] for subset in SUBSETS])
    args = (jnp.asarray(base), jnp.asarray(source), mask)
    outputs = np.asarray(FULL.high_level(*args))
    targets = np.asarray(FULL.high_level.targets(*args))
    assert outputs.shape == (16, 6, 50_257)
    for i, subset in enumerate(SUBSETS):
        of_source = read_plainly(source[i].tolist(), names)
        plain = read_plainly(base[i].tolist(), names, of_source, subset)
        expected = np.asarray(as_rows(plain.name_mover, range(50_257)), np.float32)
        np.testing.assert_array_equal(outputs[i], expected)
        np.testing.assert_array_equal(targets[i], expected.argmax(axis=-1))


# Laws


def test_no_component_and_every_component() -> None:
    plain, of_sources = MODEL(INPUTS), MODEL(SOURCES)
    assert not np.array_equal(plain, of_sources)
    nothing = np.zeros((40, 4), bool)
    np.testing.assert_array_equal(MODEL(INPUTS, SOURCES, nothing), plain)
    np.testing.assert_array_equal(MODEL(INPUTS, SOURCES, ()), plain)
    for node in (MODEL.nodes, "tokens", "name_mover", ("duplicate", "name_mover")):
        np.testing.assert_array_equal(MODEL(INPUTS, SOURCES, node), of_sources)
    for node in ("duplicate", "s_inhibition"):
        assert not np.array_equal(MODEL(INPUTS, SOURCES, node), of_sources)
        np.testing.assert_array_equal(MODEL(INPUTS, INPUTS, node), plain)
    # What is read through another component has no effect once that is taken.
    both, one = (MODEL(INPUTS, SOURCES, each) for each in (NAMES[1:3], NAMES[2]))
    np.testing.assert_array_equal(both, one)


@pytest.mark.parametrize("index", range(4))
def test_every_way_to_name_components_means_the_same(index: int) -> None:
    node = MODEL.nodes[index]
    expected = MODEL(INPUTS, SOURCES, node)
    mask = np.zeros((40, 4), bool)
    mask[:, index] = True
    ways: tuple[Chosen, ...] = (
        *(NAMES[index], str(node), [node], [NAMES[index]]),
        *(np.full(40, index), jnp.full(40, index), mask),
    )
    for same in ways:
        np.testing.assert_array_equal(MODEL(INPUTS, SOURCES, same), expected)


def test_a_choice_of_component_per_example() -> None:
    chosen = np.arange(40) % 5 - 1
    found = np.asarray(MODEL.targets(INPUTS, SOURCES, chosen))
    for index in range(-1, 4):
        here = chosen == index
        node = () if index < 0 else MODEL.nodes[index]
        expected = np.asarray(MODEL.targets(INPUTS, SOURCES, node))
        np.testing.assert_array_equal(found[here], expected[here])


def test_targets_are_the_classes_of_the_outputs() -> None:
    for node in (None, *NAMES):
        sources = None if node is None else SOURCES
        outputs = np.asarray(MODEL(INPUTS, sources, node))
        targets = MODEL.targets(INPUTS, sources, node)
        assert targets.dtype == jnp.int32 and targets.shape == (40, 16)
        np.testing.assert_array_equal(targets, outputs.argmax(axis=-1))


@pytest.mark.parametrize("node", [None, *NAMES, ("tokens", "duplicate")], ids=str)
def test_full_vocabulary_targets_equal_compact_ones(node: str | tuple[str, ...] | None) -> None:
    ids = np.asarray(TASK.gpt2_ids, np.int32)
    sources = None if node is None else SOURCES
    expected = MODEL.targets(INPUTS, sources, node)
    found = FULL.high_level.targets(ids[INPUTS], None if sources is None else ids[sources], node)
    assert found.dtype == jnp.int32
    # From the first name on; before it every token scores 0, and the first one is another.
    np.testing.assert_array_equal(np.asarray(found)[:, 3:], ids[np.asarray(expected)][:, 3:])
    assert not np.asarray(found)[:, :3].any() and not np.asarray(expected)[:, :3].any()


def test_under_jit_and_vmap() -> None:
    mask = np.asarray([[name in SUBSETS[i % 16] for name in NAMES] for i in range(40)])
    expected = MODEL(INPUTS, SOURCES, mask)
    args = tuple(map(jnp.asarray, (INPUTS, SOURCES, mask)))
    np.testing.assert_array_equal(jax.jit(MODEL.__call__)(*args), expected)

    def one(tokens: jax.Array, source: jax.Array, chosen: jax.Array) -> jax.Array:
        return MODEL(tokens[None], source[None], chosen[None])[0]

    np.testing.assert_array_equal(jax.jit(jax.vmap(one))(*args), expected)
    targets = jax.jit(MODEL.targets)(*args)
    np.testing.assert_array_equal(targets, MODEL.targets(INPUTS, SOURCES, mask))
    full = jax.jit(FULL.high_level.targets)(*args)
    np.testing.assert_array_equal(full, FULL.high_level.targets(*args))


# Without the tokens as a component


def test_without_tokens() -> None:
    model = replace(TASK, has_tokens=False).high_level
    assert tuple(model.names) == NAMES[1:] and model.nodes == MODEL.nodes[1:]
    np.testing.assert_array_equal(model(INPUTS), MODEL(INPUTS))
    for subset in SUBSETS:
        if "tokens" not in subset:
            expected = MODEL(INPUTS, SOURCES, subset)
            np.testing.assert_array_equal(model(INPUTS, SOURCES, subset), expected)
            mask = np.tile([name in subset for name in NAMES[1:]], (40, 1))
            np.testing.assert_array_equal(model(INPUTS, SOURCES, mask), expected)
    np.testing.assert_array_equal(
        model(INPUTS, SOURCES, np.zeros(40, int)), MODEL(INPUTS, SOURCES, "duplicate")
    )
    with pytest.raises(ValueError, match=r"\(.*name_mover\), got blocks\.0\.mlp\.hook_post"):
        model(INPUTS, SOURCES, MODEL.nodes[0])
    with pytest.raises(ValueError, match="got tokens"):
        model(INPUTS, SOURCES, "tokens")
    with pytest.raises(ValueError, match=r"bool of shape \(40, 3\), got bool of shape \(40, 4\)"):
        model(INPUTS, SOURCES, np.zeros((40, 4), bool))


# Errors


@pytest.mark.parametrize(
    ("node", "message"),
    [
        (Node(Kind.HEAD, 1, 0), r"\(blocks\.0.*, tokens, duplicate, .*\), got blocks\.1\.attn"),
        (["duplicate", Node(Kind.MLP_POST, 5)], r"Expected a component .*, got blocks\.5\.mlp"),
        ("mover", "got mover"),
        (np.zeros(3, int), r"int of shape \(40,\) or bool of shape \(40, 4\), got int.* \(3,\)"),
        (np.zeros(40, np.float32), r"got float32 of shape \(40,\)"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_a_wrong_component(node: Chosen, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MODEL(INPUTS, SOURCES, node)


def test_wrong_inputs() -> None:
    with pytest.raises(ValueError, match="Expected source_tokens and a node or an edge"):
        MODEL.targets(INPUTS, SOURCES)
    with pytest.raises(ValueError, match=r"of the same shape as the inputs, got \(39, 16\)"):
        MODEL.targets(INPUTS, SOURCES[:39], "duplicate")
    gpt2 = np.asarray(TASK.gpt2_ids, np.int32)[INPUTS]
    with pytest.raises(ValueError, match="Expected token ids from 0 to 112, got 11 to 50256"):
        MODEL(gpt2)
    with pytest.raises(ValueError, match=r"begin with BOS \(id 50256\), got ids \[112\]"):
        FULL.high_level.targets(INPUTS)
    with pytest.raises(ValueError, match=r"begin with BOS \(id 112\)"):
        MODEL.targets(INPUTS, SOURCES[:, ::-1].copy(), "duplicate")


# What a trained model's logits follow


@pytest.mark.parametrize("task", [TASK, FULL], ids=["prompts", "gpt2"])
def test_logits_follow_the_names_scores(task: IoiTask) -> None:
    pairs = task.sample(20, seed=5)
    assert pairs.distractor is not None
    shares = np.asarray(task.high_level.class_shares(pairs.input_ids))[:, -1]
    rows = np.arange(len(shares))
    # Said once, and said twice but inhibited; repeated words that are no names do not count.
    np.testing.assert_array_equal(shares[rows, pairs.target[:, -1]], 1.0)
    np.testing.assert_array_equal(shares[rows, pairs.distractor], 0.5)
    assert (np.count_nonzero(shares, axis=1) == 2).all()
    # Under interchange another name's repetition counts against it.
    sources = task.sample(20, seed=6).input_ids
    swapped = task.high_level.class_shares(pairs.input_ids, sources, "s_inhibition")
    assert np.isin(np.asarray(swapped)[:, -1], (-1.5, -0.5, 0.0, 0.5, 1.0, 2.0)).all()

"""The IOI prompts: their text and ids, and texts that are not prompts."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np
import pytest

from interpbench_jax.cases import SPLITS, IoiTask, Split
from interpbench_jax.cases.case_ioi import TASK
from interpbench_jax.cases.ioi.gpt2 import NAME_IDS
from interpbench_jax.cases.ioi.prompts import LOCATIONS, OBJECTS
from tests.fixtures import UPSTREAM, requires_upstream

FULL = TASK.in_full_vocabulary()
VOCABULARIES = pytest.mark.parametrize("task", [TASK, FULL], ids=["prompts' tokens", "GPT-2"])
PROMPT = "Then, Mary and John went to the store. John gave the milk to"


@dataclass(frozen=True)
class Facts:
    """Facts about the prompts from upstream and GPT-2."""

    templates: tuple[str, ...]
    locations: tuple[str, ...]
    objects: tuple[str, ...]
    names: tuple[str, ...]
    token_ids: dict[str, int]
    bos: int


@pytest.fixture(scope="module")
def facts() -> Facts:
    found = json.loads((UPSTREAM / "ioi" / "facts.json").read_text(encoding="utf-8"))
    tokens = json.loads((UPSTREAM / "ioi" / "gpt2_tokens.json").read_text(encoding="utf-8"))
    return Facts(
        tuple(found["prompt_templates"]),
        tuple(found["nouns"]["LOCATION"]),
        tuple(found["nouns"]["OBJECT"]),
        tuple(tokens["names"]),
        tokens["token_ids"],
        tokens["bos_token_id"],
    )


def cut(text: str) -> list[str]:
    """Split a text whose words are one token each into GPT-2's tokens."""
    tokens: list[str] = []
    for place, word in enumerate(text.split(" ")):
        body = word.rstrip(",.")
        tokens += [body if place == 0 else f" {body}", *word[len(body) :]]
    return tokens


def fill(template: str, location: str, thing: str, a: str, b: str) -> str:
    """Fill a template; the prompt ends with the answer."""
    slots = {"[A]": a, "[B]": b, "[LOCATION]": location, "[OBJECT]": thing}
    for slot, word in slots.items():
        template = template.replace(slot, word)
    return template


def filled(facts: Facts, a: str, b: str) -> Iterator[str]:
    """Yield every prompt of two names, followed by its answer."""
    for template, location, thing in product(facts.templates, facts.locations, facts.objects):
        yield fill(template, location, thing, a, b)


def known_ids(facts: Facts, text: str) -> list[int]:
    return [facts.bos, *(facts.token_ids[token] for token in cut(text))]


# Comparison with upstream


@requires_upstream
def test_the_table_is_gpt2s(facts: Facts) -> None:
    # Upstream's list has one token that appears in no prompt.
    known = {token: i for token, i in facts.token_ids.items() if token != " a"} | {"BOS": 50256}
    assert len(known) == 113
    assert dict(zip(TASK.tokens, TASK.gpt2_ids, strict=True)) == known
    assert list(TASK.gpt2_ids) == sorted(known.values())
    assert {token: FULL.token_ids[token] for token in known} == known


@requires_upstream
def test_names_and_nouns_are_complete(facts: Facts) -> None:
    assert tuple(NAME_IDS) == facts.names
    assert len(set(facts.names)) == 99
    assert LOCATIONS == tuple(f" {noun}" for noun in facts.locations)
    assert OBJECTS == tuple(f" {noun}" for noun in facts.objects)
    rows = TASK.all_inputs()
    names = {TASK.token_ids[f" {name}"] for name in facts.names}
    for position in (3, 5, 11):
        assert set(rows[:, position].tolist()) == names
    for position, nouns in ((9, facts.locations), (14, facts.objects)):
        found = {TASK.tokens[i] for i in set(rows[:, position].tolist())}
        assert found == {f" {noun}" for noun in nouns}


@requires_upstream
@pytest.mark.parametrize("n_pairs", [40, pytest.param(198, marks=pytest.mark.slow)])
def test_prompts_encode_to_gpt2s_ids(facts: Facts, n_pairs: int) -> None:
    """Check every template with every noun, for random pairs of names.

    In 198 pairs, each name is the first of two and the second of two.
    """
    rng = np.random.default_rng(n_pairs)
    orders = [rng.permutation(99) for _ in range(2)]
    pairs = [pair for order in orders for pair in zip(order, np.roll(order, 1), strict=True)]
    compact_of = {gpt2_id: i for i, gpt2_id in enumerate(TASK.gpt2_ids)}
    n_checked = 0
    for number, pair in enumerate(pairs[:n_pairs]):
        a, b = (facts.names[i] for i in pair)
        for text in filled(facts, a, b):
            *prompt, answer = known_ids(facts, text)
            assert len(prompt) == 16 and prompt[0] == facts.bos
            ids = FULL.encode(text.rsplit(" ", 1)[0])
            assert (ids.tolist(), ids.dtype) == (prompt, np.int32), text
            if number < 30:
                compact = TASK.encode(text.rsplit(" ", 1)[0])
                assert compact.tolist() == [compact_of[i] for i in prompt], text
                right, giver = FULL.space.answers(ids[None])
                assert (right.tolist(), giver.tolist()) == ([answer], [prompt[11]])
            n_checked += 1
    assert n_checked == 4 * 2 * 3 * n_pairs


@pytest.mark.slow
@requires_upstream
def test_all_inputs_are_the_four_templates(facts: Facts) -> None:
    """Each prompt comes from two templates, which name the people in opposite order."""
    n_names = len(facts.names)
    name_ids = np.asarray([facts.token_ids[f" {name}"] for name in facts.names], np.int32)
    a, b = (part.ravel() for part in np.meshgrid(range(n_names), range(n_names)))
    a, b = a[a != b], b[a != b]
    rows = []
    for text in filled(facts, "Aa", "Bb"):
        tokens = ["BOS", *cut(text)[:-1]]
        ids = facts.token_ids | {"BOS": facts.bos, " Aa": 0, " Bb": 0}
        part = np.tile(np.asarray([ids[token] for token in tokens], np.int32), (len(a), 1))
        for position, token in enumerate(tokens):
            if token in (" Aa", " Bb"):
                part[:, position] = name_ids[a if token == " Aa" else b]
        rows.append(part)
    expected = np.unique(np.concatenate(rows), axis=0)
    assert sum(map(len, rows)) == 2 * 116_424
    np.testing.assert_array_equal(np.unique(FULL.all_inputs(), axis=0), expected)


# Listing and drawing


@VOCABULARIES
def test_all_inputs_are_distinct(task: IoiTask) -> None:
    rows = task.all_inputs()
    assert (rows.shape, rows.dtype) == ((116_424, 16), np.int32)
    assert task.n_inputs == 2 * 2 * 3 * 99 * 98 == len(np.unique(rows, axis=0))
    assert task.space.is_prompt(rows).all() and (rows[:, 0] == task.bos_id).all()


def test_splits_share_no_prompt_and_leave_none_out() -> None:
    parts = [TASK.all_inputs(split) for split in SPLITS]
    shares = [len(part) / TASK.n_inputs for part in parts]
    np.testing.assert_allclose(shares, [0.8, 0.1, 0.1], atol=0.005)
    assert sum(map(len, parts)) == TASK.n_inputs == len(np.unique(np.concatenate(parts), axis=0))


@pytest.mark.parametrize("split", [None, *SPLITS])
def test_both_vocabularies_have_the_same_prompts(split: Split | None) -> None:
    ids = np.asarray(TASK.gpt2_ids, np.int32)
    np.testing.assert_array_equal(ids[TASK.all_inputs(split)], FULL.all_inputs(split))
    drawn = [task.draw(50, np.random.default_rng(1), split) for task in (TASK, FULL)]
    np.testing.assert_array_equal(ids[drawn[0]], drawn[1])
    compact, full = (task.sample(50, 2, split=split, unique=True) for task in (TASK, FULL))
    for name in ("input_ids", "corrupted_input_ids"):
        np.testing.assert_array_equal(ids[getattr(compact, name)], getattr(full, name))
    np.testing.assert_array_equal(ids[compact.target], full.target)
    assert compact.distractor is not None
    np.testing.assert_array_equal(ids[compact.distractor], full.distractor)


@pytest.mark.parametrize("split", [None, *SPLITS])
def test_draws(split: Split | None) -> None:
    pool = {row.tobytes() for row in TASK.all_inputs(split)}
    for rows in (
        TASK.draw(3_000, np.random.default_rng(0), split),
        TASK.space.draw_unique(3_000, np.random.default_rng(0), split),
    ):
        assert (rows.shape, rows.dtype) == ((3_000, 16), np.int32)
        assert {row.tobytes() for row in rows} <= pool
        # Each of three objects and either giver is equally likely, to five standard deviations.
        shares = np.unique(rows[:, 14], return_counts=True)[1] / 3_000
        np.testing.assert_allclose(shares, 1 / 3, atol=5 * (2 / 9 / 3_000) ** 0.5)
        assert abs((rows[:, 3] == rows[:, 11]).mean() - 0.5) < 5 * (1 / 4 / 3_000) ** 0.5
    assert len(np.unique(rows, axis=0)) == 3_000


def test_every_prompt_can_be_drawn_once() -> None:
    pool = TASK.all_inputs("test")
    rows = TASK.space.draw_unique(len(pool), np.random.default_rng(0), "test")
    assert not np.array_equal(rows, pool)
    np.testing.assert_array_equal(np.unique(rows, axis=0), np.unique(pool, axis=0))


def test_more_than_there_are() -> None:
    rng = np.random.default_rng(0)
    message = "at most 116,424 different inputs, got 116,425; request fewer"
    with pytest.raises(ValueError, match=message):
        TASK.space.draw_unique(116_425, rng, None)
    n = len(TASK.all_inputs("test"))
    message = rf"at most {n:,} different inputs in split 'test', got {n + 1:,}"
    with pytest.raises(ValueError, match=message):
        TASK.sample(n + 1, 0, split="test", unique=True)


@pytest.mark.usefixtures("unchecked")
def test_an_unknown_split() -> None:
    rng = np.random.default_rng(0)
    for draw in (
        lambda: TASK.draw(1, rng, "dev"),  # pyright: ignore[reportArgumentType]
        lambda: TASK.space.draw_unique(1, rng, "dev"),  # pyright: ignore[reportArgumentType]
        lambda: TASK.all_inputs("dev"),  # pyright: ignore[reportArgumentType]
    ):
        with pytest.raises(ValueError, match="to be one of train, validation, test; got 'dev'"):
            draw()


# Conversion of text to ids and back


@pytest.mark.parametrize(("task", "n"), [(TASK, 300), (FULL, 10)], ids=["prompts", "GPT-2"])
def test_round_trip(task: IoiTask, n: int) -> None:
    for ids in task.draw(n, np.random.default_rng(0)):
        text, tokens = task.text(ids), task.decode(ids)
        assert text == "".join(tokens[1:]) and tokens[0] == "BOS"
        for same in (text, tokens, tokens[1:]):
            assert task.encode(same).tolist() == ids.tolist()


def test_known_ids() -> None:
    gpt2 = "50256 6423 11 5335 290 1757 1816 284 262 3650 13 1757 2921 262 7545 284"
    ids = FULL.encode(PROMPT)
    assert ids.tolist() == [int(i) for i in gpt2.split()]
    assert FULL.text(ids) == TASK.text(TASK.encode(PROMPT)) == PROMPT
    # The compact ids number the prompts' tokens in the order of GPT-2's ids.
    assert TASK.encode(PROMPT)[[0, 2, 10]].tolist() == [112, 0, 1]
    assert (TASK.bos_id, FULL.bos_id) == (112, 50_256)


def test_three_different_names_are_read() -> None:
    text = "Then, Mary and John went to the market. Lisa gave the eggs to"
    assert TASK.text(TASK.encode(text)) == text


FORM = "Expected a prompt in the form of 'Then, Mary and John .*', without the name that completes"
SUCH_AS = "Expected a prompt such as 'Then, Mary and John went to the store"
TOKENS = "Expected a prompt of the 113 tokens in the table, such as 'Then, Mary.*; got "


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", FORM),
        ("Then", FORM),
        ("How are you", TOKENS + "'How' in 'How are you'"),
        ("How are you?", SUCH_AS),
        (PROMPT.replace("Mary", "Zelda"), TOKENS + "' Zelda' in"),
        (PROMPT.replace("Mary", "mary"), TOKENS + "' mary' in"),
        (PROMPT.replace("store", "school"), TOKENS + "' school' in"),
        (PROMPT + " Mary", FORM),
        (PROMPT.removesuffix(" to"), FORM),
        ("Then, Mary John and went to the store. John gave the milk to", FORM),
        ("Then, Mary and John went to the milk. John gave the store to", FORM),
        ("Then, Mary and store went to the John. John gave the milk to", FORM),
        ("John gave the milk to Mary. Then, Mary and John went to the store", TOKENS + "'John' in"),
        (PROMPT.replace("Then,", "Then"), FORM),
        (PROMPT.replace(".", ","), FORM),
        (PROMPT.replace(",", ";"), SUCH_AS),
        (PROMPT + ".", FORM),
        (PROMPT + " ", SUCH_AS),
        (PROMPT.replace(" and", "  and"), SUCH_AS),
        (PROMPT.replace(" and", "\nand"), SUCH_AS),
        (f" {PROMPT}", TOKENS + "' Then' in"),
    ],
)
@VOCABULARIES
def test_what_is_not_a_prompt(task: IoiTask, text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as raised:
        task.encode(text)
    assert repr(text) in str(raised.value)
    if text:
        tokens = re.findall(r"\s*[A-Za-z]+|\W", text)
        with pytest.raises(ValueError, match=message):
            task.encode(tokens)


def test_no_tokens_are_not_a_prompt() -> None:
    for tokens in ([], ["BOS"], ["BOS", "BOS", *TASK.decode(TASK.encode(PROMPT))[1:]]):
        with pytest.raises(ValueError, match="Expected a prompt"):
            TASK.encode(tokens)


def test_unknown_ids() -> None:
    with pytest.raises(ValueError, match=r"Expected ids from 0 to 112, got 113; the row was"):
        TASK.decode([112, 113])
    with pytest.raises(ValueError, match=r"Expected ids from 0 to 50256, got -1"):
        FULL.text([50_256, -1])

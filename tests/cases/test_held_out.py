"""Held-out tasks: the public ones are fixed, the private ones need their key."""

import hashlib
from pathlib import Path

import pytest

from interpbench_jax.cases import CASES, find_task, task_of
from interpbench_jax.cases.generated import GeneratedTask, find_problems
from interpbench_jax.cases.generated.held_out import (
    KEY_VARIABLE,
    N_TASKS,
    PrivateTaskError,
    SecretKey,
    draw_held_out,
)

PUBLIC = tuple(f"held-out-{number}" for number in range(1, N_TASKS + 1))


@pytest.fixture
def key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SecretKey:
    """A new key, which the environment names."""
    own = SecretKey.draw()
    path = tmp_path / "my.key"
    path.write_text(own.text, encoding="ascii")
    monkeypatch.setenv(KEY_VARIABLE, str(path))
    return own


@pytest.mark.slow
def test_the_public_tasks_stay_what_they_are() -> None:
    """Published results must mean the same everywhere, so the draw itself is pinned."""
    tasks = [draw_held_out(case_id) for case_id in PUBLIC]
    assert [task.case_id for task in tasks] == list(PUBLIC)
    texts = "\n".join(f"{task.program_text} {task.moved}" for task in tasks)
    assert hashlib.sha256(texts.encode()).hexdigest()[:16] == "0ecbbacdd4d38947"
    assert len({task.program_text for task in tasks}) == N_TASKS
    assert not set(PUBLIC) & set(CASES)


def test_ideas_take_turns() -> None:
    tasks = [draw_held_out(case_id) for case_id in PUBLIC[:6]]
    assert [bool(task.prefix) for task in tasks] == [True, False, False] * 2
    assert [task.leak is not None for task in tasks] == [False, True, False] * 2
    assert [0 < task.dials.rarity < 0.1 for task in tasks] == [False, False, True] * 2


def test_circuits_differ_between_tasks_of_the_same_settings() -> None:
    for first in range(3):
        placed = {draw_held_out(case_id).moved for case_id in PUBLIC[first::3]}
        assert len(placed) > 8


@pytest.mark.slow
@pytest.mark.parametrize("case_id", PUBLIC[:6])
def test_there_is_no_reason_to_reject_a_public_task(case_id: str) -> None:
    task = find_task(case_id)
    assert isinstance(task, GeneratedTask)
    assert find_problems(task, n=1024) == ()


def test_private_tasks_need_their_key(key: SecretKey, monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(set(key.ids)) == N_TASKS
    assert key.ids[6] == f"private-{key.digest[:16]}-7"
    task = find_task(key.ids[6])
    assert task == task_of(key.ids[6]) and task.case_id == key.ids[6]
    assert task.program_text != find_task("held-out-7").program_text
    assert key.value.hex() not in repr(key)

    other = SecretKey.draw().ids[6]
    with pytest.raises(PrivateTaskError, match=r"Expected the key whose SHA-256 begins with"):
        find_task(other)
    monkeypatch.delenv(KEY_VARIABLE)
    for look in (find_task, task_of, draw_held_out):
        with pytest.raises(PrivateTaskError, match="which is not set"):
            look(other)


@pytest.mark.parametrize("content", ["", "0" * 63, "g" * 64, "0" * 65, "0" * 2_000])
def test_a_file_that_is_no_key(
    content: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "bad.key"
    path.write_text(content, encoding="ascii")
    with pytest.raises(ValueError, match=r"64 hexadecimal digits|at most"):
        SecretKey.read(path)
    monkeypatch.setenv(KEY_VARIABLE, str(path))
    with pytest.raises(PrivateTaskError, match="is no key for"):
        find_task("private-0123456789abcdef-1")


def test_a_key_is_found_again_in_its_file(tmp_path: Path) -> None:
    own = SecretKey.draw()
    (tmp_path / "my.key").write_text(own.text, encoding="ascii")
    assert SecretKey.read(tmp_path / "my.key") == own
    assert own.digest == hashlib.sha256(own.value).hexdigest()
    assert SecretKey.draw() != own


@pytest.mark.parametrize(
    "name", ["held-out-0", "held-out-101", "held-out-01", "held-out-", "private-12-1", "private-"]
)
def test_ids_of_no_held_out_task(name: str) -> None:
    assert task_of(name) is None
    with pytest.raises(ValueError, match="Expected held-out-1 to held-out-100"):
        find_task(name)

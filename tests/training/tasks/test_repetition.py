from __future__ import annotations

import pytest
from tests.training.tasks.fakes import CountingTexts, draw_of

from memplus.errors import ConfigError
from memplus.training.tasks.protocol import Target
from memplus.training.tasks.registry import task_from


@pytest.mark.parametrize(("instruction", "unscored"), [("", 1), ("Say:", 5)])
def test_it_asks_for_the_beginning_of_its_chunks_after_the_instruction(
    instruction: str, unscored: int
) -> None:
    entry = {"task": "repetition", "chunks": 2, "target_tokens": 12, "unscored": 2}
    task, texts = task_from(entry | {"instruction": instruction}), CountingTexts()
    job = task.job(task.plan(draw_of()), texts)
    asked = texts.encode(instruction)
    assert job.ids[1].tolist() == asked + list(range(1000, 1012))
    assert job.chunks[1].flatten().tolist() == list(range(1000, 1020))
    # What is predicted before the third repeated token is not scored.
    assert job.unscored == unscored
    assert texts.taken == 20


def test_it_is_no_longer_than_what_it_repeats() -> None:
    task = task_from({"task": "repetition", "chunks": 2, "target_tokens": 50})
    assert task.plan(draw_of()).sizes.target_tokens == 20


def test_a_document_needs_room_for_its_chunks_alone() -> None:
    task = task_from({"task": "repetition", "target_tokens": 50})
    assert task.plan(draw_of(longest=10)).sizes.chunks == 1
    with pytest.raises(ConfigError, match="9 tokens"):
        task.plan(draw_of(longest=9))


def test_it_depends_on_its_chunks_and_leaves_what_was_kept() -> None:
    task = task_from({"task": "repetition"})
    assert task.target(3, 3, None) == Target(3, 3)
    job = task.job(task.plan(draw_of()), CountingTexts())
    assert task.remember(job, Target(3, 3), None) is None


def test_a_target_with_no_scored_token_is_refused() -> None:
    with pytest.raises(ConfigError, match="shortest target has 4 tokens") as caught:
        task_from({"task": "repetition", "target_tokens": [4, 9], "unscored": 4})
    assert caught.value.fields["field"] == "unscored"

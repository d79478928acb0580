"""Passages and questions as token ids: where answers stand, what is told, what is never read."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from memplus.data.statements import HELD_OUT_TOPICS, read_statements
from memplus.errors import ConfigError
from memplus.training.tasks.endless import EndlessItems
from memplus.training.tasks.question_texts import QuestionSource, encode_source, trained_items


class Letters:
    """A token for every letter."""

    @property
    def abstention(self) -> list[int]:
        return [0]

    def text(self, text: str) -> tuple[list[int], list[int]]:
        return [ord(char) for char in text], list(range(1, len(text) + 1))

    def question(self, question: str) -> list[int]:
        return [ord(char) for char in question[:20]]

    def answer(self, answer: str) -> list[int]:
        return [ord(char) for char in answer[:12]] + [0]


def told(ids: Sequence[int]) -> str:
    return "".join(chr(one) for one in ids)


def test_an_answer_is_found_where_it_stands(tmp_path: Path) -> None:
    asked = [
        {"question": "When?", "answers": [{"text": "1889"}], "is_impossible": False},
        {"question": "How high?", "answers": [], "is_impossible": True},
    ]
    file = tmp_path / "squad.json"
    titles = [f"Tower {number}" for number in range(12)]
    texts = [f"{title} was built in 1889 by a company." for title in titles]
    data = [
        {"title": title, "paragraphs": [{"context": text, "qas": asked}]}
        for title, text in zip(titles, texts, strict=True)
    ]
    file.write_text(json.dumps({"data": data}))
    source = QuestionSource("squad", file)
    items = encode_source(source, Letters())
    assert 0 < len(items) < len(titles)  # some of the titles are held out
    (question,) = items[0].questions
    item = items[0]
    assert told(item.parts[0][question.first : question.last + 1]) == "1889"
    assert told(question.answer[:-1]) == "1889"


def test_held_out_topics_are_never_read() -> None:
    items = encode_source(QuestionSource("statements"), Letters())
    assert not {item.topic for item in items} & set(HELD_OUT_TOPICS)
    kept_back = {one.text for one in read_statements(HELD_OUT_TOPICS)}
    assert not kept_back & {told(item.parts[0]) for item in items}
    corrections = encode_source(QuestionSource("corrections"), Letters())
    assert corrections
    assert not {item.topic for item in corrections} & set(HELD_OUT_TOPICS)


def test_long_passages_are_left_out() -> None:
    every = encode_source(QuestionSource("statements"), Letters())
    short = encode_source(QuestionSource("statements", max_tokens=60), Letters())
    assert 0 < len(short) < len(every)
    assert max(len(item.parts[0]) for item in short) <= 60


def test_a_correction_asks_for_the_later_value_in_its_later_part() -> None:
    for item in encode_source(QuestionSource("corrections"), Letters())[:20]:
        old, new = item.questions
        assert (old.part, new.part) == (0, 1)
        assert old.prompt == new.prompt
        place = told(item.parts[1][new.first : new.last + 1]).lower()
        assert place.startswith(told(new.answer[:-1]).lower()[:12])


@pytest.mark.parametrize(
    ("kind", "path"),
    [("squad", None), ("statements", Path("x")), ("notes", Path("x")), ("facts", Path("x"))],
)
def test_a_file_is_named_where_one_is_needed_and_nowhere_else(kind: str, path: Path | None) -> None:
    with pytest.raises(ConfigError, match="path"):
        QuestionSource(kind, path)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["notes", "facts"])
def test_what_is_made_by_rule_has_no_end_and_some_of_it_changes(kind: Any) -> None:
    items = encode_source(QuestionSource(kind), Letters())
    assert len(items) >= 1_000_000
    drawn = items[3000:4000]
    assert 0.3 < sum(len(one.parts) > 1 for one in drawn) / len(drawn) < 0.5
    assert len({one.parts for one in drawn}) == len(drawn)
    for item in drawn:
        assert item.questions[-1].part == len(item.parts) - 1
        assert len({one.prompt for one in item.questions if len(item.parts) > 1}) <= 1
        for question in item.questions:
            place = item.parts[question.part][question.first : question.last + 1]
            answer = told(question.answer[:-1])
            assert told(place).lower().startswith(answer.lower())
            assert len(answer) == min(12, len(place))
    again = encode_source(QuestionSource(kind), Letters())
    assert again[3500:3520] == drawn[500:520]
    for topic in {one.topic for one in drawn[:10]}:
        places = items.of_topic(topic) if isinstance(items, EndlessItems) else []
        assert {items[place].topic for place in places[:5]} == {topic}


def test_made_facts_are_no_longer_than_asked_and_refused_where_none_is_so_short() -> None:
    short = encode_source(QuestionSource("facts", max_tokens=90), Letters())
    assert max(len(part) for item in short[:300] for part in item.parts) <= 90
    with pytest.raises(ConfigError, match="facts"):
        trained_items(QuestionSource("facts", max_tokens=16), Letters())


def test_a_source_of_nothing_that_is_short_enough_is_refused() -> None:
    class Long(Letters):
        def question(self, question: str) -> list[int]:
            return [0] * 1000

    with pytest.raises(ConfigError, match="statements"):
        trained_items(QuestionSource("statements"), Long())
    assert trained_items(QuestionSource("statements"), Letters())

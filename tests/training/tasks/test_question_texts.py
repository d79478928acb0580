"""Passages and questions as token ids: where answers stand, what is told, what is never read."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from random import Random

import pytest

from memplus.data.statements import HELD_OUT_TOPICS, read_statements
from memplus.errors import ConfigError
from memplus.training.tasks.question_texts import (
    Item,
    QuestionSource,
    TokenQuestion,
    encode_source,
    stretch,
)


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
    ("kind", "path"), [("squad", None), ("statements", Path("x")), ("corrections", Path("x"))]
)
def test_a_file_is_named_where_one_is_needed_and_nowhere_else(kind: str, path: Path | None) -> None:
    with pytest.raises(ConfigError, match="path"):
        QuestionSource(kind, path)  # type: ignore[arg-type]


def passage(mark: int, length: int = 10) -> Item:
    question = TokenQuestion((1,), (mark, 0), 0, 3, 4)
    return Item((tuple([mark] * length),), str(mark), (question,))


def test_a_stretch_is_as_long_as_asked_and_its_questions_lie_in_it() -> None:
    marks = iter(range(100, 200))
    made = stretch(35, lambda: passage(next(marks)), [(7,)], Random(0))
    assert len(made.ids) == 35
    assert [question.answer[0] for question, _, _ in made.questions] == [100, 101, 102]
    for question, first, last in made.questions:
        assert made.ids[first : last + 1] == [question.answer[0]] * 2


def test_a_correction_is_told_some_passages_after_what_it_corrects() -> None:
    old, new = (TokenQuestion((1,), (part, 0), part, 0, 1) for part in (0, 1))
    both = Item(((50,) * 4, (60,) * 4), "topic", (old, new))
    seen = set()
    for seed in range(40):
        items = iter([both, *(passage(100 + index) for index in range(30))])
        made = stretch(60, partial(next, items), [(7,)], Random(seed))
        asked = [question for question, _, _ in made.questions if question in (old, new)]
        corrected = 60 in made.ids
        assert asked == ([new] if corrected else [old])
        seen.add(corrected)
        if corrected:
            assert made.ids.index(60) > made.ids.index(100)
    assert seen == {True, False}

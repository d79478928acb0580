import gzip
import json
from pathlib import Path

import pytest

from memplus.data.answerable import draw_judged, read_answerable
from memplus.data.passages import article_is_held_out
from memplus.errors import NotFoundError, QuestionSetError

TITLES = [f"Article {number}" for number in range(24)]


def squad(folder: Path) -> Path:
    articles = [
        {
            "title": title,
            "paragraphs": [
                {
                    "context": f"{title} says {number}.",
                    "qas": [
                        *({"question": f"{title}, {number}, yes {i}?", "is_impossible": False}
                          for i in range(3)),
                        *({"question": f"{title}, {number}, no {i}?", "is_impossible": True}
                          for i in range(number)),
                    ],
                }
                for number in range(3)
            ]
            + [{"context": "Nothing.", "qas": [{"question": "No?", "is_impossible": True}]}],
        }
        for title in TITLES
    ]  # fmt: skip
    path = folder / "squad.json.gz"
    path.write_bytes(gzip.compress(json.dumps({"data": articles}).encode()))
    return path


def test_articles_are_held_out_as_everywhere_and_texts_without_an_answer_left_out(
    tmp_path: Path,
) -> None:
    path = squad(tmp_path)
    train, held_out = (read_answerable(path, split) for split in ("train", "held_out"))
    assert {one.topic for one in held_out} == {one for one in TITLES if article_is_held_out(one)}
    assert {one.topic for one in train} == {one for one in TITLES if not article_is_held_out(one)}
    assert len(train) + len(held_out) == 3 * len(TITLES)
    assert [len(one.look_alikes) for one in train[:3]] == [0, 1, 2]


def test_half_of_what_is_drawn_is_answered_by_its_text(tmp_path: Path) -> None:
    drawn = draw_judged(read_answerable(squad(tmp_path), "train"), each=20, seed=1)
    assert sum(sum(one.answered) for one in drawn) == 20
    look_alikes = 0
    for one in drawn:
        assert sum(one.answered) == len(one.answered) / 2 == len(one.questions) / 2
        title = one.text.partition(" says")[0]
        for question, answered in zip(one.questions, one.answered, strict=True):
            own = question.startswith(f"{title},")
            assert own == answered or (own and "no" in question)
            look_alikes += own and not answered
    assert 0 < look_alikes < 20
    assert draw_judged(read_answerable(squad(tmp_path), "train"), each=20, seed=1) == drawn
    assert draw_judged(read_answerable(squad(tmp_path), "train"), each=20, seed=2) != drawn


def test_what_is_no_such_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "other.json").write_text('{"data": [{}]}')
    with pytest.raises(QuestionSetError):
        read_answerable(tmp_path / "other.json", "train")
    with pytest.raises(NotFoundError):
        read_answerable(tmp_path / "absent.json", "train")

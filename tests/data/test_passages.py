import gzip
import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.data.question_sets import NATURAL, SQUAD, paragraph

from memplus.data.passages import (
    PassageQuestion,
    PassageQuestions,
    Split,
    parse_passages,
    read_fairytale,
    read_nq,
    read_passages,
    read_squad,
)
from memplus.errors import ConfigError, NotFoundError, QuestionSetError

SETS = Path(__file__).parents[3] / "shared/data"
published = pytest.mark.skipif(
    not SETS.is_dir(), reason="the published sets do not lie beside the checkout"
)
Reader = Callable[[Path, Split], list[PassageQuestions]]

STORY = {
    "story": "the-goose",
    "sections": [["1", "A goose\nlived here.\n\nIt was grey."], ["2", "It flew."], ["2", "Far."]],
    "questions": [
        {"question": "Who?", "cor_section": "1", "answer1": "a goose", "answer4": "the goose"},
        {"question": "What colour?", "cor_section": "1", "answer1": "grey", "answer2": "grey"},
        {"question": "And then?", "cor_section": "1, 2", "answer1": "it flew off"},
    ],
}
for _asked in STORY["questions"]:
    for _number in range(1, 7):
        _asked.setdefault(f"answer{_number}", "")  # type: ignore[attr-defined]


def write(path: Path, *lines: object) -> Path:
    path.write_text("\n".join(json.dumps(line) for line in lines))
    return path


def test_squad_gives_paragraphs_with_the_questions_that_they_answer(tmp_path: Path) -> None:
    path = tmp_path / "dev.json.gz"
    path.write_bytes(gzip.compress(json.dumps(SQUAD).encode()))
    oil, tea, may = read_squad(path)
    asked = PassageQuestion("When?", ("May", "in May of that year"))
    assert oil == PassageQuestions("It began in May.", "Oil", (asked,))
    assert [tea.topic, may.topic] == ["Tea", "May"]


def test_squad_holds_out_whole_articles_by_the_digest_of_their_title(tmp_path: Path) -> None:
    titles = [f"Article {number}" for number in range(40)]
    articles = [
        {"title": title, "paragraphs": [paragraph(f"{title} {n}.", ("Q?", ["A"])) for n in (1, 2)]}
        for title in titles
    ]
    path = write(tmp_path / "dev.json", {"data": articles})
    held = {title for title in titles if hashlib.sha256(title.encode()).hexdigest()[0] in "0123"}
    assert 0 < len(held) < 40
    hidden, seen = read_squad(path, "held_out"), read_squad(path, "train")
    assert {one.topic for one in hidden} == held
    assert {one.topic for one in seen} == set(titles) - held
    assert len(hidden) + len(seen) == len(read_squad(path)) == 80


def test_natural_questions_have_their_title_before_the_passage(tmp_path: Path) -> None:
    found = read_nq(write(tmp_path / "nq.jsonl", *NATURAL))
    asked = PassageQuestion("where", ("far off",))
    assert found[1] == PassageQuestions("B. It is far off.", "B", (asked,))


def test_natural_questions_hold_out_every_fifth_row_and_train_on_none_of_their_passages(
    tmp_path: Path,
) -> None:
    rows = [
        {"question": f"q{n}", "answers": ["a"], "ctxs": [{"title": "T", "text": f"Text {n}"}]}
        for n in range(11)
    ]
    rows[7]["ctxs"] = rows[5]["ctxs"]
    path = write(tmp_path / "nq.jsonl", *rows)

    def asked(split: Split) -> list[str]:
        return [one.questions[0].question for one in read_nq(path, split)]

    assert asked("held_out") == ["q0", "q5", "q10"]
    assert asked("train") == ["q1", "q2", "q3", "q4", "q6", "q8", "q9"]
    assert len(asked("all")) == 11


def test_stories_become_sections_with_every_answer_of_their_questions(tmp_path: Path) -> None:
    first, both = read_fairytale(write(tmp_path / "val.jsonl", STORY))
    assert first.text == "A goose lived here.\n\nIt was grey."
    assert first.topic == "the-goose"
    assert first.questions == (
        PassageQuestion("Who?", ("a goose", "the goose")),
        PassageQuestion("What colour?", ("grey",)),
    )
    assert both.text == "A goose lived here.\n\nIt was grey.\n\nIt flew.\n\nFar."


def test_stories_outside_the_training_file_are_held_out(tmp_path: Path) -> None:
    for name in ("train", "val", "test"):
        write(tmp_path / f"{name}.jsonl", STORY | {"story": name})

    def stories(split: Split) -> list[str]:
        return list(dict.fromkeys(one.topic for one in read_fairytale(tmp_path, split)))

    assert stories("train") == ["train"]
    assert stories("held_out") == ["test", "val"]
    assert stories("all") == ["test", "train", "val"]
    assert not read_fairytale(tmp_path / "val.jsonl", "train")


@pytest.mark.parametrize("read", [read_squad, read_nq, read_fairytale])
def test_anything_else_is_refused(tmp_path: Path, read: Reader) -> None:
    with pytest.raises(NotFoundError):
        read(tmp_path / "absent.jsonl", "all")
    for data in (b"not json", b"[1, 2]", b'{"data": [{"title": 3}]}', b"\xff\xfe\xff"):
        (tmp_path / "a.jsonl").write_bytes(data)
        with pytest.raises(QuestionSetError):
            read(tmp_path / "a.jsonl", "all")
    whole = {**NATURAL[0], "answers": "Paris"}  # its letters are no answers
    with pytest.raises(QuestionSetError):
        read_nq(write(tmp_path / "text.jsonl", whole))
    path = write(tmp_path / "nq.jsonl", *NATURAL)
    with pytest.raises(ConfigError, match="split"):
        read(path, "dev")  # type: ignore[arg-type]


def test_a_folder_without_stories_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        read_fairytale(tmp_path)


def test_the_kind_of_a_set_is_seen_from_its_file(tmp_path: Path) -> None:
    path = write(tmp_path / "nq.jsonl", *NATURAL)
    assert read_passages(path, "held_out") == read_nq(path, "held_out")

    def parsed(name: str, data: object) -> list[str]:
        return [one.topic for one in parse_passages(Path(name), json.dumps(data))]

    assert parsed("dev.json", SQUAD) == ["Oil", "Tea", "May"]
    assert parsed("nq.jsonl.gz", NATURAL[0]) == ["A"]
    assert parsed("val.jsonl", STORY) == ["the-goose", "the-goose"]


@published
def test_the_published_sets_are_split_by_these_rules() -> None:
    squad = SETS / "squad/dev-v2.0.json.gz"
    held, seen = read_squad(squad, "held_out"), read_squad(squad, "train")
    assert len({one.topic for one in held}) == 10
    assert len({one.topic for one in seen}) == 25
    assert sum(len(one.questions) for one in held) == 1433
    assert sum(len(one.questions) for one in held + seen) == 5928
    nq = SETS / "nq/lost-in-the-middle.nq-open-oracle.jsonl.gz"
    assert (len(read_nq(nq, "held_out")), len(read_nq(nq, "train"))) == (531, 2107)
    tales = SETS / "fairytaleqa"
    assert sum(len(one.questions) for one in read_fairytale(tales, "train")) == 8548
    assert sum(len(one.questions) for one in read_fairytale(tales, "held_out")) == 1025 + 1007

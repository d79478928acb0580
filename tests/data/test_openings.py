import gzip
import json
from pathlib import Path

import pytest

from memplus.data.openings import Opening, openings_of, read_openings, said_of
from memplus.errors import BenchmarkFileError

FILM = (
    "Grey Sail is a 1935 American drama film directed by Ada W. Holt and Bo Lin, written by "
    "Cy Vane, starring Dee Roe, Ed Pohl and Fay Orr. It was a success. It was long."
)


def pairs(opening: Opening) -> list[tuple[str, str]]:
    return [(one.relation, one.value) for one in opening.said]


def test_a_film_says_its_year_and_its_people() -> None:
    (found,) = openings_of("Grey Sail (film)", FILM)
    assert found.subject == "Grey Sail"
    assert found.text.endswith("It was a success.")
    assert pairs(found) == [
        ("publication year", "1935"),
        ("director", "Ada W. Holt"),
        ("director", "Bo Lin"),
        ("author", "Cy Vane"),
        ("cast member", "Dee Roe"),
        ("cast member", "Ed Pohl"),
        ("cast member", "Fay Orr"),
    ]


def test_a_person_says_dates_nation_work_and_parents() -> None:
    text = (
        "Ada Holt( 3 May 1901 \u2013 7 June 1980) was a Danish painter born in Tern . She was the "
        "eldest daughter of Ola Holt and Una Bek."
    )
    (found,) = openings_of("Ada Holt", text)
    assert pairs(found) == [
        ("date of birth", "3 May 1901"),
        ("date of death", "7 June 1980"),
        ("nationality", "Danish"),
        ("occupation", "painter"),
        ("place of birth", "Tern"),
        ("parent", "Ola Holt"),
        ("parent", "Una Bek"),
    ]


def test_every_value_stands_where_it_is_said_to_stand() -> None:
    (found,) = openings_of("Grey Sail", FILM)
    assert all(found.text.startswith(one.value, one.start) for one in found.said)


def test_what_does_not_name_its_subject_or_says_nothing_is_left_out() -> None:
    assert openings_of("Other", FILM) == []
    assert openings_of("Grey Sail", "Grey Sail is long.") == []
    assert openings_of("Grey Sail", "") == []
    assert openings_of("Grey Sail", FILM.replace("long", "x" * 400), sentences=3) == []
    assert said_of("Ada is.", "Ada") == ()


def test_articles_are_read_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "corpus.json.gz"
    articles = [{"title": "Grey Sail", "text": FILM}, {"title": "B", "text": "B is."}]
    path.write_bytes(gzip.compress(json.dumps(articles).encode()))
    assert [one.subject for one in read_openings(path)] == ["Grey Sail"]
    other = tmp_path / "other.json"
    for content in ('{"a": 1}', "[1]", "no"):
        other.write_text(content)
        with pytest.raises(BenchmarkFileError):
            read_openings(other)

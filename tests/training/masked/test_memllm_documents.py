import json
import zipfile
from pathlib import Path
from random import Random

import pytest

from memplus.systems.memllm.annotated import sorted_mentions
from memplus.systems.triples.rows import Triple
from memplus.training.masked.memllm_documents import DocumentSources, Told, annotated, moves_of

STORY = """1 Mary moved to the bathroom.
2 John went to the hallway.
3 Where is Mary? \tbathroom\t1
4 John picked up the milk there.
5 John gave the milk to Mary.
6 Where is John? \thallway\t2
"""
ARTICLES = [
    {
        "title": f"Grey Sail {name}",
        "text": f"Grey Sail {name} is a {year} American film directed by {person}. It was long.",
    }
    for name, year, person in (
        ("One", 1931, "Ada Holt"), ("Two", 1942, "Bo Lin"), ("Three", 1953, "Cy Vane"),
        ("Four", 1964, "Dee Roe"), ("Five", 1975, "Ed Pohl"), ("Six", 1986, "Fay Orr"),
    )
]  # fmt: skip


def write_files(folder: Path) -> dict[str, str]:
    """An archive of stories and a file of articles, as an entry of a config names them."""
    with zipfile.ZipFile(folder / "babi.zip", "w") as archive:
        for task in (1, 2, 5):
            for part in ("train", "test"):
                archive.writestr(f"en/qa{task}_name_{part}.txt", STORY)
    (folder / "articles.json").write_text(json.dumps(ARTICLES))
    return {"stories": str(folder / "babi.zip"), "articles": str(folder / "articles.json")}


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> DocumentSources:
    files = write_files(tmp_path_factory.mktemp("data"))
    return DocumentSources(prose=("It rained.", "Nobody came."), **files)


def test_every_entity_is_found_wherever_it_is_named() -> None:
    home = Triple("Ada", "home", "Tern")
    made = annotated([Told("Ada left Tern.", (home,)), Told("Adam saw Ada in 1904-05.")])
    assert made.text == "Ada left Tern. Adam saw Ada in 1904 \u2013 05."
    assert [one.start for one in made.entities[0]] == [0, 24]
    assert made.relations[0].evidence == (0,)
    assert all(made.text.startswith(one.name, one.start) for _, one in sorted_mentions(made))
    assert made.sentence(1).startswith("Adam saw")


def test_what_breaks_the_grammar_is_not_said() -> None:
    made = annotated([Told("A;B is C.", (Triple("A;B", "is", "C"),))])
    assert made.relations == made.entities == ()


def test_the_sentences_of_stories_say_where_and_with_whom_things_are() -> None:
    assert moves_of("Mary moved to the bathroom.") == (Triple("Mary", "location", "bathroom"),)
    assert moves_of("John went back to the hallway.")[0].object == "hallway"
    assert moves_of("John got the milk there.") == (Triple("milk", "carried by", "John"),)
    assert moves_of("John gave the milk to Mary.") == (Triple("milk", "carried by", "Mary"),)
    assert moves_of("The office is north of the garden.") == (
        Triple("office", "north of", "garden"),
    )
    assert moves_of("John dropped the milk.") == moves_of("Where is Mary?") == ()


def test_what_is_said_stands_in_the_text(sources: DocumentSources) -> None:
    for seed in range(120):
        random = Random(seed)
        for said in (sources.made_up(random), sources.article(random), sources.story(random)):
            text = "\n".join(one.text for one in said)
            for triple in (triple for one in said for triple in one.triples):
                assert triple.subject in text
                assert triple.object in text


def test_a_made_up_paragraph_says_something(sources: DocumentSources) -> None:
    for seed in range(60):
        said = sources.made_up(Random(seed))
        assert any(one.triples for one in said)
        assert 1 <= len(said) <= 4 or all(one.triples for one in said[-1:])


def test_articles_are_swapped_and_stay_consistent(sources: DocumentSources) -> None:
    films = {one["title"]: one["text"] for one in ARTICLES}
    swapped = 0
    for seed in range(60):
        first = sources.article(Random(seed))[0]
        (year, director) = first.triples
        assert first.text == (
            f"{year.subject} is a {year.object} American film directed by {director.object}."
        )
        swapped += not films[year.subject].startswith(first.text)
    assert 10 < swapped < 50


def test_articles_are_dealt_to_the_splits(tmp_path: Path) -> None:
    files = write_files(tmp_path)
    found = [DocumentSources(split, **files).openings for split in ("train", "held_out")]
    subjects = [{one.subject for one in openings} for openings in found]
    assert not subjects[0] & subjects[1]
    assert len(subjects[0] | subjects[1]) == len(ARTICLES)


def test_stories_are_told_of_others_too(sources: DocumentSources) -> None:
    texts = ["\n".join(t.text for t in sources.story(Random(seed))) for seed in range(40)]
    assert any("Mary" in text for text in texts)
    assert any(" to the " in text and "hallway" not in text for text in texts)

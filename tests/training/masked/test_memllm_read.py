import json
from collections import Counter
from pathlib import Path
from random import Random

import pytest
from tests.fakes import make_tokenizer
from tests.training.masked.test_memllm_documents import write_files

from memplus.data.notes import ABSTENTION
from memplus.errors import ConfigError, UsageError
from memplus.systems.memllm.annotated import Document, Mention, Relation
from memplus.systems.memllm.grammar import ARROW, END, START, Query, parse_read
from memplus.systems.memllm.read_examples import read_pieces
from memplus.systems.triples.rows import Triple
from memplus.training.masked.example import Example
from memplus.training.masked.memllm_documents import Told
from memplus.training.masked.memllm_read import (
    Filled,
    MemLLMReads,
    call_pieces,
    document_example,
    read_filled,
)
from memplus.training.masked.packing import IGNORED, encode_example

TERN, VALE = Triple("Ada", "home", "Tern"), Triple("Ada", "home", "Vale")
FILLED = Filled((Told("Ada lives in Tern.", (TERN,)),), (VALE, TERN))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("data")
    (made / "filled.jsonl").write_text(json.dumps(FILLED.as_json()) + "\n")
    return made


@pytest.fixture(scope="module")
def examples(folder: Path) -> list[Example]:
    files = write_files(folder)
    maker = MemLLMReads(filled=str(folder / "filled.jsonl"), **files).maker()
    return [maker.make(index, Random(f"seed {index}")) for index in range(500)]


def text(example: Example, *, learned: bool) -> str:
    return "".join(piece.text for piece in example.pieces if piece.learned == learned)


def test_the_shares_are_those_of_the_config(examples: list[Example]) -> None:
    counts = Counter(one.label for one in examples)
    assert 0.3 < counts["document"] / 500 < 0.5
    assert min(counts[name] for name in ("question", "story", "unknown", "whose")) > 8


def test_calls_and_what_follows_are_learned_and_results_are_given(examples: list[Example]) -> None:
    for one in examples:
        if one.label == "unknown":
            assert text(one, learned=True) == f" {ABSTENTION}"
            continue
        (place,) = (i for i, piece in enumerate(one.pieces) if piece.text.endswith(ARROW))
        start, call, results, end, *rest = one.pieces[place - 1 :]
        assert (start.text, end.text) == (START, END)
        assert start.learned
        assert call.learned
        assert not results.learned
        assert not end.learned
        assert all(piece.learned for piece in rest)
        assert parse_read(call.text)


def test_a_question_is_given_and_asked_of_the_memory(examples: list[Example]) -> None:
    for one in (one for one in examples if one.label == "question"):
        prompt, _, call, results, _, answer = one.pieces
        (query,) = parse_read(call.text) or ()
        assert not prompt.learned
        assert query.subject is not None
        assert query.subject in prompt.text
        assert results.text.split(";")[-1] == answer.text.strip()


def test_labels_are_set_exactly_where_something_is_learned(examples: list[Example]) -> None:
    tokenizer = make_tokenizer()
    for one in examples[:100]:
        encoded = encode_example(one, tokenizer)
        wanted = [piece.learned for piece in one.pieces for _ in piece.text.encode()]
        wanted += [True] * one.ends
        wanted[0] = False
        assert [label != IGNORED for label in encoded.labels] == wanted


def document() -> Document:
    text = "Ada Holt lives in Tern. Bo lives in Vale."
    entities = tuple(
        (Mention(name, int(start > 23), start),)
        for name, start in (("Ada Holt", 0), ("Tern", 18), ("Bo", 24), ("Vale", 36))
    )
    relations = Relation(0, "home", 1, (0,)), Relation(2, "home", 3, (1,))
    return Document(text, ((0, 23), (24, 41)), entities, relations)


def test_a_document_teaches_its_opening_once_and_where_to_ask_next() -> None:
    first, second = (document_example(one, ["x", "y"], 400) for one in read_pieces(document()))
    call = "MEM_READ(Ada Holt>>home>>)-->"
    assert text(first, learned=True) == f"Ada Holt lives in({{{call} Tern. Bo lives in({{"
    assert text(first, learned=False) == "x;y})"
    assert not first.ends
    assert text(second, learned=False) == "Ada Holt lives in Tern. Bo lives inx;y})"
    assert text(second, learned=True).endswith(" Vale.")
    assert second.ends


def test_results_are_what_was_written_and_else_the_right_one(folder: Path) -> None:
    maker = MemLLMReads(filled=str(folder / "filled.jsonl"), asked=0.0).maker()
    results = set()
    for seed in range(60):
        made = maker.make(0, Random(seed))
        call = next(one.text for one in made.pieces if one.text.endswith(ARROW))
        given = [one.text for one in made.pieces if not one.learned]
        if call == "MEM_READ(Ada>>home>>)-->":
            results.add(given[-2])
        else:
            assert given[-2] in made.pieces[-1].text or given[-2] in made.pieces[-2].text
    assert results == {"Vale;Tern"}


def test_a_call_stands_as_the_reader_makes_it() -> None:
    pieces = call_pieces([Query("Ada", "home", None)], ["Tern", "Vale"])
    assert "".join(one.text for one in pieces) == "({MEM_READ(Ada>>home>>)-->Tern;Vale})"


def test_filled_documents_come_back_from_their_file(folder: Path, tmp_path: Path) -> None:
    assert read_filled(folder / "filled.jsonl") == [FILLED]
    for wrong in ("{}", '{"told": [], "written": [["a"]]}', '{"told": 3, "written": []}'):
        (tmp_path / "f").write_text(wrong)
        with pytest.raises(UsageError):
            read_filled(tmp_path / "f")


@pytest.mark.parametrize("wrong", [{"asked": 2.0}, {"before": 0}, {"whose": -1.0}])
def test_shares_that_cannot_be_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError):
        MemLLMReads(**wrong)  # type: ignore[arg-type]

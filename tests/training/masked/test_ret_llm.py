from __future__ import annotations

from collections import Counter
from pathlib import Path
from random import Random

import pytest
from tests.training.masked.settings import PROSE

from memplus.data.note_parts import FIRST_NAMES, PLACES, split_of
from memplus.data.notes import ABSTENTION
from memplus.data.relations import QUESTION_KINDS, RELATIONS, UNSEEN_RELATIONS, Fact, make_people
from memplus.errors import ConfigError
from memplus.systems.ret_llm.grammar import Query, parse_calls
from memplus.training.masked.example import Example
from memplus.training.masked.ret_llm import RetLLMExamples, answer_to, query_of

NADIA, VIKTOR = "Nadia Brook", "Viktor Ames"


@pytest.fixture(scope="module")
def examples(tmp_path_factory: pytest.TempPathFactory) -> list[Example]:
    folder = tmp_path_factory.mktemp("texts")
    for name in ("a.txt", "b.txt"):
        (folder / name).write_text(PROSE)
    maker = RetLLMExamples(texts=(str(folder / "*.txt"),)).maker()
    return [maker.make(index, Random(f"seed {index}")) for index in range(600)]


def learned(example: Example) -> str:
    return "".join(piece.text for piece in example.pieces if piece.learned)


def test_the_shares_are_those_of_the_config(examples: list[Example]) -> None:
    counts = Counter(example.label for example in examples)
    assert 0.33 < (counts["read"] + counts["ask_note"]) / 600 < 0.47
    assert 0.23 < counts["write"] / 600 < 0.37
    assert 0.23 < counts["nothing"] / 600 < 0.37


def test_every_call_is_well_formed_and_stands_in_what_was_given(examples: list[Example]) -> None:
    kinds = set()
    for example in examples:
        calls, given = parse_calls(learned(example)), example.pieces[0].text
        assert bool(calls) != (example.label == "nothing")
        for call in calls:
            texts = call.fields if isinstance(call, Query) else call
            if isinstance(call, Query):
                kinds.add(tuple(one is not None for one in call.fields))
            for text in (texts[0], texts[2]):
                assert text is None or text in given
    assert len(kinds) == 6


def test_results_are_given_and_not_learned(examples: list[Example]) -> None:
    for example in examples:
        if example.label in ("read", "ask_note"):
            question, call, result, answer = example.pieces
            assert (question.learned, call.learned, result.learned) == (False, True, False)
            assert answer.learned
            assert call.text.endswith("}:")
            assert result.text.endswith("]")
            empty = result.text == "]"
            assert not empty or answer.text.strip() == ABSTENTION


def test_no_name_value_or_relation_of_a_test_is_learned(examples: list[Example]) -> None:
    unseen = {one.name for one in UNSEEN_RELATIONS}
    ours = 0
    for example in examples:
        for call in parse_calls(learned(example)):
            if isinstance(call, Query):
                assert call.relation not in unseen
                continue
            person, relation, value = call
            assert relation not in unseen
            if person.split()[0] in FIRST_NAMES + PLACES and len(person.split()) == 2:
                ours += split_of(person) == "train"
            if relation in {one.name for one in RELATIONS}:
                assert split_of(value) == "train"
    assert ours > 50


def test_held_out_texts_are_not_read(tmp_path: Path) -> None:
    for index in range(3):
        (tmp_path / f"{index}.txt").write_text(f"Text {index} begins here. It goes on.")
    maker = RetLLMExamples(texts=(str(tmp_path / "*.txt"),), reads=0.0, writes=0.0).maker()
    made = {maker.make(i, Random(i)).pieces[0].text for i in range(60)}
    assert made == {f"Text: {one}\n" for one in (
        "Text 1 begins here.", "Text 2 begins here.", "It goes on."
    )}  # fmt: skip


def test_answers_say_what_the_rows_say() -> None:
    works, buys = RELATIONS[0], RELATIONS[4]
    one, two = Fact(NADIA, works, "Quill"), Fact(VIKTOR, works, "Quill")
    third = Fact(NADIA, buys, "Tern Lines")
    assert answer_to("p", [one, third]) == (
        "Nadia Brook is employed by Quill and is a customer of Tern Lines."
    )
    assert answer_to("po", [one]) == "Nadia Brook is employed by Quill."
    more = Fact(NADIA, works, "Tern Lines")
    assert answer_to("pr", [one, more]) == "Nadia Brook is employed by Quill and Tern Lines."
    assert answer_to("o", [one, two]) == "Nadia Brook and Viktor Ames are related to Quill."
    assert answer_to("r", [one, two]) == "Nadia Brook and Viktor Ames."
    assert answer_to("ro", [two]) == "Viktor Ames is employed by Quill."
    assert answer_to("ro", []) == ABSTENTION
    queries = {kind: query_of(kind, one) for kind in QUESTION_KINDS}
    assert all(query.asks for query in queries.values())
    assert queries["po"] == Query(NADIA, None, "Quill")


def test_shares_that_are_none_are_refused() -> None:
    wrongs: list[dict[str, float]] = [{"reads": 1.2}, {"reads": 0.6, "writes": 0.6}, {"rows": 0}]
    for wrong in wrongs:
        with pytest.raises(ConfigError):
            RetLLMExamples(**wrong)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="no such file"):
        RetLLMExamples(texts=("/nowhere/*.txt",)).maker()


def test_names_of_people_are_of_the_training_split() -> None:
    assert all(split_of(name) == "train" for name in make_people(Random(0), 20, "train"))

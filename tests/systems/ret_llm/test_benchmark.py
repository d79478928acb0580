"""``benchmarks/ret_llm_distances.py`` on the tiny model, which knows a few sentences by heart."""

import importlib
import json
from pathlib import Path
from random import Random
from typing import Any

import pytest
from tests.systems.conftest import SHARED
from tests.systems.ret_llm.tiny_weights import tiny_weights

from memplus.data.relations import QUESTION_KINDS, Fact, Relation
from memplus.systems.ret_llm.grammar import Query
from memplus.systems.ret_llm.system import RetLLMSystem
from memplus.systems.ret_llm.tools import RetLLMOptions

BENCHMARKS = Path(__file__).parents[3] / "benchmarks"
SYSTEM = RetLLMSystem(SHARED, RetLLMOptions(weights=str(tiny_weights())))
IS = Relation("is", "is", "are")
RED, BLUE = Fact("gate", IS, "red"), Fact("gate", IS, "blue")
KNOWN = ["gate", "red", "blue"]
RAIN = "It rained for days on end; the keeper slept. "
BOAT = "A boat lay in the harbour. "


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("ret_llm_distances")


def gate(script: Any, sentence: str, fact: Fact) -> Any:
    """A document of one sentence, of which it is asked what the gate is."""
    query = Query("gate", "is", None)
    rows, names = frozenset({fact.triple}), frozenset({fact.organisation})
    asked = script.Asked("pr", "What is the gate?", rows, names, frozenset({"gate"}), query)
    return script.Document((script.Told(sentence, (fact,)),), (asked,))


def test_what_is_stored_is_looked_up_and_answered(script: Any) -> None:
    document = gate(script, "The gate is red, and nobody came.", RED)
    ((one,), writing) = script.measured(SYSTEM, document, [BOAT], KNOWN, distance=9)
    assert (one.kind, one.distance, one.parsed) == ("pr", 9, True)
    assert all(getattr(one, step) for step in script.STEPS)
    assert one.answered_by_base is None
    assert (writing.wanted, writing.written, writing.right) == (1, 1, 1)
    assert (writing.prose_tokens, writing.prose_writes) == (len(BOAT), 0)


def test_what_is_not_stored_is_lost_in_every_step_but_those_by_hand(script: Any) -> None:
    document = gate(script, BOAT.strip(), BLUE)
    ((one,), writing) = script.measured(SYSTEM, document, [], KNOWN)
    assert [getattr(one, step) for step in script.STEPS] == [False, False, False, True, True]
    assert (writing.wanted, writing.written, writing.right) == (1, 0, 0)


def test_what_prose_makes_the_model_write_is_counted_apart(script: Any) -> None:
    document = gate(script, "The gate is red, and nobody came.", RED)
    _, writing = script.measured(SYSTEM, document, [RAIN, RAIN + BOAT], KNOWN, distance=99)
    assert (writing.written, writing.right) == (1, 1)
    assert writing.prose_writes == 4  # two calls for a sentence, which stands there twice
    found = script.written([writing])
    assert found["precision"]["right"] == found["precision"]["of"] == 1
    assert found["false_writes_per_1000"] == round(4000 / len(RAIN + RAIN + BOAT), 3)


def test_the_plain_model_is_asked_with_the_document_in_its_prompt(script: Any) -> None:
    document = gate(script, "The gate is red, and nobody came.", RED)
    given = []

    class Base:
        def ask(self, questions: list[str], *, max_new_tokens: int) -> list[Any]:
            return SYSTEM.open(0).ask(questions, max_new_tokens=max_new_tokens)

    def base(text: str) -> Any:
        given.append(text)
        return Base()

    ((one,), _) = script.measured(SYSTEM, document, [], KNOWN, base=base)
    assert (given, one.answered_by_base) == ([document.text], False)


def test_every_kind_can_be_asked_of_every_document(script: Any) -> None:
    made = script.documents(5, 2, 20, Random(3))
    for one in made:
        assert {asked.kind for asked in one.asked} == set(QUESTION_KINDS)
        assert len({asked.query for asked in one.asked}) == len(one.asked)
        for asked in one.asked:
            fits = {
                row
                for row in map(tuple, one.triples)
                if all(f in (None, t) for f, t in zip(asked.query.fields, row, strict=True))
            }
            assert fits == asked.rows
    assert script.documents(5, 2, 20, Random(3)) == made


def test_prose_goes_on_where_it_stopped_and_is_never_used_twice(script: Any) -> None:
    novels = script.Novels(["one two three ", "four"], SHARED.reference)
    parts = [novels.next(tokens) for tokens in (4, 6, 5)]
    assert "".join(parts) == "one two three \n\nfour"[:15]
    with pytest.raises(SystemExit, match="too short"):
        novels.next(9)


def test_the_command_prints_every_kind_at_every_distance(
    script: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(script.MPlus, "from_pretrained", lambda *_, **__: SHARED.mplus)
    novels = tmp_path / "novel.txt"
    novels.write_text(BOAT * 20)
    given = ["--documents", "2", "--statements", "12", "--each", "1", "--distances", "0,60"]
    given += ["--weights", str(tiny_weights()), "--novels", str(novels)]
    found = script.main(given)
    printed = capsys.readouterr().out.splitlines()
    assert json.loads(printed[-1]) == found | {
        "written_by_distance": {str(k): v for k, v in found["written_by_distance"].items()}
    }
    assert found["written"]["prose_tokens"] == 60
    assert found["written"]["recall"]["right"] == 0  # the tiny model knows other sentences
    low, high = found["all"]["stored"]["interval"]
    assert low < high
    for kind in QUESTION_KINDS:
        for distance in ("0", "60"):
            assert any(line.startswith(f"| {kind} | {distance} | 1 |") for line in printed)


def test_distances_without_prose_are_refused(script: Any) -> None:
    with pytest.raises(SystemExit, match="--novels"):
        script.main(["--distances", "0,1000"])

"""``benchmarks/memllm.py`` on the tiny model: the ladder of perplexities, and editing."""

import importlib
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.systems.conftest import SHARED
from tests.systems.memllm.tiny_weights import tiny_weights

from memplus.data.spoken_facts import SpokenFact
from memplus.systems.memllm.annotated import Document, Mention, Relation
from memplus.systems.memllm.calls import Generator
from memplus.systems.memllm.grammar import END, START, Query, read_call
from memplus.systems.memllm.system import MemLLMSystem
from memplus.systems.memllm.tools import MemLLMOptions
from memplus.systems.triples.rows import Triple
from memplus.systems.triples.table import TripleTable

BENCHMARKS = Path(__file__).parents[3] / "benchmarks"
SYSTEM = MemLLMSystem(SHARED, MemLLMOptions(weights=str(tiny_weights()), context_sentences=0))
BEFORE, TARGET = "Question: What is the gate?\nAnswer:", "red"
TEXT = f"{BEFORE} {TARGET}"
GATE, RED = (Mention(name, 0, TEXT.index(name)) for name in ("gate", TARGET))
DOCUMENT = Document(TEXT, ((0, len(TEXT)),), ((GATE,), (RED,)), (Relation(0, "is", 1, (0,)),))
CALL = read_call([Query("gate", "is", None)])
"""What the tiny read adapter asks there by itself too."""
PLAIN, OFF, OWN, PLACES, QUERIES = (
    "plain base", "memory disabled", "own places and queries", "given places",
    "given places and queries",
)  # fmt: skip


@pytest.fixture
def scripts(monkeypatch: pytest.MonkeyPatch) -> tuple[Any, Any]:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("memllm"), importlib.import_module("memllm_ladder")


def memory(*triples: Triple) -> TripleTable:
    table = TripleTable(SYSTEM.tools.embed)
    table.add(triples, "notes")
    return table


def climbed(module: Any, table: TripleTable) -> Any:
    ladder = module.Ladder(SYSTEM, table)
    ladder.read(module.text_of(SYSTEM, DOCUMENT))
    return ladder


def log_probs(generator: Generator, context: list[str], said: str) -> list[float]:
    """Of each token of what is said, one by one, no call being begun."""
    text, found = generator.begun(context), []
    for token in text.encode(said):
        barred = text.scores()
        barred[generator.starts] = -torch.inf
        found.append(float(barred.log_softmax(dim=0)[token]))
        text.extend([token])
    return found


def mean_of(ladder: Any, rung: str, place: int) -> float:
    (line,) = ladder.found[rung]
    return float(line.sums[place] / line.counts[place])


def test_the_tokens_of_targets_and_entities_are_those_of_their_names(scripts: Any) -> None:
    text = scripts[1].text_of(SYSTEM, DOCUMENT)
    names = [SHARED.mplus.decode(list(text.ids[a:b])) for a, b in (*text.targets, *text.mentions)]
    assert [one.strip() for one in names] == ["red", "gate", "red"]
    ((place, piece),) = text.pieces.items()
    assert SHARED.mplus.decode(list(text.ids[:place])) == BEFORE
    assert piece.target == TARGET


def test_without_memory_every_token_is_predicted_from_the_text_alone(scripts: Any) -> None:
    ladder = climbed(scripts[1], memory())
    for rung, generator in (
        (PLAIN, Generator(SHARED.mplus.core, None)),
        (OFF, SYSTEM.tools.reader),
    ):
        whole = log_probs(generator, [TEXT[0]], TEXT[1:])
        assert mean_of(ladder, rung, 0) == pytest.approx(-sum(whole) / len(whole), abs=1e-4)
        assert ladder.found[rung][0].counts == (len(TEXT) - 1, 1, 2)
        assert mean_of(ladder, rung, 1) == pytest.approx(-sum(whole[-3:]) / 3, abs=1e-4)


def test_a_memory_that_knows_nothing_changes_nothing(scripts: Any) -> None:
    ladder = climbed(scripts[1], memory(Triple("boat", "name", "Tam")))
    for rung in (OWN, PLACES, QUERIES):
        assert ladder.counts[rung]["calls"] == 1 or rung == OWN
        assert ladder.counts[rung]["before a target"] == 1
        assert ladder.counts[rung]["found something"] == 0
        called = mean_of(ladder, f"{rung}, called", 1)
        assert mean_of(ladder, rung, 1) == pytest.approx(called, abs=1e-5)
        assert ladder.figures()[rung] == ladder.figures()[OFF]


def test_behind_a_read_each_token_is_mixed_of_both_branches(scripts: Any) -> None:
    ladder = climbed(scripts[1], memory(Triple("gate", "is", TARGET)))
    reader = SYSTEM.tools.reader
    read = log_probs(reader, [BEFORE, START, CALL, TARGET, END], f" {TARGET}")
    bare = log_probs(reader, [BEFORE], f" {TARGET}")
    called = float(reader.begun([BEFORE]).scores()[reader.starts].exp().sum())
    both = [
        math.log(called * math.exp(one) + (1 - called) * math.exp(other))
        for one, other in zip(read, bare, strict=True)
    ]
    assert 0 < called < 1
    for rung in (OWN, PLACES, QUERIES):
        assert ladder.counts[rung]["targets found"] == 1
        assert mean_of(ladder, rung, 1) == pytest.approx(-sum(both[1:]) / 3, rel=1e-3)
        sure = mean_of(ladder, f"{rung}, called", 1)
        assert sure == pytest.approx(-sum(read[1:]) / 3, rel=1e-3)
        assert sure < mean_of(ladder, OFF, 1) < mean_of(ladder, PLAIN, 1)
    less, *half = ladder.figures()[QUERIES]["target less disabled"]
    assert less < 0
    assert half == []  # of one document no interval can be said


@pytest.mark.long
def test_the_command_prints_every_rung(
    scripts: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(scripts[0].MPlus, "from_pretrained", lambda *_, **__: SHARED.mplus)
    given = ["perplexity", "--weights", str(tiny_weights()), "--count", "2", "--by-hand"]
    scripts[0].main(given)
    printed = capsys.readouterr().out.splitlines()
    found = json.loads(printed[-1])
    assert (found["documents"], found["memory"]) == (2, "by hand")
    assert found["triples"]["f1"] == 1
    assert list(found["rungs"])[:2] == [PLAIN, OFF]
    for rung, row in found["rungs"].items():
        assert any(line.startswith(f"| {rung} |") for line in printed)
        for name in ("overall", "target", "entity"):
            assert row[name]["low"] < row[name]["perplexity"] < row[name]["high"]
    assert found["calls"][QUERIES]["targets found"] == found["targets"] >= 2


def fact(relation: tuple[str, str, str], statement: str, question: str) -> SpokenFact:
    return SpokenFact(*relation, statement, "", question, "")


RED_GATE = fact(("gate", "is", "red"), "The gate is red, and nobody came.", "What is the gate?")
BLUE_GATE = fact(("gate", "is", "blue"), "The gate is blue.", "What is the gate?")
NAP = fact(("nap", "did", "he"), "It rained for days on end; the keeper slept.", "Who slept?")


@pytest.mark.long
@pytest.mark.parametrize("update", ["replace", "add"])
def test_a_correction_is_answered_and_others_stay_as_they_were(scripts: Any, update: str) -> None:
    system = MemLLMSystem(SHARED, replace(SYSTEM.options, update=update))
    found = scripts[0].edited(system, [(RED_GATE, BLUE_GATE)], [NAP])
    assert found["reliability"][0] == found["locality"][0] == found["others_right"][0] == 1
    # The tiny model knows one wording by heart, and no other.
    assert found["generality"][0] == found["older_value_said"][0] == 0
    assert found["mean"] == pytest.approx(2 / 3, abs=1e-3)
    assert sum(found["missed"].values()) == 0
    assert scripts[0].otherwise(RED_GATE) != RED_GATE.question


def test_a_correction_that_is_lost_is_counted_where_it_was_lost(scripts: Any) -> None:
    unheard = fact(("gate", "is", "ajar"), "A boat lay in the harbour.", "What is the gate?")
    found = scripts[0].edited(SYSTEM, [(RED_GATE, unheard)], [NAP])
    assert found["reliability"][0] == 0
    assert found["older_value_said"][0] == 1
    assert found["missed"] == {"not written": 1, "not found": 0, "not said": 0}
    stale = fact(
        ("boat", "name", "Tam"),
        "Its name was Thistle, and it never left again in winter.",
        "Who slept?",
    )
    found = scripts[0].edited(SYSTEM, [(RED_GATE, stale)], [NAP])
    assert found["missed"] == {"not written": 0, "not found": 1, "not said": 0}


def test_edits_and_the_other_facts_are_of_different_things(scripts: Any) -> None:
    facts = scripts[0].held_out_facts(20, 0)
    assert len({(one.subject, one.relation) for one in facts}) == len(facts) == 20

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.fakes import make_mplus
from tests.systems.conftest import SHARED, SMALL
from tests.systems.ret_llm.tiny_weights import TOLD, tiny_weights
from torch import Tensor

from memplus.errors import MemplusError, SessionMismatchError
from memplus.systems.protocol import ChatPrompt
from memplus.systems.ret_llm.controller import ReadReply
from memplus.systems.ret_llm.prompts import ASKED_EXAMPLES, question_prompt
from memplus.systems.ret_llm.session import Counts, RetLLMSession
from memplus.systems.ret_llm.system import RetLLMSystem
from memplus.systems.ret_llm.tools import RetLLMOptions
from memplus.systems.shared import Shared
from memplus.systems.triples.decoding import Continuation

RED, SLEPT, LAY, NAME, BLUE = TOLD
GATE = "What is the gate?"


def system(**options: object) -> RetLLMSystem:
    given = RetLLMOptions(weights=str(tiny_weights()), **options)  # type: ignore[arg-type]
    return RetLLMSystem(SHARED, given)


@pytest.fixture(scope="module")
def ours() -> RetLLMSystem:
    return system()


def told(one: RetLLMSystem, *sentences: str) -> RetLLMSession:
    session = one.open(0)
    for number, sentence in enumerate(sentences):
        session.write(f"{sentence} ", f"s{number}")
    session.flush()
    return session


def asked(session: RetLLMSession, question: str = GATE) -> ReadReply:
    (reply,) = session.ask([question])
    assert isinstance(reply, ReadReply)
    return reply


def triples(session: RetLLMSession) -> list[tuple[str, ...]]:
    return [tuple(row.triple) for row in session.table.rows()]


def test_what_was_told_is_counted_and_kept_with_its_place(ours: RetLLMSystem) -> None:
    session = ours.open(0)
    session.write(f"{RED} {LAY} ", "a")
    session.write(f"{NAME} ", "b")
    session.flush()
    assert session.counts == Counts(sentences=3, triples=2)
    first, second = session.table.rows()
    (origin,) = first.origins
    assert (origin.source, origin.start, origin.end) == ("a", 0, len(RED))
    (origin,) = second.origins
    assert (origin.source, origin.start, origin.end) == ("b", 0, len(NAME))
    assert session.tokens == len(f"{RED} {LAY} {NAME} ")


def test_the_newest_of_two_values_is_answered_and_both_are_evidence(ours: RetLLMSystem) -> None:
    reply = asked(told(ours, RED, BLUE))
    assert reply.text == "blue"
    assert [one.source for one in reply.evidence] == ["s1", "s0"]
    assert [one.share for one in reply.evidence] == [0.5, 0.5]
    assert reply.found is not None
    assert reply.found.how == "exact"


def test_rows_that_the_model_was_not_shown_are_no_evidence_and_the_reply_says_so(
    ours: RetLLMSystem,
) -> None:
    cut, whole = asked(told(system(rows=1), RED, BLUE)), asked(told(ours, RED, BLUE))
    assert [one.text for one in cut.evidence or ()] == ["gate is blue"]
    assert [one.share for one in cut.evidence or ()] == [1.0]
    assert (cut.remark, whole.remark) == ("left out the oldest 1 of 2 rows", "")


def test_update_replace_keeps_one_value(ours: RetLLMSystem) -> None:
    replacing = told(system(update="replace"), RED, BLUE)
    assert triples(replacing) == [("gate", "is", "blue")]
    other = told(system(update="replace", one_value=("name",)), RED, BLUE)
    assert len(triples(other)) == 2


def test_forgetting_a_source_takes_away_what_only_it_said(ours: RetLLMSystem) -> None:
    session = told(ours, RED, BLUE, RED)
    assert session.forget("s1") == 1
    assert asked(session).text == "red"
    assert session.forget("s0") == 0
    assert asked(session).text == "red"
    assert session.forget("s2") == 1
    assert asked(session).declined
    session.write(RED, "s9")
    assert asked(session).text == "red"
    session.forget("s9")
    assert asked(session).declined


def test_a_reset_session_is_a_new_one(ours: RetLLMSystem) -> None:
    session, other = told(ours, RED), ours.open(0)
    session.reset()
    assert (session.tokens, session.nbytes, session.counts) == (0, other.nbytes, Counts())
    assert asked(session).declined


def test_with_the_memory_off_the_result_is_empty(ours: RetLLMSystem) -> None:
    off, empty = told(system(memory="off"), RED), ours.open(0)
    assert asked(off).generated == asked(empty).generated
    assert asked(off).query == asked(empty).query is not None
    assert asked(off).declined


def test_a_field_that_would_break_the_grammar_is_counted_and_not_kept(
    ours: RetLLMSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "memplus.systems.ret_llm.controller.parse_calls", lambda text: [("a;b", "is", "c")]
    )
    session = told(ours, RED)
    assert (triples(session), session.counts.malformed) == ([], 1)


def test_options_are_scored_behind_the_result(ours: RetLLMSystem) -> None:
    told_red, told_blue = told(ours, RED), told(ours, BLUE)
    choices = [[" red", " blue"]]
    for session, best in ((told_red, 0), (told_blue, 1)):
        ((red, blue),) = session.score([ChatPrompt(GATE)], choices)
        assert (red[1], blue[1]) == (4, 5)
        assert (red[0] / 4 > blue[0] / 5) == (best == 0)
        before = session.score([ChatPrompt(GATE, "  r")], [["ed", "lue"]])
        assert before[0][0][1] == 2
        # A blank stands between result and answer in training; it is scored with the answer.
        assert session.score([ChatPrompt(GATE)], [["red", "blue"]]) == [[red, blue]]
    raw = told_red.score([f"Question: {GATE}\n"], choices)
    assert raw[0][0][0] == pytest.approx(told_red.score([ChatPrompt(GATE)], choices)[0][0][0])


def test_an_untuned_model_scores_behind_the_worked_examples_as_it_answers() -> None:
    shared = Shared(lambda: make_mplus(config=SMALL, changes={"max_position_embeddings": 2048}))
    plain, core = RetLLMSystem(shared, RetLLMOptions(weights="none")), shared.mplus.core
    asked = "".join((ASKED_EXAMPLES, question_prompt(GATE)))
    session = plain.open(0)
    for start, option in (("", "red"), ("r", "ed")):
        ((found,),) = session.score([ChatPrompt(GATE, start)], [[option]])
        expected = Continuation(core, None, core.encode(asked + start))
        assert found[0] == pytest.approx(expected.likelihood(core.encode(option))[0])


def test_a_session_of_other_options_and_a_damaged_one_are_refused(
    ours: RetLLMSystem, tmp_path: Path
) -> None:
    session = told(ours, RED)
    session.write(BLUE, "later")
    session.save(tmp_path / "one")
    with pytest.raises(SessionMismatchError):
        system(rows=2).load(tmp_path / "one")
    tensors = load_file(tmp_path / "one")
    assert tensors["waiting_ends"].dtype == torch.int32
    save_file(tensors, tmp_path / "two")
    with pytest.raises(MemplusError):
        ours.load(tmp_path / "two")


def test_vectors_of_what_is_asked_are_those_of_what_is_stored(ours: RetLLMSystem) -> None:
    session, seen = told(ours, RED), []
    plain = session.table.embed

    def embed(texts: Sequence[str]) -> Tensor:
        seen.append((list(texts), plain(texts)))
        return seen[-1][1]

    session.table.embed = embed
    session.ask(["What was the boat's name?"])
    assert seen
    for texts, vectors in seen:
        assert vectors.equal(plain(texts))

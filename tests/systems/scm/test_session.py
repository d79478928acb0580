from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.systems.conftest import SHARED
from tests.systems.scm.tiny import QUESTION, SENTENCES, small, told

from memplus.errors import EmptyTextError, PositionsError, UsageError
from memplus.systems.protocol import ChatPrompt
from memplus.systems.scm.options import SCMOptions
from memplus.systems.scm.session import Quoted, SCMSession
from memplus.systems.scm.system import SCMSystem
from memplus.systems.shared import log_likelihoods


def said(session: SCMSession) -> list[str]:
    return [one.text for one in session.ask([QUESTION, "Who slept?"], max_new_tokens=4)]


def test_running_text_becomes_turns_that_end_with_sentences() -> None:
    session = small().open(0)
    session.write(" ".join(SENTENCES), "text")
    turns = [turn.chunk.observation.strip() for turn in session.stream.turns]
    assert turns == SENTENCES[:4]
    assert session.stream.waiting.text.strip() == SENTENCES[4]
    session.flush()
    assert session.stream.turns[-1].text == f"[Turn 5]\n{SENTENCES[4]}"
    assert session.tokens == len(" ".join(SENTENCES))


def test_what_waits_is_read_as_the_previous_turn_and_goes_on_waiting() -> None:
    session = small().open(0)
    session.write("The gate is red.", "text")
    assert "The gate is red." in session.recall(QUESTION).before
    assert session.stream.turns == ()
    before = said(session)
    session.flush()
    assert said(session) == before


def test_a_new_source_begins_a_turn_and_each_is_counted_by_itself() -> None:
    session = small().open(0)
    session.write("One.", "a")
    session.write(["Two", "."], "b")
    session.write(" Three.", "a")
    session.flush()
    found = [(one.chunk.source, one.chunk.start, one.chunk.length) for one in session.stream.turns]
    assert found == [("a", 0, 4), ("b", 0, 4), ("a", 4, 7)]


def test_a_dialogue_is_told_by_its_turns_however_long_they_are() -> None:
    session = small(chunk=20).open(0)
    session.write("Nothing of the talk.", "text")
    session.tell(["A talk.\n", "Ada: I sold the boat.\n"], "Ben: To whom?\n", "talk")
    session.tell("Ada: To Eve.\n", source="talk")
    first, second = session.stream.turns[1:]
    assert first.text == "[Turn 2]\nA talk.\nAda: I sold the boat.\nBen: To whom?"
    assert second.text == "[Turn 3]\nAda: To Eve."
    assert (first.chunk.start, first.chunk.length) == (0, 44)
    assert (second.chunk.start, second.chunk.length) == (44, 13)
    assert session.stream.waiting.text == ""


def test_evidence_is_what_stood_in_the_prompt_with_its_form() -> None:
    session = told(small(gate="off", controller="yes"))
    (reply,) = session.ask([QUESTION], max_new_tokens=4)
    asked = session.recall(QUESTION, max_new_tokens=4)
    shares = [one.share for one in reply.evidence]
    assert shares == sorted(shares, reverse=True)
    assert sum(shares) == pytest.approx(1)
    assert len(asked.selection.activation) > 0
    for one in reply.evidence:
        assert isinstance(one, Quoted)
        assert one.text in asked.before
        assert 0 <= one.start < one.end <= session.tokens
        assert one.form in ("raw", "summary")
    assert [one.flash for one in reply.evidence if isinstance(one, Quoted)].count(True) == 1


def test_what_is_called_up_is_in_the_prompt_and_fits() -> None:
    session = told(small(gate="off", controller="yes"))
    asked = session.recall(QUESTION)
    assert asked.selection.tokens <= 150
    numbers = [one.turn for one in asked.selection.activation]
    assert numbers == sorted(numbers)
    assert 4 not in numbers


def test_the_controller_is_called_at_most_once_for_the_gate_and_twice_a_turn() -> None:
    system = small(gate="on", chunk=60)
    session = told(system, SENTENCES * 3)
    before = system.frame.controller.asked
    session.ask([QUESTION], max_new_tokens=2)
    asked = system.frame.controller.asked - before
    assert 1 <= asked <= 2 * (system.options.k - 1) + 1


@pytest.mark.long
def test_asking_keeps_nothing() -> None:
    session = told(small(gate="off", controller="yes"))
    stream, size = session.stream, session.nbytes
    said(session)
    session.score([QUESTION], [["yes", "no"]])
    assert session.stream == stream
    assert session.nbytes == size


def test_a_conversation_keeps_both_sides() -> None:
    session = told(small())
    reply = session.converse("Who slept?", "talk", max_new_tokens=4)
    chunk = session.stream.turns[-1].chunk
    assert (chunk.observation, chunk.source) == ("User: Who slept?", "talk")
    assert chunk.response == f"Assistant: {reply.text}"
    with pytest.raises(EmptyTextError):
        session.converse(" ")
    with pytest.raises(EmptyTextError):
        session.tell(" ")


@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.sampled_from(SENTENCES), max_size=5), st.sampled_from(SENTENCES))
def test_rolling_back_a_turn_restores_the_state_before_it(told_: list[str], more: str) -> None:
    session = told(small(gate="off", controller="yes"), told_)
    before, size, tokens = session.stream, session.nbytes, session.tokens
    session.tell(more, "Indeed.", source="other")
    session.roll_back()
    assert session.stream == before
    assert (session.nbytes, session.tokens) == (size, tokens)


def test_a_reset_session_is_a_new_one() -> None:
    session = told(small())
    session.reset()
    assert said(session) == said(small().open(0))
    assert session.nbytes == session.tokens == 0


def test_what_is_called_up_stands_before_a_prompt_that_is_scored() -> None:
    system = small(gate="off", controller="yes")
    session = told(system)
    before = session.recall("It is").before
    before = before[before.index("Related") :]
    ids = system.shared.mplus.encode(f"{before}\n\nIt is")
    (wanted,) = log_likelihoods(system.shared, None, ids, [" blue."])
    assert session.score(["It is"], [[" blue."]]) == [[wanted]]
    assert wanted != system.open(0).score(["It is"], [[" blue."]])[0][0]


TELLING: list[Callable[[SCMSession], None]] = [
    lambda session: session.write(" ".join(SENTENCES), "text"),
    lambda session: session.write(" ".join(SENTENCES), "other"),
    lambda session: session.tell(SENTENCES[1], "Indeed.", "text"),
    SCMSession.flush,
]


def interrupted(patch: pytest.MonkeyPatch, session: SCMSession, at: int = 0) -> list[str]:
    """The calls of the model from now on; the one of that number, from 1 on, is interrupted."""
    voice, calls = session.frame.plain, list[str]()

    def watched(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def called(*given: Any) -> Any:
            calls.append(name)
            if len(calls) == at:
                raise KeyboardInterrupt
            return call(*given)

        return called

    for name in ("vector", "answer"):
        patch.setattr(voice, name, watched(name, getattr(voice, name)))
    return calls


@pytest.mark.parametrize("options", [{"embed": "hidden"}, {"vector_of": "summary"}], ids=str)
@pytest.mark.parametrize("telling", TELLING)
def test_what_is_told_anew_after_an_interrupt_is_told_once(
    telling: Callable[[SCMSession], None],
    options: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole, session = (small(**options, summary_above=10).open(0) for _ in range(2))
    for one in (whole, session):
        one.write("A boat lay in the harbour.", "text")
    before, tokens = session.stream, session.tokens
    calls = interrupted(monkeypatch, whole)
    telling(whole)
    with monkeypatch.context() as patch:
        interrupted(patch, session, at=len(calls))
        with pytest.raises(KeyboardInterrupt):
            telling(session)
    assert (session.stream, session.tokens) == (before, tokens)
    telling(session)
    found, wanted = (
        [replace(turn, vector=None) for turn in one.stream.turns] for one in (session, whole)
    )
    assert found == wanted
    assert (session.stream.tokens, session.stream.waiting) == (
        whole.stream.tokens,
        whole.stream.waiting,
    )


@pytest.mark.parametrize(
    "said",
    [("a\udce9",), ("a", "b\udce9"), (5,), ("a", None), ("a", "b", None), ("a", "b", 5)],
    ids=ascii,
)
def test_what_is_no_text_is_not_told(said: tuple[Any, ...]) -> None:
    session = told(small(), SENTENCES[:1])
    session.write("It waits.", "text")
    before = session.stream
    with pytest.raises(UsageError):
        session.tell(*said)
    assert session.stream == before


RULES = [{"naive": True}, {"rule": "paper"}, {"rule": "code"}]


@pytest.mark.parametrize("options", RULES, ids=str)
def test_turns_that_have_no_positions_are_cut_and_the_reply_says_so(
    options: dict[str, Any],
) -> None:
    system = SCMSystem(SHARED, SCMOptions(**options, k=3, gate="off", controller="yes"))
    session = told(system, [f"The gate number {number} is red." for number in range(6)])
    question, positions = "Which gate is red?", SHARED.mplus.positions
    asked = session.recall(question, max_new_tokens=8)
    ids = SHARED.prompt_ids(ChatPrompt(question), asked.before)
    assert len(ids) + 8 <= positions
    (reply,) = session.ask([question], max_new_tokens=8)
    assert reply.generated == system.frame.voice.answer(ids, 8).generated
    assert len(reply.evidence) == len(asked.called) > 1
    whole = sum(turn.tokens for turn in (*session.stream.turns[2:5], session.stream.turns[-1]))
    assert reply.remark == f"cut {whole - asked.selection.tokens} of {whole} tokens"
    assert len(session.score([ChatPrompt(question)], [[" red", " blue"]])[0]) == 2


@pytest.mark.parametrize("options", RULES, ids=str)
def test_where_all_turns_have_positions_nothing_is_said(options: dict[str, Any]) -> None:
    session = told(small(**options, gate="off", controller="yes"))
    assert session.recall(QUESTION).selection.tokens > 0
    assert [one.remark for one in session.ask([QUESTION], max_new_tokens=4)] == [""]


def test_a_question_that_leaves_no_positions_has_no_turns_before_it() -> None:
    session = told(SCMSystem(SHARED, SCMOptions(gate="off", controller="yes")), SENTENCES[:2])
    positions = SHARED.mplus.positions
    question = "x" * positions
    (reply,) = session.ask([question], max_new_tokens=4)
    assert session.recall(question, max_new_tokens=4).before == ""
    assert reply.evidence == ()
    tokens = len(SHARED.prompt_ids(ChatPrompt(question)))
    over = tokens + 4 - positions
    assert reply.remark.endswith(f", cut {over} of {tokens} tokens of the question")
    with pytest.raises(PositionsError):
        session.score([ChatPrompt(question)], [[" red"]])


def test_white_space_alone_is_no_turn() -> None:
    session = small().open(0)
    session.write("  \n ", "text")
    session.flush()
    assert session.stream.turns == ()
    assert session.tokens == 4

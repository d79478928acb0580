import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tests.systems.conftest import SHARED
from tests.systems.memllm.test_calls import say, write
from tests.systems.memllm.tiny_weights import TOLD, tiny_weights
from tests.systems.triples.test_session import interrupted_in_pass, saved

from memplus.errors import ConfigError, CorruptMemoryError, EmptyTextError, PositionsError
from memplus.memory.tensor_file import opened, write_tensors
from memplus.systems.memllm.calls import Generator, question_prompt
from memplus.systems.memllm.reading import Read, ReadLoop
from memplus.systems.memllm.session import CallReply, Counts, MemLLMSession
from memplus.systems.memllm.system import MemLLMSystem
from memplus.systems.memllm.tools import MemLLMOptions
from memplus.systems.protocol import ChatPrompt
from memplus.systems.triples.rows import Row, Triple

OPTIONS = MemLLMOptions(weights=str(tiny_weights()), context_sentences=0)
SYSTEM = MemLLMSystem(SHARED, OPTIONS)
RED, BLUE = "The gate is red, and nobody came. ", "The gate is blue. "
NAP = "It rained for days on end; the keeper slept. "


def told(*texts: str, system: MemLLMSystem = SYSTEM) -> MemLLMSession:
    session = system.open(0)
    for number, text in enumerate(texts):
        session.write(text, f"s{number}")
    session.flush()
    return session


def asked(session: MemLLMSession, question: str) -> CallReply:
    (reply,) = session.ask([question], max_new_tokens=6)
    assert isinstance(reply, CallReply)
    return reply


def stored(session: MemLLMSession) -> list[Triple]:
    return [row.triple for row in session.table.rows()]


def test_every_sentence_is_written_and_what_is_asked_is_found() -> None:
    session = told(RED + NAP)
    assert stored(session) == [*TOLD[RED.strip()], *TOLD[NAP.strip()]]
    assert (session.counts.sentences, session.counts.parsed, session.counts.triples) == (2, 2, 2)
    reply = asked(session, "What is the gate?")
    assert (reply.text, reply.found, reply.calls, reply.parsed) == ("red", ("red",), 1, 1)


def test_an_answer_shows_where_its_triples_were_said() -> None:
    session = told(NAP, RED)
    (evidence,) = asked(session, "What is red?").evidence
    assert (evidence.source, evidence.text, evidence.share) == ("s1", "gate>>is>>red", 1.0)
    assert (evidence.start, evidence.end) == (0, len(RED.strip()))


def test_the_evidence_is_what_all_reads_spliced_in_the_last_one_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    session = told(RED, NAP)
    red, nap = session.table.rows()

    def run(loop: ReadLoop[Row]) -> str:
        for row in (red, nap):
            loop.reads.append(Read("", {row.triple.object: row}))
        return loop.said

    monkeypatch.setattr(ReadLoop, "run", run)
    reply = asked(session, "What?")
    assert [one.text for one in reply.evidence or ()] == [
        ">>".join(row.triple) for row in (nap, red)
    ]
    assert [one.share for one in reply.evidence or ()] == [0.5, 0.5]
    assert reply.found == (nap.triple.object,)


def test_what_was_told_with_a_dash_is_found_and_answered_as_it_was_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    system, question = MemLLMSystem(SHARED, replace(OPTIONS, late_stopping="off")), "Who?"
    with monkeypatch.context() as patch:
        write(patch, "({MEM_WRITE-->555 \u2013 0199>>since>>1984 \u2013 85})")
        session = told("The number 555-0199 is in use since 1984-85. ", system=system)
    say(monkeypatch, question_prompt(question), "({MEM_READ(555-0199>>since>>)-->")
    assert asked(session, question).found == ("1984-85",)


def test_a_new_object_takes_the_older_away_or_stands_behind_it() -> None:
    assert asked(told(RED, BLUE), "What is the gate?").found == ("blue",)
    both = MemLLMSystem(SHARED, replace(OPTIONS, update="add"))
    reply = asked(told(RED, BLUE, system=both), "What is the gate?")
    assert (reply.found, reply.text) == (("red", "blue"), "blue")


@pytest.mark.long
def test_more_results_than_are_wanted_are_of_no_use() -> None:
    for most, found in ((2, ("red", "blue")), (1, ())):
        system = MemLLMSystem(SHARED, replace(OPTIONS, update="add", most_results=most))
        reply = asked(told(RED, BLUE, system=system), "What is the gate?")
        assert (reply.found, reply.parsed > 0) == (found, True)
        assert reply.remark == ("" if found else "dropped 2 results, more than 1 are of no use")


def test_without_memory_the_reader_goes_on_and_never_calls() -> None:
    off = MemLLMSystem(SHARED, replace(OPTIONS, memory="off"))
    assert not off.remembers
    reply = asked(told(RED, system=off), "What is the gate?")
    assert (reply.calls, reply.found, reply.evidence) == (0, (), ())


@pytest.mark.parametrize("slips", [False, True])
def test_without_memory_nothing_is_looked_up_whatever_the_model_says(
    monkeypatch: pytest.MonkeyPatch, slips: bool
) -> None:
    off = told(RED, system=MemLLMSystem(SHARED, replace(OPTIONS, memory="off")))
    say(monkeypatch, question_prompt("What?"), "ab({MEM_READ(gate>>is>>)-->c")
    if slips:
        monkeypatch.setattr(Generator, "completing", ())
    (reply,) = off.ask(["What?"], max_new_tokens=9)
    assert isinstance(reply, CallReply)
    assert (reply.calls > 0, reply.found, reply.evidence) == (slips, (), ())
    if not slips:
        assert reply.generated == "ab(xMEM_R"


def test_an_answer_that_what_was_found_leaves_no_room_for_is_an_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    session, call = told(RED), "({MEM_READ(gate>>is>>)-->"
    room = SHARED.mplus.core.positions - len(question_prompt("") + call)
    question = "x" * (room - len("red"))
    say(monkeypatch, question_prompt(question), call)
    with pytest.raises(PositionsError):
        session.ask([question])


def test_a_write_that_is_interrupted_leaves_the_sentences_before_it(tmp_path: Path) -> None:
    system = MemLLMSystem(SHARED, replace(OPTIONS, context_sentences=2))
    session, other = system.open(0), system.open(0)
    for one in (session, other):
        one.write(BLUE + NAP + "The gate is", "a")
    before = saved(session, tmp_path / "s")
    text = f" red, and nobody came. {BLUE}"
    with interrupted_in_pass(8):
        session.write(text + NAP, "a")
    assert saved(session, tmp_path / "s") == before
    for one in (session, other):
        one.write(text + NAP, "a")
    assert saved(session, tmp_path / "s") == saved(other, tmp_path / "s")


def test_writing_twice_changes_no_triple() -> None:
    assert stored(told(RED)) == stored(told(RED, RED))


def test_options_are_scored_behind_what_was_found() -> None:
    session = told(RED)
    prompt = ChatPrompt("What is the gate?")
    ((red, _), (blue, _)) = session.score([prompt], [[" red", " blue"]])[0]
    assert red > blue
    before = told(BLUE).score([prompt], [[" red", " blue"]])[0]
    assert before[0][0] < before[1][0]
    # A blank stands before an answer in training, behind what is found as where nothing is.
    assert session.score([prompt], [["red", "blue"]])[0] == [(red, 4), (blue, 5)]
    assert session.score([ChatPrompt(prompt.user, "r")], [["ed"]])[0][0][1] == 2
    nothing, off = SYSTEM.open(0), MemLLMSystem(SHARED, replace(OPTIONS, memory="off")).open(0)
    for one in (nothing, off):
        assert one.score([prompt], [["red"]]) == one.score([prompt], [[" red"]])
    raw = session.score(["Question: What is the gate?\nAnswer:"], [[" red"]])
    assert raw[0][0][0] == pytest.approx(red)
    with pytest.raises(EmptyTextError):
        session.score([ChatPrompt(" ")], [["x"]])


def test_a_text_goes_on_and_an_empty_one_is_refused() -> None:
    session = told(RED)
    assert session.continue_("Question: What is the gate?\nAnswer:", max_new_tokens=6) == " red"
    with pytest.raises(EmptyTextError):
        session.continue_(" ")
    with pytest.raises(ConfigError, match="max_new_tokens"):
        session.continue_("The gate", max_new_tokens=0)
    with pytest.raises(PositionsError):
        session.continue_("x" * SHARED.mplus.core.positions)


def test_the_text_before_a_sentence_is_cut_by_whole_sentences() -> None:
    def context(tokens: int) -> str:
        options = replace(OPTIONS, context_sentences=2, context_tokens=tokens)
        session = MemLLMSystem(SHARED, options).open(0)
        session._before = ("One is.", "Two is long.")
        return session._context("Three.")

    whole = len("One is. Two is long. ({USER_ST})Three.({USER_END})")
    assert context(whole) == "One is. Two is long. "
    assert context(whole - 1) == "Two is long. "
    assert context(20) == ""


@pytest.mark.long
def test_the_text_before_a_sentence_is_the_same_in_one_piece_and_in_many() -> None:
    system = MemLLMSystem(SHARED, replace(OPTIONS, context_sentences=2))
    text = (RED + NAP + BLUE) * 3
    whole, pieces, letters = (system.open(0) for _ in range(3))
    whole.write(text, "s")
    pieces.write([RED, NAP, BLUE] * 3, "s")
    for letter in text:
        letters.write(letter, "s")
    for session in (whole, pieces, letters):
        session.flush()
        assert session._before == (NAP.strip(), BLUE.strip())
    assert stored(whole) == stored(pieces) == stored(letters)
    assert whole.counts == pieces.counts == letters.counts
    told = [*whole._with_context(["One is.", "Two is long."])]
    assert told == [(f"{NAP}{BLUE}", "One is."), (f"{BLUE}One is. ", "Two is long.")]


def test_triples_that_cannot_be_kept_are_counted_and_told_of(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    system = MemLLMSystem(SHARED, replace(OPTIONS, late_stopping="off"))
    session = told(RED, system=system)
    assert (session.counts.dropped, asked(session, "What is the gate?").remark) == (0, "")
    with monkeypatch.context() as patch:
        write(patch, "({MEM_WRITE-->a>>is>>b;gate>>had;gate>>was>>})")
        session.write(BLUE, "later")
        session.flush()
    assert Triple("a", "is", "b") in stored(session)
    fork = session.fork()
    session.save(tmp_path / "s")
    for one in (session, fork, system.load(tmp_path / "s")):
        assert one.counts == Counts(sentences=2, parsed=2, triples=2, dropped=2)
        remark = asked(one, "What is the gate?").remark
        assert remark == "2 triples of what was told could not be kept"


def test_a_session_of_a_release_that_did_not_count_them_is_loaded(tmp_path: Path) -> None:
    session = told(RED)
    session.save(tmp_path / "s")
    with opened(tmp_path / "s") as file:
        header, tensors = json.loads(file.text), file.tensors()
    *older, dropped = header["state"]["counts"]
    assert (len(older), dropped) == (3, 0)
    for counts in (older, older[:2], [*older, 0, 0]):
        header["state"]["counts"] = counts
        write_tensors(tmp_path / "s", tensors, json.dumps(header))
        if counts == older:
            assert SYSTEM.load(tmp_path / "s").counts == session.counts
        else:
            with pytest.raises(CorruptMemoryError, match="three numbers nor four"):
                SYSTEM.load(tmp_path / "s")


def test_a_damaged_session_is_refused(tmp_path: Path) -> None:
    session = told(RED)
    session.save(tmp_path / "s")
    with opened(tmp_path / "s") as file:
        text, tensors = file.text, file.tensors()
    for name, wrong in (("waiting.ends", torch.tensor([7], dtype=torch.int32)), ("triples", None)):
        changed = {key: value for key, value in tensors.items() if key != name}
        changed |= {} if wrong is None else {name: wrong}
        write_tensors(tmp_path / "s", changed, text)
        with pytest.raises(CorruptMemoryError, match=name):
            SYSTEM.load(tmp_path / "s")

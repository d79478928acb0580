"""What the sessions of every system of triples do alike, over both systems."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.systems.conftest import SHARED
from tests.systems.options import spec_for

from memplus.errors import (
    ConfigError,
    CorruptMemoryError,
    EmptyTextError,
    PositionsError,
    UnknownSourceError,
    UsageError,
)
from memplus.memory.tensor_file import opened, write_tensors
from memplus.systems.protocol import ChatPrompt, Reply
from memplus.systems.registry import make_systems
from memplus.systems.triples.decoding import Continuation
from memplus.systems.triples.rows import Origin, Triple
from memplus.systems.triples.session import TripleSession
from memplus.systems.triples.system import TripleSystem

Session = TripleSession[Any, Any]
RED, NAP = "The gate is red, and nobody came. ", "It rained for days on end; the keeper slept. "
LAY = "A boat lay in the harbour. "
GATE = "What is the gate?"
IS_RED, DID_NAP = Triple("gate", "is", "red"), Triple("he", "did", "nap")


@pytest.fixture(scope="module", params=["ret_llm", "memllm"])
def system(request: pytest.FixtureRequest) -> TripleSystem[Any, Any, Any]:
    (made,) = make_systems([spec_for(request.param)], SHARED)
    assert isinstance(made, TripleSystem)
    return made


def told(system: TripleSystem[Any, Any, Any], *texts: str) -> Session:
    session: Session = system.open(0)
    for number, text in enumerate(texts):
        session.write(text, f"s{number}")
    session.flush()
    return session


def stored(session: Session) -> dict[Triple, tuple[Origin, ...]]:
    """Of what both systems were trained to write."""
    rows = [row for row in session.table.rows() if row.triple in (IS_RED, DID_NAP)]
    return {row.triple: row.origins for row in rows}


def asked(session: Session) -> Reply:
    (reply,) = session.ask([GATE], max_new_tokens=6)
    return reply


def test_what_waits_is_asked_too_and_still_waits(system: TripleSystem[Any, Any, Any]) -> None:
    session = system.open(0)
    session.write(RED.strip(), "s")
    for _ in range(2):
        assert not stored(session)
        assert asked(session).text == "red"
    session.write(" And so", "s")
    assert [*stored(session)] == [IS_RED]


def test_a_source_that_is_gone_on_with_counts_its_tokens_on(
    system: TripleSystem[Any, Any, Any],
) -> None:
    session = system.open(0)
    for text, source in ((LAY, "a"), (NAP, "b"), (RED, "a")):
        session.write(["", text], source)
    session.flush()
    (origin,) = stored(session)[IS_RED]
    place = "a", len(LAY), len(LAY + RED.strip())
    assert (origin.source, origin.start, origin.end) == place
    assert session.tokens == len(LAY + NAP + RED)


def test_a_source_that_is_forgotten_is_known_no_more(system: TripleSystem[Any, Any, Any]) -> None:
    session = told(system, RED, NAP)
    assert asked(session).evidence
    assert session.forget("s0") == 1
    assert not asked(session).evidence
    assert [*stored(session)] == [DID_NAP]
    with pytest.raises(UnknownSourceError, match=r"no source 's0'. It has 's1'\."):
        session.forget("s0")
    session.write("The gate is", "s3")
    assert session.forget("s3") == 0
    session.flush()
    assert session.counts.sentences == 2
    assert session.forget("s1")
    assert not session.table.rows()
    with pytest.raises(UnknownSourceError, match="It has none"):
        session.forget("s1")


def test_nothing_is_forgotten_for_a_name_that_is_unknown(
    system: TripleSystem[Any, Any, Any],
) -> None:
    session = told(system, RED)
    session.write("The gate is", "s1")
    with pytest.raises(UnknownSourceError, match="'s0', 's1'"):
        session.forget("")
    with pytest.raises(UsageError, match="text, not int"):
        session.forget(0)  # type: ignore[arg-type]
    assert [*stored(session)] == [IS_RED]
    assert session.tokens == len(RED) + len("The gate is")
    assert session.forget("s1") == 0


def test_a_name_is_known_in_every_spelling_that_unicode_takes_for_the_same(
    system: TripleSystem[Any, Any, Any],
) -> None:
    session = system.open(0)
    session.write(RED, "Caf\u00e9")
    session.flush()
    assert session.forget("Cafe\u0301") == 1
    assert not stored(session)


def test_a_sources_name_may_hold_half_a_character(
    system: TripleSystem[Any, Any, Any], tmp_path: Path
) -> None:
    session = system.open(0)
    session.write(RED, "na\udc80me")
    session.write(NAP, "s")
    session.save(tmp_path / "s")
    loaded = system.load(tmp_path / "s")
    assert loaded.nbytes == session.nbytes > 0
    assert loaded.forget("na\udc80me") == 1


def test_what_two_sources_said_stays_until_both_are_forgotten(
    system: TripleSystem[Any, Any, Any],
) -> None:
    session = told(system, RED, RED)
    assert session.forget("s0") == 0
    assert [*stored(session)] == [IS_RED]
    assert session.forget("s1") == 1
    assert not stored(session)


def test_a_saved_session_does_not_name_a_source_that_was_forgotten(
    system: TripleSystem[Any, Any, Any], tmp_path: Path
) -> None:
    session = system.open(0)
    session.write(RED, "secret diary")
    session.forget("secret diary")
    session.save(tmp_path / "s")
    assert b"secret" not in (tmp_path / "s").read_bytes()


def test_text_without_a_source_goes_on_where_it_was_when_another_source_is_forgotten(
    system: TripleSystem[Any, Any, Any],
) -> None:
    session = system.open(0)
    session.write(RED)
    session.write(LAY, "a")
    session.forget("a")
    session.write(NAP)
    session.flush()
    (origin,) = stored(session)[DID_NAP]
    assert (origin.source, origin.start) == ("", len(RED))


def test_a_fork_goes_its_own_way(system: TripleSystem[Any, Any, Any]) -> None:
    session = system.open(0)
    session.write("The gate is", "a")
    other = session.fork()
    other.write(" red, and nobody came. ", "a")
    other.write(NAP, "b")
    other.flush()
    assert [*stored(other)] == [IS_RED, DID_NAP]
    assert (session.tokens, session.counts.sentences) == (len("The gate is"), 0)
    session.write(" red, and nobody came. ", "a")
    session.flush()
    assert [*stored(session)] == [IS_RED]


def test_a_saved_session_goes_on_where_it_was(
    system: TripleSystem[Any, Any, Any], tmp_path: Path
) -> None:
    session = told(system, LAY, NAP)
    session.write("The gate is", "s0")
    session.save(tmp_path / "s")
    loaded = system.load(tmp_path / "s")
    assert (loaded.tokens, loaded.counts, loaded.nbytes) == (
        session.tokens, session.counts, session.nbytes
    )  # fmt: skip
    for one in (session, loaded):
        one.write(" red, and nobody came. It", "s0")
    assert stored(loaded) == stored(session)
    assert stored(loaded)[IS_RED][0].start == len(LAY)


@pytest.mark.parametrize(
    "wrong", [torch.tensor([7], dtype=torch.int32), torch.tensor([0.5]), None], ids=str
)
def test_a_session_whose_waiting_text_is_damaged_is_refused(
    system: TripleSystem[Any, Any, Any], tmp_path: Path, wrong: torch.Tensor | None
) -> None:
    told(system, RED).save(tmp_path / "s")
    name = system.sessions.ends_name
    with opened(tmp_path / "s") as file:
        text, tensors = file.text, file.tensors()
    del tensors[name]
    write_tensors(tmp_path / "s", tensors | ({} if wrong is None else {name: wrong}), text)
    with pytest.raises(CorruptMemoryError, match=name):
        system.load(tmp_path / "s")


def test_nothing_is_no_text_and_no_question(system: TripleSystem[Any, Any, Any]) -> None:
    session = system.open(0)
    for text in ("", [], ["", ""]):
        with pytest.raises(EmptyTextError):
            session.write(text)
    with pytest.raises(EmptyTextError, match="question"):
        session.ask([" "])
    with pytest.raises(EmptyTextError, match="question"):
        session.score([ChatPrompt(" ")], [["x"]])


@pytest.mark.parametrize("wrong", [0, -1, 1.5, "3", True])
def test_what_is_no_number_of_tokens_is_refused(
    system: TripleSystem[Any, Any, Any], wrong: Any
) -> None:
    with pytest.raises(ConfigError, match="max_new_tokens"):
        system.open(0).ask([GATE], max_new_tokens=wrong)


def test_a_question_behind_which_nothing_can_be_said_is_refused(
    system: TripleSystem[Any, Any, Any],
) -> None:
    session, question = system.open(0), "w " * (SHARED.mplus.core.positions // 2)
    with pytest.raises(PositionsError):
        session.ask([question])
    with pytest.raises(PositionsError):
        session.score([ChatPrompt(question)], [["x"]])


def state_of(session: Session) -> tuple[Any, ...]:
    waits = session._waiting
    return session.table.rows(), session.counts, session.tokens, waits.text, waits.next


@pytest.mark.long
def test_a_text_in_one_piece_or_in_many_leaves_the_same_state(
    system: TripleSystem[Any, Any, Any],
) -> None:
    text = (RED + NAP + LAY) * 7 + "The gate is"
    whole, pieces, letters = (system.open(0) for _ in range(3))
    whole.write(text, "s")
    pieces.write([RED, NAP, LAY] * 7 + ["The gate is"], "s")
    for letter in text:
        letters.write(letter, "s")
    assert {IS_RED, DID_NAP} <= {row.triple for row in whole.table.rows()}
    assert state_of(whole) == state_of(pieces) == state_of(letters)
    for one in (whole, pieces, letters):
        one.flush()
        one.write(NAP, "other")
    assert state_of(whole) == state_of(pieces) == state_of(letters)


@contextmanager
def interrupted_in_pass(number: int) -> Iterator[None]:
    """Ctrl-C at the beginning of so many passes of the model."""
    passes = 0

    def interrupt(*_: object) -> None:
        nonlocal passes
        passes += 1
        if passes == number:
            raise KeyboardInterrupt

    hook = SHARED.mplus.core.backbone.decoder.register_forward_pre_hook(interrupt)
    try:
        with pytest.raises(KeyboardInterrupt):
            yield
    finally:
        hook.remove()
    assert passes == number


def saved(session: Session, path: Path) -> tuple[str, dict[str, list[Any]]]:
    """All that a saved session holds."""
    session.save(path)
    with opened(path) as file:
        return file.text, {name: one.tolist() for name, one in file.tensors().items()}


def in_its_place(system: TripleSystem[Any, Any, Any], *, waiting: str = "The gate is") -> Session:
    session = told(system, NAP)
    session.write(LAY + waiting, "s1")
    return session


@pytest.mark.parametrize(("text", "source"), [(f" red. {RED}", "s1"), (RED + LAY, "s0")])
def test_a_write_that_is_interrupted_leaves_the_session_as_it_was(
    system: TripleSystem[Any, Any, Any], tmp_path: Path, text: str, source: str
) -> None:
    session, other = in_its_place(system), in_its_place(system)
    before = saved(session, tmp_path / "s")
    for number in (1, 8):
        with interrupted_in_pass(number):
            session.write(text, source)
        assert saved(session, tmp_path / "s") == before
    session.write(text, source)
    other.write(text, source)
    assert saved(session, tmp_path / "s") == saved(other, tmp_path / "s") != before


def test_a_flush_that_is_interrupted_loses_nothing_that_waits(
    system: TripleSystem[Any, Any, Any], tmp_path: Path
) -> None:
    session = in_its_place(system, waiting=RED)
    before = saved(session, tmp_path / "s")
    with interrupted_in_pass(8):
        session.flush()
    assert saved(session, tmp_path / "s") == before
    session.flush()
    assert IS_RED in stored(session)


def test_a_write_that_stops_while_it_stores_has_stored_nothing(
    system: TripleSystem[Any, Any, Any], tmp_path: Path
) -> None:
    def embed(texts: Sequence[str]) -> torch.Tensor:
        if DID_NAP.object in texts:
            raise MemoryError
        return plain(texts)

    session = system.open(0)
    before, plain = saved(session, tmp_path / "s"), session.table.embed
    session.table.embed = embed
    with pytest.raises(MemoryError):
        session.write(RED + NAP + LAY, "s")
    assert saved(session, tmp_path / "s") == before
    session.table.embed = plain
    session.write(RED + NAP + LAY, "s")
    assert [*stored(session)] == [IS_RED, DID_NAP]


def test_a_source_that_waits_and_cannot_be_read_leaves_the_next_one_alone(
    system: TripleSystem[Any, Any, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    session, third = system.open(0), "The third is told."
    fail_at_third(monkeypatch)
    session.write(third, "a")
    with pytest.raises(EmptyTextError):
        session.write(f"{RED}The gate is", "b")
    assert [(one.source, one.start) for one in stored(session)[IS_RED]] == [("b", 0)]
    assert session.tokens == len(third) + len(RED) + len("The gate is")
    session.write(" blue. ", "b")
    session.flush()
    assert session.counts.sentences == 2


def fail_at_third(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no text be put to the model that has ``third`` in it."""
    plain = Continuation.extend

    def extend(text: Continuation, ids: Sequence[int]) -> None:
        if "third" in text.core.decode(ids):
            raise EmptyTextError("The third")
        plain(text, ids)

    monkeypatch.setattr(Continuation, "extend", extend)


def test_what_is_longer_than_the_model_has_positions_for_is_read(
    system: TripleSystem[Any, Any, Any],
) -> None:
    session, most = system.open(0), SHARED.mplus.core.positions
    numbered = " ".join(f"{number}. word" for number in range(most // 4))
    unbroken = "门是红色的。" * (most // 15)
    for text in (numbered, unbroken):
        session.write(f"{text}\n\n", "a")
    session.write(RED, "b")
    session.flush()
    assert session.counts.sentences == 3
    assert IS_RED in stored(session)


def test_a_sentence_that_fails_is_left_out_and_the_others_are_written(
    system: TripleSystem[Any, Any, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    session = system.open(0)
    fail_at_third(monkeypatch)
    with pytest.raises(EmptyTextError, match="The third"):
        session.write([RED, LAY, "The third is told. ", NAP, "The gate is"], "s")
    assert {IS_RED, DID_NAP} <= stored(session).keys()
    assert session.counts.sentences == 3
    assert session.tokens == session._waiting.next
    session.write(" blue. ", "s")
    session.flush()
    assert session.counts.sentences == 4

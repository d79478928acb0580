import shutil
from concurrent.futures import ThreadPoolExecutor
from math import exp
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from tests.fakes import make_mplus, some_ids
from tests.systems.conftest import SHARED, SMALL
from tests.systems.latent.tiny_weights import tiny_weights
from tests.systems.latent.toy import ToyOptions, ToySystem
from tests.systems.options import spec_for

from memplus.errors import (
    ConfigError,
    CorruptMemoryError,
    EmptyTextError,
    SessionMismatchError,
    UsageError,
)
from memplus.systems.latent.session import LatentSession
from memplus.systems.latent.system import LatentSystem
from memplus.systems.protocol import ChatPrompt, Evidence
from memplus.systems.registry import SYSTEMS, make_systems, system_class
from memplus.systems.shared import Shared

LATENT = [name for name in SYSTEMS if issubclass(system_class(name), LatentSystem)]
TEXT = "The gate is red, and nobody came. It rained for days on end; the keeper slept. "
QUESTIONS = ["What is red?", "Who slept while it rained for days?", "What was the boat's name?"]


def system(shared: Shared = SHARED, seed: int = 0, **options: int | float) -> ToySystem:
    given = ToyOptions(**options)  # type: ignore[arg-type]
    folder = tiny_weights(ToySystem, given, seed)
    return ToySystem(shared, ToyOptions(str(folder), **options))  # type: ignore[arg-type]


def told(*texts: str, made: ToySystem | None = None) -> LatentSession:
    session = (made or system()).open(0)
    for text in texts:
        session.write(text, "text")
    return session


def test_whole_segments_are_written_and_the_rest_waits_in_front_of_prompts() -> None:
    session = told(TEXT[:20])
    assert session.state.ends.tolist() == [[16]]
    assert session.tail == SHARED.encode([TEXT[16:20]])
    session.write(TEXT[20:34], "text")
    assert session.state.ends.tolist() == [[16, 32]]
    at_once = told(TEXT[:34])
    assert torch.equal(session.state.mean, at_once.state.mean)
    waiting, written = told(TEXT[:20]), told(TEXT[:16])
    (likely,) = waiting.score([" red"], [[" gate"]])
    assert likely == written.score([TEXT[16:20] + " red"], [[" gate"]])[0]


def test_flushing_writes_the_tail_as_a_short_segment() -> None:
    session = told(TEXT[:20])
    session.flush()
    assert session.state.ends.tolist() == [[16, 20]]
    assert session.tail == []
    assert session.tokens == 20


def test_flushing_leaves_what_is_less_than_the_mechanism_takes_in() -> None:
    session = told(TEXT[:23], made=system(unit=4))
    session.flush()
    assert session.state.ends.tolist() == [[16, 20]]
    assert session.tail == SHARED.encode([TEXT[20:23]])
    session.write(TEXT[23:40], "text")
    assert session.state.ends.tolist() == [[16, 20, 36]]


def test_a_write_that_fails_leaves_the_session_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    session = told(TEXT[:20])
    before = session.state, list(session.tail), session.tokens, session.nbytes
    mechanism, calls = session.tools.mechanism, []
    right = mechanism.write

    def failing(state: object, ids: torch.Tensor) -> object:
        calls.append(ids)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return right(state, ids)

    monkeypatch.setattr(mechanism, "write", failing)
    with pytest.raises(KeyboardInterrupt):
        session.write(TEXT, "other")
    assert len(calls) == 2
    assert (session.state, session.tail, session.tokens, session.nbytes) == before


def test_answers_come_with_the_sources_of_the_segments_they_stood_on() -> None:
    session = system().open(0)
    session.write(TEXT[:24], "one")
    session.write(TEXT[24:40], "two")
    (reply,) = session.ask(QUESTIONS[:1], max_new_tokens=3)
    # The tail of eight tokens is read as it stands, and is no part of what is remembered.
    assert reply.evidence == (
        Evidence("one", 0, 16, 0.5),
        Evidence("one", 16, 24, 0.25),
        Evidence("two", 0, 8, 0.25),
    )
    assert reply.confidence is None
    assert system().open(0).ask(QUESTIONS[:1], max_new_tokens=3)[0].evidence == ()


def test_a_question_that_was_taken_in_to_be_answered_is_no_evidence() -> None:
    session = told(TEXT[:30], made=system(longest=24))
    (reply,) = session.ask(["Who slept while it rained for so many days?"], max_new_tokens=3)
    assert reply.evidence
    assert all(one.end <= 30 for one in reply.evidence)
    assert sum(one.share for one in reply.evidence) < 1
    assert session.state.ends.tolist() == [[16]]
    assert session.tokens == 30


def test_an_answer_stops_where_the_prompt_says_and_no_later() -> None:
    session = told(TEXT)
    stop = session.ask(QUESTIONS[:1], max_new_tokens=8)[0].generated[3]
    model = make_mplus(config=SMALL)
    model.core.prompt = type(model.prompt)(stop=(stop,))
    (cut,) = told(TEXT, made=system(Shared(lambda: model))).ask(QUESTIONS[:1], max_new_tokens=8)
    assert cut.generated.endswith(stop)
    assert cut.text == cut.generated[: cut.generated.index(stop)].strip()
    assert len(cut.generated) <= 4


def test_a_chat_prompt_is_scored_behind_the_memory() -> None:
    session = told(TEXT)
    prompt = ChatPrompt(QUESTIONS[0], " The")
    ids = SHARED.prompt_ids(prompt)
    text = SHARED.mplus.decode(ids)
    assert session.score([prompt], [[" gate"]]) == session.score([text], [[" gate"]])
    other = told(TEXT[::-1])
    assert session.score([prompt], [[" gate"]]) != other.score([prompt], [[" gate"]])


def test_scoring_and_asking_leave_the_state_as_it_is() -> None:
    session = told(TEXT, made=system(longest=20))
    before = {name: one.clone() for name, one in session.state.tensors.items()}
    tail = list(session.tail)
    session.score([TEXT * 3, ""], [[" red"], [TEXT]])
    session.ask(QUESTIONS, max_new_tokens=30)
    assert session.tail == tail
    assert all(torch.equal(one, before[name]) for name, one in session.state.tensors.items())


@pytest.mark.parametrize("limit", [0, -1, True, 2.0])
def test_a_limit_that_is_none_is_refused(limit: int) -> None:
    with pytest.raises(ConfigError, match="max_new_tokens"):
        told(TEXT).ask(QUESTIONS, max_new_tokens=limit)


def test_no_question_has_no_answer_and_an_empty_one_is_refused() -> None:
    assert told(TEXT).ask([]) == []
    assert told(TEXT).score([], []) == []
    with pytest.raises(EmptyTextError):
        told(TEXT).ask([QUESTIONS[0], " "])


def test_a_session_of_other_weights_or_options_or_of_another_model_is_refused(
    tmp_path: Path,
) -> None:
    path = tmp_path / "session"
    made = system()
    told(TEXT, made=made).save(path)
    assert made.load(path).tokens == len(TEXT)
    other = ToySystem(SHARED, ToyOptions(str(tiny_weights(ToySystem, ToyOptions(), 1))))
    with pytest.raises(SessionMismatchError, match="other trained weights"):
        other.load(path)
    with pytest.raises(SessionMismatchError, match="longest=96"):
        system(longest=64).load(path)
    model = make_mplus(config=SMALL, seed=1)
    with pytest.raises(SessionMismatchError, match="another model"):
        ToySystem(Shared(lambda: model), made.options).load(path)


@pytest.mark.parametrize("text", ["a\udc80b", b"abc", ["fine", 3]])
def test_what_is_no_text_is_refused_and_nothing_of_it_is_kept(text: object) -> None:
    session = told(TEXT)
    before = session.nbytes
    with pytest.raises(UsageError):
        session.write(text)  # type: ignore[arg-type]
    assert (session.tokens, session.nbytes) == (len(TEXT), before)


def test_a_sources_name_may_hold_half_a_character(tmp_path: Path) -> None:
    session = system().open(0)
    session.write(TEXT, "na\udc80me")
    session.save(tmp_path / "session")
    loaded = session.system.load(tmp_path / "session")  # type: ignore[attr-defined]
    (reply,) = loaded.ask(QUESTIONS[:1], max_new_tokens=2)
    assert {one.source for one in reply.evidence} == {"na\udc80me"}


def test_a_moved_folder_of_weights_is_still_that_of_the_session(tmp_path: Path) -> None:
    made = system()
    told(TEXT, made=made).save(tmp_path / "session")
    shutil.copytree(made.options.weights, tmp_path / "moved")
    moved = ToySystem(SHARED, ToyOptions(str(tmp_path / "moved")))
    assert moved.load(tmp_path / "session").tokens == len(TEXT)


def test_a_session_in_16_bits_is_kept_in_16_bits(tmp_path: Path) -> None:
    model = make_mplus(config=SMALL, dtype=torch.bfloat16)
    made = system(Shared(lambda: model))
    session = told(TEXT, made=made)
    assert session.state.mean.dtype == torch.bfloat16
    session.save(tmp_path / "session")
    loaded = made.load(tmp_path / "session")
    assert loaded.ask(QUESTIONS, max_new_tokens=4) == session.ask(QUESTIONS, max_new_tokens=4)
    (scored,) = session.score(["The gate is"], [[chr(place) for place in range(32, 127)]])
    assert 0 < sum(exp(one) for one, _ in scored) <= 1.001


def test_threads_that_ask_one_system_get_what_each_would_alone() -> None:
    made = system()
    sessions = [told(text, made=made) for text in (TEXT, TEXT[::-1], TEXT[20:])]
    alone = [one.ask(QUESTIONS, max_new_tokens=4) for one in sessions]
    with ThreadPoolExecutor(3) as pool:
        found = pool.map(lambda one: one.ask(QUESTIONS, max_new_tokens=4), sessions)
        assert [*found] == alone


def test_a_state_that_contradicts_the_mechanism_is_refused(tmp_path: Path) -> None:
    made = system()
    session = told(TEXT, made=made)
    for name, wrong in (
        ("mean", torch.zeros(1, 31)),
        ("ends", torch.zeros(2, 3, dtype=torch.int64)),
        ("more", torch.zeros(1)),
    ):
        tensors = {**session.state.tensors, name: wrong}
        broken = told(TEXT, made=made)
        broken.state = SimpleNamespace(tensors=tensors)
        broken.save(tmp_path / "session")
        with pytest.raises(CorruptMemoryError, match="state"):
            made.load(tmp_path / "session")


@pytest.mark.parametrize("name", LATENT)
def test_a_state_of_several_texts_or_of_another_is_refused(name: str, tmp_path: Path) -> None:
    (made,) = make_systems([spec_for(name)], SHARED)
    assert isinstance(made, LatentSystem)
    mechanism, segment = made.mechanism, made.chunk_tokens
    with torch.no_grad():
        two = mechanism.write(mechanism.empty(2), some_ids(2, segment, seed=1))
        longer = mechanism.write(mechanism.empty(1), some_ids(1, segment, seed=1))
        longer = mechanism.write(longer, some_ids(1, segment, seed=2))
    session = told(TEXT[:segment], made=made)  # type: ignore[arg-type]
    session.save(tmp_path / "sound")
    assert made.load(tmp_path / "sound").tokens == segment
    for state, said in (
        (two, "of 2 texts"),
        (mechanism.empty(2), "of 2 texts"),
        (mechanism.empty(1), f"of 0 tokens, while {segment} were written"),
        (longer, f"of {2 * segment} tokens, while {segment} were written"),
    ):
        session.state = state
        session.save(tmp_path / "broken")
        with pytest.raises(CorruptMemoryError, match=f"state is {said}"):
            made.load(tmp_path / "broken")


def test_a_tail_that_no_session_has_is_refused(tmp_path: Path) -> None:
    made = system()
    for tail in ([300], [-1], [1] * 16):
        broken = told(TEXT, made=made)
        broken.tail = tail
        broken.save(tmp_path / "session")
        with pytest.raises(CorruptMemoryError, match="tail"):
            made.load(tmp_path / "session")

"""What every registered system promises, on a tiny random model."""

import json
from dataclasses import replace
from math import exp
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.fakes import ADAPTERS, make_mplus
from tests.systems.conftest import SHARED, SMALL
from tests.systems.options import spec_for

from memplus.errors import ConfigError, EmptyTextError, MemplusError, UsageError
from memplus.memory.tensor_file import opened
from memplus.systems.protocol import (
    Converses,
    Explains,
    Follows,
    Likelihood,
    Loads,
    Predicts,
    Recalls,
    Reply,
    Saves,
    Scores,
    Session,
    System,
)
from memplus.systems.registry import SYSTEMS, make_systems
from memplus.systems.shared import Shared, SharedSystem

TEXT = "The gate is red, and nobody came. It rained for days on end; the keeper slept. "
OTHER = "A boat lay in the harbour. Its name was Thistle, and it never left again in winter. "
QUESTIONS = ["What is red?", "Who slept?", "What was the boat's name?"]
APART = 0.05
"""Most that a saved session may be larger or smaller than ``nbytes``, as a part of it, beside what
the file of an empty one takes, ..."""
MOST_FIXED = 6000
"""... which are so many bytes at most."""
NUMBERS = 32
"""Bytes by which the numbers in a file's own tables may grow."""
CANARY = "Qvyx"
"""Stands in no other text."""


_SLOW = ("memllm", "memoryllm", "ret_llm")
"""Two that decode long, and M+ without its long-term memory: `make test-ci` asks them too."""


@pytest.fixture(
    scope="module",
    params=[pytest.param(one, marks=pytest.mark.long if one in _SLOW else ()) for one in SYSTEMS],
)
def system(request: pytest.FixtureRequest) -> System:
    (made,) = make_systems([spec_for(request.param)], SHARED)
    return made


def said(session: Session) -> list[Reply]:
    return [
        Reply(one.text, one.declined, one.generated)
        for one in session.ask(QUESTIONS, max_new_tokens=4)
    ]


def written(system: System, *texts: str, seed: int = 3) -> Session:
    session = system.open(seed)
    for text in texts:
        session.write(text, "text")
    return session


def test_it_says_who_it_is(system: System) -> None:
    registered = system.name.partition(":")[0]
    assert SYSTEMS[registered].endswith(type(system).__name__)
    assert system.title
    assert system.model
    assert system.identity == make_systems([spec_for(registered)], SHARED)[0].identity
    assert system.chunk_tokens >= 1


def made_otherwise() -> list[tuple[Shared, set[str]]]:
    """Models on the same base, and the parts of a model in which they do not differ."""

    def made(**config: Any) -> Shared:
        model = make_mplus(config=replace(SMALL, **config))
        return Shared(lambda: model)

    other_sizes = made(retrieved_tokens=SMALL.retrieved_tokens + 1)
    return [(made(adapters=ADAPTERS), {"base"}), (other_sizes, {"base", "adapted"})]


@pytest.fixture(scope="module")
def trained_otherwise() -> list[tuple[Shared, set[str]]]:
    return made_otherwise()


def test_what_takes_no_part_in_its_answers_is_not_its_identity(
    system: System, trained_otherwise: list[tuple[Shared, set[str]]], tmp_path: Path
) -> None:
    assert isinstance(system, SharedSystem)
    session = written(system, "The gate is red.")
    if isinstance(session, Saves):
        session.save(tmp_path / "s")
    for shared, same in trained_otherwise:
        other = type(system)(shared, system.options)
        assert (other.identity == system.identity) is (system.part in same)
        if system.part in same:
            assert said(written(other, "The gate is red.")) == said(session)
            if isinstance(other, Loads):
                assert said(other.load(tmp_path / "s")) == said(session)


def test_pieces_written_together_are_pieces_written_in_turn(system: System) -> None:
    pieces = ["The gate", " is red, and", " nobody came.", " It rained for days."]
    together, in_turn = system.open(3), system.open(3)
    together.write(pieces, "text")
    for piece in pieces:
        in_turn.write(piece, "text")
    assert said(together) == said(in_turn)
    assert together.tokens == in_turn.tokens
    assert together.nbytes == in_turn.nbytes


def test_asking_changes_nothing(system: System) -> None:
    asked, quiet = written(system, TEXT), written(system, TEXT)
    before = said(asked)
    assert said(asked) == before
    asked.write(OTHER, "text")
    quiet.write(OTHER, "text")
    assert said(asked) == said(quiet)


def test_questions_asked_together_are_answered_as_each_alone(system: System) -> None:
    session = written(system, TEXT)
    alone = [session.ask([question], max_new_tokens=4)[0].text for question in QUESTIONS]
    assert [one.text for one in session.ask(QUESTIONS, max_new_tokens=4)] == alone


def test_no_answer_has_more_tokens_than_it_may(system: System) -> None:
    session = written(system, TEXT)
    for most in (1, 4):
        # One question more, which no system has learned.
        for one in session.ask([*QUESTIONS, "Is it so?"], max_new_tokens=most):
            # A token of the tiny model is a byte, and no more than one character.
            assert len(one.generated) <= most, one
            assert len(one.text) <= most or one.declined


def test_a_fork_goes_its_own_way(system: System) -> None:
    session = written(system, TEXT)
    before = said(session)
    fork = session.fork()
    assert said(fork) == before
    fork.write(OTHER, "other")
    assert said(session) == before
    session.write(OTHER, "other")
    assert said(fork) == said(session)
    assert fork.tokens == session.tokens


def test_two_sessions_share_nothing(system: System) -> None:
    alone = said(written(system, TEXT))
    first, second = system.open(3), system.open(3)
    for part in (TEXT[:30], TEXT[30:]):
        first.write([part], "text")
        second.write([OTHER], "text")
    again = system.open(3)
    again.write([TEXT[:30], TEXT[30:]], "text")
    assert said(first) == said(again)
    assert said(written(system, TEXT)) == alone


def test_what_is_told_matters_to_a_system_that_remembers(system: System) -> None:
    same = said(written(system, TEXT * 2)) == said(written(system, OTHER * 2))
    assert same != system.remembers
    assert (written(system, TEXT).tokens > 0) == system.remembers
    assert (written(system, TEXT).nbytes > 0) == system.remembers


def test_flushing_leaves_nothing_waiting_and_may_be_repeated(system: System) -> None:
    session = written(system, TEXT)
    tokens = session.tokens
    session.flush()
    flushed = said(session)
    session.flush()
    assert said(session) == flushed
    assert session.tokens == tokens


def test_a_session_that_was_told_nothing_answers(system: System) -> None:
    session = system.open(0)
    session.flush()
    assert len(session.ask(QUESTIONS, max_new_tokens=2)) == len(QUESTIONS)
    assert session.tokens == 0
    assert said(session.fork()) == said(session)


def test_nothing_to_read_and_nothing_to_ask_are_refused(system: System) -> None:
    session = written(system, TEXT)
    for empty in ("", [], [""]):
        with pytest.raises(EmptyTextError):
            session.write(empty)
    if system.remembers:
        with pytest.raises(EmptyTextError):
            session.ask([" "])
    assert session.ask([]) == []
    for unread in (None, 7, "What \udce9 is it?"):
        with pytest.raises(UsageError, match="question"):
            session.ask([unread])  # type: ignore[list-item]
    for count in (0, -1, 1.5, "3", True):
        with pytest.raises(ConfigError, match="max_new_tokens"):
            session.ask(QUESTIONS, max_new_tokens=count)  # type: ignore[arg-type]
    tokens = session.tokens
    with pytest.raises(UsageError, match="name of the source"):
        session.write(TEXT, None)  # type: ignore[arg-type]
    assert session.tokens == tokens


def test_declining_is_told_from_answering(system: System) -> None:
    abstention = SHARED.mplus.prompt.abstention
    assert system.declines(abstention)
    assert system.declines(f" {abstention.lower()} ")
    assert not system.declines("The gate is red.")
    assert all(one.declined == system.declines(one.text) for one in said(written(system, TEXT)))


def test_what_it_can_do_is_known_before_a_session_is_opened(system: System) -> None:
    session = system.open(0)
    for ability in (Converses, Explains, Recalls, Saves, Scores):
        assert issubclass(system.sessions, ability) == isinstance(session, ability)
    assert isinstance(session, system.sessions)
    assert issubclass(system.sessions, Saves) == isinstance(system, Loads)


def test_a_turn_of_a_dialogue_is_as_much_text_as_both_sides_written(system: System) -> None:
    session = system.open(0)
    if not isinstance(session, Converses):
        return
    said, answered = ["A talk.\n", "Ada: I sold the boat.\n"], "Ben: To whom?\n"
    session.tell(said, answered, "talk")
    assert isinstance(session, system.sessions)
    assert session.tokens == written(system, [*said, answered]).tokens
    with pytest.raises(EmptyTextError):
        session.tell([], "Ben: To whom?\n", "talk")
    with pytest.raises(UsageError):
        session.tell("Ada: Yes.\n", None, "talk")  # type: ignore[arg-type]
    assert session.tokens == written(system, [*said, answered]).tokens


def test_saved_and_loaded_it_answers_the_same_and_goes_on_the_same(
    system: System, tmp_path: Path
) -> None:
    session = written(system, TEXT * 3)
    if not isinstance(system, Loads):
        assert not isinstance(session, Saves)
        return
    assert isinstance(session, Saves)
    path = tmp_path / "session"
    session.save(path)
    loaded = system.load(path)
    assert said(loaded) == said(session)
    assert (loaded.tokens, loaded.nbytes) == (session.tokens, session.nbytes)
    for one in (session, loaded):
        one.write(OTHER, "other")
    assert said(loaded) == said(session)
    with pytest.raises(MemplusError):
        system.load(tmp_path / "absent")


def saved(session: Session, path: Path) -> bytes:
    assert isinstance(session, Saves)
    session.save(path)
    return path.read_bytes()


def test_its_size_is_what_saving_takes_also_once_it_was_asked(
    system: System, tmp_path: Path
) -> None:
    if not isinstance(system, Loads):
        return
    session = system.open(3)
    path = tmp_path / "session"
    # What every file takes, whatever is in it.
    fixed = len(saved(session, path)) - session.nbytes
    assert fixed < MOST_FIXED
    for _ in range(20):
        session.write(TEXT, "text")
    for _ in range(2):
        size = len(saved(session, path)) - fixed
        assert abs(size - session.nbytes) <= APART * session.nbytes + NUMBERS
        said(session)


def saved_by_all(folder: Path) -> dict[str, Path]:
    """A saved session of every system that saves, by the system's name."""
    found = {}
    for name in SYSTEMS:
        (one,) = make_systems([spec_for(name)], SHARED)
        if isinstance(one, Loads):
            found[one.name] = folder / name
            saved(written(one, TEXT), folder / name)
    return found


@pytest.fixture(scope="module")
def files_of_all(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return saved_by_all(tmp_path_factory.mktemp("sessions"))


def test_another_systems_file_is_refused(
    system: System, tmp_path: Path, files_of_all: dict[str, Path]
) -> None:
    if not isinstance(system, Loads):
        return
    for name, path in files_of_all.items():
        if name != system.name:
            with pytest.raises(MemplusError):
                system.load(path)
    (tmp_path / "text").write_text(TEXT)
    with pytest.raises(MemplusError):
        system.load(tmp_path / "text")


def test_a_saved_session_that_was_damaged_is_refused(system: System, tmp_path: Path) -> None:
    if not isinstance(system, Loads):
        return
    path = tmp_path / "session"
    whole = saved(written(system, TEXT), path)
    for place in (len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(MemplusError):
            system.load(path)
    path.write_bytes(whole[:-1])
    with pytest.raises(MemplusError):
        system.load(path)


def test_nothing_of_another_session_or_of_a_question_is_in_what_is_kept(
    system: System, tmp_path: Path
) -> None:
    if not isinstance(system, Loads):
        return
    alone = written(system, TEXT, TEXT)
    said(alone)
    saved(alone, tmp_path / "alone")
    session, other = system.open(3), system.open(3)
    session.write(TEXT, "text")
    fork = session.fork()
    for one in (other, fork):
        one.write(f"The {CANARY} is {CANARY}.", CANARY)
        one.ask([f"What is the {CANARY}?"], max_new_tokens=2)
    session.ask([f"Who is {CANARY}?"], max_new_tokens=2)
    session.write(TEXT, "text")
    said(session)
    assert CANARY.encode() not in saved(session, tmp_path / "session")
    with opened(tmp_path / "alone") as kept, opened(tmp_path / "session") as found:
        assert json.loads(found.text) == json.loads(kept.text)
        expected = kept.tensors()
        assert found.tensors().keys() == expected.keys()
        for name, tensor in found.tensors().items():
            # What was computed in other steps is equal to rounding.
            assert torch.allclose(tensor, expected[name], atol=1e-5), name
    assert CANARY.encode() in saved(other, tmp_path / "other")


def test_confidence_and_evidence_are_measured_where_promised(system: System) -> None:
    session = written(system, TEXT * 2)
    if not isinstance(session, Explains):
        assert all(one.confidence is None for one in session.ask(QUESTIONS, max_new_tokens=2))
        return
    sure = session.explain(QUESTIONS, max_new_tokens=4, min_confidence=0.0)
    assert [one.text for one in sure] == [one.text for one in said(session)]
    for one in sure:
        assert one.confidence is not None
        assert 0 < one.confidence <= 1
        assert one.evidence is not None
        shares = [found.share for found in one.evidence]
        assert shares == sorted(shares, reverse=True)
        assert all(found.source == "text" for found in one.evidence)
        assert all(0 <= found.start < found.end <= session.tokens for found in one.evidence)
    unsure = session.explain(QUESTIONS, max_new_tokens=4, min_confidence=1.0)
    assert all(one.declined for one in unsure)
    assert [one.generated for one in unsure] == [one.text for one in sure]


def test_likelihoods_are_of_whole_options(system: System) -> None:
    session = written(system, TEXT)
    if not isinstance(session, Scores):
        return
    ((whole, count), (part, fewer)), ((alone, without),) = session.score(
        ["The gate is", ""], [[" red.", " red"], ["The gate is red."]]
    )
    assert (count, fewer, without) == (5, 4, 15)
    assert max(whole, part, alone) < 0
    letters = [[chr(place) for place in range(32, 127)]]
    found = session.score(["The gate is"], letters)[0]
    likely = [exp(one[0]) for one in found]
    # At most one of them is what would be generated, and then it is the likeliest.
    greedy = [one for one in found if isinstance(one, Likelihood) and one.greedy]
    assert all(isinstance(one, Likelihood) for one in found)
    assert greedy in ([], [max(found)])
    # Of one byte after the prompt, as these are, the chances add up to no more than one.
    assert 0 < sum(likely) <= 1.001
    with pytest.raises(EmptyTextError):
        session.score([""], [["x"]])


def test_one_that_follows_holds_what_it_would_have_read_itself(system: System) -> None:
    if not isinstance(system, Follows):
        return
    (leader,) = make_systems([system.leader], SHARED)
    for text in (TEXT, TEXT * 5):
        assert said(system.follow(written(leader, text))) == said(written(system, text))


def test_survival_falls_from_one(system: System) -> None:
    if isinstance(system, Predicts):
        chances = [system.survival(tokens) for tokens in (0, 10, 100, 10_000)]
        assert chances[0] == 1
        assert chances == sorted(chances, reverse=True)
        assert chances[-1] < 1e-6

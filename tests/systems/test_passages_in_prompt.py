from dataclasses import replace
from pathlib import Path

import pytest
from tests.fakes import ADAPTERS, make_mplus
from tests.systems.conftest import SHARED, SMALL

from memplus.errors import ConfigError, CorruptMemoryError, EmptyTextError, PositionsError
from memplus.systems.bm25 import BM25System
from memplus.systems.nothing import BareOptions, BareSystem
from memplus.systems.passages_in_prompt import PassageOptions, PassageSession
from memplus.systems.protocol import ChatPrompt
from memplus.systems.registry import make_systems
from memplus.systems.shared import Shared

pytest.importorskip("bm25s", reason="an optional library that the dev requirements bring")

TELLINGS = (
    ("heron", "A heron stood in a shallow pond."),
    ("boat", "A boat lay in a deep pond that day."),
    ("rain", "It rained for days on end and on."),
)
QUESTION = "Did a heron stand in a pond?"


def told(shared: Shared = SHARED, **options: object) -> PassageSession:
    given = PassageOptions(**{"tokens": 40, **options})  # type: ignore[arg-type]
    session = BM25System(shared, given).open(0)
    for source, text in TELLINGS:
        session.write(text, source)
    return session


def asked_bare(prompt: str, longest: int = 6) -> str:
    return BareSystem(SHARED).open(0).ask([prompt], max_new_tokens=longest)[0].text


@pytest.mark.parametrize("name", ["bm25", "embeddings"])
def test_a_write_that_ctrl_c_ends_has_told_nothing(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (system,) = make_systems([f"{name}:tokens=40"], SHARED)
    session, whole = system.open(0), system.open(0)
    assert isinstance(session, PassageSession)
    session.write(TELLINGS[0][1], "heron")

    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(type(session.index), "put", stopped)
        with pytest.raises(KeyboardInterrupt):
            session.write(TELLINGS[1][1], "boat")
    for source, text in TELLINGS[1:]:
        session.write(text, source)
    for source, text in TELLINGS:
        whole.write(text, source)
    questions = [QUESTION, "Where did the boat lie?", "Did it rain for days?"]
    assert session.ask(questions, max_new_tokens=2) == whole.ask(questions, max_new_tokens=2)
    assert (session.tokens, session.nbytes) == (whole.tokens, whole.nbytes)


@pytest.mark.parametrize("order", ["score", "position"])
def test_the_best_passages_stand_before_the_question_in_their_order(order: str) -> None:
    session = told(order=order)
    question = "Did a boat lie in a deep pond?"
    (reply,) = session.ask([question], max_new_tokens=6)
    found = [one.text for one in reply.evidence]
    assert [one.split()[1] for one in found] == ["boat", "heron"]
    ordered = found if order == "score" else found[::-1]
    assert reply.text == asked_bare("\n\n".join([*ordered, question]))


def test_no_more_than_k_are_read_and_none_that_has_nothing_in_common() -> None:
    assert len(told().ask([QUESTION], max_new_tokens=2)[0].evidence) == 2
    (reply,) = told(k=1).ask([QUESTION], max_new_tokens=6)
    assert [one.source for one in reply.evidence] == ["heron"]
    assert reply.text == asked_bare(f"{TELLINGS[0][1]}\n\n{QUESTION}")
    (reply,) = told().ask(["Zebra?"], max_new_tokens=6)
    assert (reply.text, reply.evidence) == (asked_bare("Zebra?"), ())


def test_evidence_is_what_was_read_with_its_place_and_its_share() -> None:
    (reply,) = told().ask([QUESTION], max_new_tokens=2)
    first, second = reply.evidence
    assert (first.source, first.start, first.end, first.text) == ("heron", 0, 32, TELLINGS[0][1])
    assert first.share > second.share > 0
    assert first.share + second.share == pytest.approx(1)
    session = told()
    session.write(" " + "x" * 20 + " and a heron and a heron, the heron again.", "heron")
    assert {(one.start, one.end) for one in session.ask(["Heron?"])[0].evidence} == {
        (0, 32), (32, 72), (72, 95),
    }  # fmt: skip


def test_passages_that_do_not_fit_are_left_out_worst_first_and_said() -> None:
    session = told(tokens=100)
    session.write("heron pond stand " * 12, "long")
    (whole,) = session.ask([QUESTION], max_new_tokens=2)
    assert [one.source for one in whole.evidence] == ["long", "long"]
    assert whole.remark == "left out 2 of 4 passages"
    (none,) = told().ask([f"{QUESTION}{'x' * 180}"], max_new_tokens=2)
    assert (none.evidence, none.remark) == ((), "left out 2 of 2 passages")
    with pytest.raises(PositionsError):
        told().ask(["heron " * 60], max_new_tokens=2)
    with pytest.raises(EmptyTextError):
        told().ask([" "])


def test_likelihoods_are_those_behind_the_same_passages() -> None:
    session = told(k=1)
    prompts = [ChatPrompt(QUESTION, " It"), "A heron stood in a"]
    (chat, count), (raw, _) = [one[0] for one in session.score(prompts, [[" pond"]] * 2)]
    assert count == 5
    bare = BareSystem(SHARED, BareOptions("read")).open(0)
    before = TELLINGS[0][1]
    told_so = [ChatPrompt(f"{before}\n\n{QUESTION}", " It"), f"{before}\n\n{prompts[1]}"]
    expected = [one[0][0] for one in bare.score(told_so, [[" pond"]] * 2)]
    assert [chat, raw] == pytest.approx(expected)


def test_the_plain_base_reads_on_wish() -> None:
    shared = Shared(lambda: make_mplus(config=replace(SMALL, adapters=ADAPTERS)))
    read, plain = (told(shared, adapter=one) for one in ("read", "none"))
    prompts, options = [ChatPrompt(QUESTION)], [[" pond"]]
    assert read.score(prompts, options) != plain.score(prompts, options)
    bare = BareSystem(shared).open(0)
    before = "\n\n".join(one.text for one in plain.ask([QUESTION], max_new_tokens=1)[0].evidence)
    expected = bare.score([ChatPrompt(f"{before}\n\n{QUESTION}")], options)
    assert plain.score(prompts, options)[0][0][0] == pytest.approx(expected[0][0][0])


def test_a_file_whose_places_are_none_is_refused(tmp_path: Path) -> None:
    for field, value in (("tokens", 41), ("start", -1)):
        session = told()
        session.passages.items[1] = replace(session.passages.items[1], **{field: value})
        session.save(tmp_path / "s")
        with pytest.raises(CorruptMemoryError, match="table"):
            session.system.load(tmp_path / "s")


def test_sizes_and_orders_are_checked() -> None:
    for spec in ("bm25:k=0", "bm25:tokens=0", "bm25:order=random", "bm25:adapter=write"):
        with pytest.raises(ConfigError):
            make_systems([spec], SHARED)
    (system,) = make_systems(["bm25:k=8:order=position"], SHARED)
    assert system.name == "bm25:k=8:order=position"

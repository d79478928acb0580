"""Questions that count, and that by default none does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.systems.memlong.test_system import opened

from memplus.data.word_search import installed
from memplus.systems.memlong.session import MemLongSession
from memplus.systems.protocol import Evidence, Reply

TEXTS = ["Rain fell on days.", "Geese like gardens", "Thistle is a boat.", "A gate may be red."]
# Each fills a segment, which is one chunk.
TEXTS += [f"Number {one} is even." for one in range(10, 16)]
SIZES: dict[str, Any] = {"embedder": "hidden", "top_k": 2, "chunk": 18, "segment": 18}
ASKED = ["What is Thistle?", "Who slept?", "Thistle"]


def told(**changes: Any) -> MemLongSession:
    session = opened(**SIZES | {"count": False} | changes).open(0)
    for index, text in enumerate(TEXTS):
        session.write(text, f"text {index}")
    assert isinstance(session, MemLongSession)
    return session


def evidence_of(reply: Reply) -> tuple[Evidence, ...]:
    assert reply.evidence is not None
    return reply.evidence


def counters(session: MemLongSession) -> list[int]:
    (bank,) = session.state.banks
    found: list[int] = bank.counters.tolist()
    return found


def read(reply: Reply) -> set[str]:
    return {one.source for one in evidence_of(reply)}


def test_questions_count_what_each_was_read_with_once_and_say_the_same() -> None:
    session = told()
    before = session.fork()
    expected = session.ask(ASKED, max_new_tokens=4)
    assert counters(session) == [0] * 10
    found = session.ask(ASKED, max_new_tokens=4, counts=True)
    assert found == expected
    wanted = [sum(f"text {index}" in read(reply) for reply in found) for index in range(10)]
    assert counters(session) == wanted
    assert sum(wanted) == 2 * len(ASKED)
    session.ask(ASKED, max_new_tokens=4, counts=True)
    assert counters(session) == [2 * one for one in wanted]
    assert counters(before) == [0] * 10


def test_an_answer_that_is_begun_anew_counts_once() -> None:
    session = told(local=150)
    (reply,) = session.ask(ASKED[:1], max_new_tokens=130, counts=True)
    assert len(reply.generated) > 100
    assert set(counters(session)) == {0, 1}
    assert len(session.state.banks[0]) == 10


def test_a_saved_session_comes_back_as_one_that_can_count(tmp_path: Path) -> None:
    session = told()
    session.ask(ASKED, max_new_tokens=2, counts=True)
    session.save(tmp_path / "kept")
    loaded = session.system.load(tmp_path / "kept")
    assert counters(loaded) == counters(session)
    loaded.ask(ASKED, max_new_tokens=2, counts=True)
    assert counters(loaded) == [2 * one for one in counters(session)]


@pytest.mark.skipif(not installed(), reason="bm25s is not installed")
@pytest.mark.parametrize("counts", [False, True])
def test_a_full_bank_keeps_what_was_asked_for_where_questions_count(*, counts: bool) -> None:
    session = told(embedder="bm25", top_k=1, bank=180)
    (before,) = session.ask(["Thistle?"], max_new_tokens=2, counts=counts)
    assert read(before) == {"text 2"}
    # Of ten chunks the oldest goes, then the older ones that nobody asked for, up to a half.
    session.write("It overflows here.", "the last")
    (after,) = session.ask(["Thistle?"], max_new_tokens=2)
    assert (read(after) == {"text 2"}) == counts
    assert len(session.state.banks[0]) == 6

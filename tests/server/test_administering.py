"""What commands do to memories beside a server; tests/cli/test_memories_served.py runs them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import pytest
from tests.store.fakes import FakeHost

from memplus.data.documents import Document
from memplus.errors import EmptyTextError, MemoryBusyError, UsageError
from memplus.mplus.model import MPlus
from memplus.server import administering
from memplus.server.administering import Administered
from memplus.server.intake import Entry, Intake
from memplus.server.keys import Keys
from memplus.server.services import Services
from memplus.server.settings import ServerSettings
from memplus.sessions.reading import write_documents
from memplus.store import MemoryStore, ShardedStore

HOST = FakeHost()


def services(store: MemoryStore | ShardedStore, model: MPlus) -> Services:
    return Services(store, lambda: model, ServerSettings(port=0), model_name="nano")


def test_a_memory_that_nobody_lets_go_of_is_busy_after_all(
    tmp_path: Path, nano: MPlus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(administering, "_LETS_GO_SECONDS", 0.1)
    store = MemoryStore(tmp_path)
    services(store, nano).database.close()
    with (
        Administered(store) as opened,
        store.create("ann", HOST),
        pytest.raises(MemoryBusyError),
    ):
        opened.delete("ann", wait=0)
    assert "ann" in store


def test_what_cannot_be_written_at_all_does_not_hold_up_forgetting(
    tmp_path: Path, nano: MPlus
) -> None:
    store = MemoryStore(tmp_path)
    served = services(store, nano)
    with store.create("ann", nano, max_bytes=1) as memory:
        nano.write(memory, "A gate.")
    with served.database.transaction() as run:
        Intake.put(run, [Entry("long", "", "ann", "chat", "The gate is red. " * 50)])
    with Administered(store) as opened, opened.writing("ann", nano, wait=0) as memory:
        gone, also = opened.forget(memory, match="gate")
    assert (gone.tail_tokens > 0, also) == (True, {"refused_texts": 1})
    assert served.intake.refused("", "ann") == {}
    served.database.close()


def test_what_a_refused_text_was_to_replace_is_kept_by_the_server_too(
    tmp_path: Path, nano: MPlus, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = MemoryStore(tmp_path)
    ended: list[str] = []

    def noted(how: str, act: Callable[[int], None], number: int) -> None:
        ended.append(how)
        act(number)

    services(store, nano).database.close()
    with Administered(store) as opened:
        beside = opened._beside
        assert beside is not None
        for how in ("cancel", "finish"):
            act = getattr(beside, how)
            monkeypatch.setattr(
                beside, how, lambda n, how=how, act=act: ended.append(how) or act(n)
            )
        with store.create("ann", nano) as memory:
            nano.write(memory, "A gate.", source="notes")  # so short that it only waits
            for text, refused in ((" ", True), ("A wall.", False)):
                with (
                    pytest.raises(EmptyTextError) if refused else nullcontext(),
                    opened.replacing(memory, ["notes"]),
                ):
                    write_documents(nano, memory, [Document("notes", text)], replace=True)
    assert ended[:2] == ["cancel", "finish"]


def test_every_directory_of_a_store_knows_where_its_server_keeps_what(
    tmp_path: Path, nano: MPlus
) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    served = services(ShardedStore([one, two]), nano)
    with MemoryStore(two).create("ann", HOST):
        pass
    with served.database.transaction() as run:
        Intake.put(run, [Entry("waits", "", "ann", "chat", "later")])
    with Administered(MemoryStore(two)) as opened:
        assert opened.waiting("ann") == 1
        opened.move("ann", one, wait=0)  # of the same server: nothing is taken away
        assert served.intake.waiting("", "ann") == 1
    with Administered(MemoryStore(one)) as opened:
        opened.delete("ann", wait=0)
    assert served.intake.waiting("", "ann") == 0
    served.database.close()


def test_what_a_server_keeps_must_be_where_it_was(tmp_path: Path, nano: MPlus) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    services(ShardedStore([one, two]), nano).database.close()
    shutil.rmtree(one)
    with pytest.raises(UsageError, match=r"server\.at"):
        Administered(MemoryStore(two))
    served = services(MemoryStore(two), nano)  # a server of its own now
    assert not Keys(served.database)
    served.database.close()
    with Administered(MemoryStore(two)) as opened:
        assert opened.folder == two.resolve()

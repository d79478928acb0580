"""Which states are kept, and what the manifest was at one of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from tests.store.fakes import SMALL, FakeHost
from tests.store.test_changes import story

from memplus.errors import HistoryError
from memplus.store import MemoryStore
from memplus.store.history import kept_commits, kept_generations, manifest_at, state_after

HOST = FakeHost()


def test_the_manifest_at_a_commit_is_what_was_on_the_disk_then(tmp_path: Path) -> None:
    store = MemoryStore(tmp_path, limits=SMALL)
    with store.create("alice", HOST) as memory:
        seen = {0: store.manifest("alice")}
        for turn in range(12):
            HOST.write(memory, [[turn, i, 2, 3] for i in range(turn % 5 + 1)], "a", [turn])
            seen[len(memory.writes)] = store.manifest("alice")
        journal, last = memory.keeper.journal, memory.keeper.manifest
        assert len(last.generations) > 2
        for write, then in seen.items():
            found = manifest_at(last, state_after(journal, last, write))
            same = ("commit", "writes", "tokens", "waiting", "generations")
            assert [getattr(found, name) for name in same] == [getattr(then, n) for n in same]
            assert found.segments == then.segments or found.current == then.current
            assert not found.log_open


def test_only_states_of_kept_generations_are_offered(tmp_path: Path) -> None:
    store = MemoryStore(tmp_path, limits=SMALL)
    with store.create("alice", HOST) as memory:
        story(HOST, memory)
        journal, manifest = memory.keeper.journal, memory.keeper.manifest
        every = kept_commits(journal, manifest)
        fewer = replace(manifest, generations=manifest.generations[-1:])
        kept = kept_commits(journal, fewer)
        assert 0 < len(kept) < len(every)
        assert every[-len(kept) :] == kept
        with pytest.raises(HistoryError, match=f"{kept[0].writes}, ") as caught:
            state_after(journal, fewer, 0)
        assert str(kept[-1].writes) in str(caught.value)


def test_the_oldest_generations_go_first(tmp_path: Path) -> None:
    store = MemoryStore(tmp_path, limits=SMALL)
    with store.create("alice", HOST) as memory:
        story(HOST, memory)
        folder, generations = memory.keeper.folder, memory.keeper.manifest.generations
        sizes = [folder.size(one) for one in generations]
        assert kept_generations(folder, generations, sum(sizes)) == generations
        assert kept_generations(folder, generations, sum(sizes) - 1) == generations[1:]
        assert kept_generations(folder, generations, sizes[-1]) == generations[-1:]
        assert kept_generations(folder, generations, sizes[-1] - 1) == []

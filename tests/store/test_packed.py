"""Memories with packed rows on a disk: as plain ones, packed further, never unpacked."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.store.fakes import CONFIG, SMALL, SPANS, FakeHost, contents
from tests.store.test_changes import story
from tests.store.test_store import chunks

from memplus.errors import HistoryError, ReadOnlyMemoryError, UsageError
from memplus.memory.packing import ROWS, RowKind
from memplus.memory.state import Memory
from memplus.store import MemoryStore, snapshot

HOSTS = [
    FakeHost(),
    FakeHost(SPANS),
    FakeHost(replace(SPANS, long_term_layers="0-0")),
    FakeHost(replace(CONFIG, drop="shared", long_term_layers="1-1")),
]
NAMES = ["rows", "spans", "spans of a layer", "rows of a layer"]
KINDS: list[RowKind] = ["int8", "int4", "int2"]


def read(memory: Memory) -> list[torch.Tensor]:
    """What a read would get of all rows."""
    pool = memory.long_term
    assert pool is not None
    return [
        pool.take(layer, "hidden", torch.arange(len(pool.tables[layer])), torch.float32)
        for layer in pool.layout.stored
    ]


@pytest.mark.long
@pytest.mark.parametrize("host", HOSTS, ids=NAMES)
@pytest.mark.parametrize("kind", KINDS)
def test_a_memory_of_packed_rows_is_the_plain_one(
    tmp_path: Path, host: FakeHost, kind: RowKind
) -> None:
    store = MemoryStore(tmp_path / "s", limits=SMALL)
    memory, plain = store.create("alice", host, seed=1, rows=kind), host.new_memory(seed=1)
    plain.pack(kind)
    for _ in range(2):
        for one in (memory, plain):
            story(host, one)
        memory.close()
        memory = store.open("alice", host, write=True)
        assert contents(memory) == contents(plain)
        assert all(map(torch.equal, read(memory), read(plain)))
    for one in (memory, plain):
        one.forget(source="s1")
        host.write(one, chunks(900, 5), "later")
    assert all(map(torch.equal, read(memory), read(plain)))
    memory.close()
    store.fork("alice", "bob")
    store.export("bob", tmp_path / "bob.zip")
    store.import_memory(tmp_path / "bob.zip", name="carol")
    for name in ("bob", "carol"):
        store.verify(name)
        with store.open(name, host) as other:
            assert (other.rows, contents(other)) == (kind, contents(plain))
            assert all(map(torch.equal, read(other), read(plain)))


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_written_anew_is_packed_the_same_way(tmp_path: Path, kind: RowKind) -> None:
    host = HOSTS[1]
    store = MemoryStore(tmp_path / "s", limits=SMALL)
    plain = host.new_memory(seed=1)
    plain.pack(kind)
    with store.create("alice", host, seed=1, rows=kind) as memory:
        host.write(memory, chunks(0, 2), "gone")
        for one in (memory, plain):
            host.write(one, chunks(100, 9), "kept")
        memory.forget(source="gone", rebuild=True)
        assert all(map(torch.equal, read(memory), read(plain)))
    store.verify("alice")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("host", HOSTS, ids=NAMES)
def test_new_memories_keep_rows_as_the_model_says(
    tmp_path: Path, host: FakeHost, kind: RowKind
) -> None:
    """From the first write on, as if the caller had said so."""
    store = MemoryStore(tmp_path / "s", limits=SMALL)
    narrow = FakeHost(replace(host.memory_config, rows=kind))
    with (
        store.create("said", host, seed=1, rows=kind) as said,
        store.open_or_create("default", narrow, seed=1) as default,
        store.create("wide", narrow, seed=1, rows="exact") as wide,
    ):
        for one in (said, default, wide):
            story(host, one)
        assert contents(default) == contents(said)
        assert all(map(torch.equal, read(default), read(said)))
        assert (default.rows, wide.rows) == (kind, "exact")
        assert wide.nbytes > default.nbytes
    assert store.manifest("default").config == store.manifest("said").config
    assert [store.manifest(name).rows for name in ("default", "wide")] == [kind, "exact"]
    for name in ("said", "default", "wide"):
        store.verify(name)


def test_memories_from_before_the_model_packed_rows_stay_as_they_are(tmp_path: Path) -> None:
    """Also where they are written anew; and memories in 4 bits open where 8 are usual."""
    store = MemoryStore(tmp_path / "s", limits=SMALL)
    before = HOSTS[1]
    after = FakeHost(replace(before.memory_config, rows="int8"))
    for kind in ROWS:
        with store.create(kind, before, seed=1, rows=kind) as memory:
            before.write(memory, chunks(0, 2), "gone")
            before.write(memory, chunks(100, 9), "kept")
            memory.save(tmp_path / kind)
        with store.open(kind, after, write=True) as memory:
            memory.forget(source="gone", rebuild=True)
            fresh = before.new_memory(seed=1, rows=kind)
            before.write(fresh, chunks(100, 9), "kept")
            assert (memory.rows, store.manifest(kind).rows) == (kind, kind)
            assert all(map(torch.equal, read(memory), read(fresh)))
        assert Memory.load(tmp_path / kind, after).rows == kind


@pytest.mark.parametrize("host", HOSTS, ids=NAMES)
def test_a_stored_memory_is_packed_step_by_step(tmp_path: Path, host: FakeHost) -> None:
    store = MemoryStore(tmp_path / "s", limits=SMALL)
    exact = host.new_memory(seed=1)
    memory = store.create("alice", host, seed=1)
    for one in (memory, exact):
        story(host, one)
    for kind, most in (("int8", 0.02), ("int4", 0.25), ("int2", 0.25)):
        size = memory.nbytes
        memory.pack(kind)  # type: ignore[arg-type]
        # These are hidden vectors, of which 4 bits are the fewest.
        assert memory.nbytes == size if kind == "int2" else memory.nbytes < size
        memory.close()
        store.verify("alice")
        memory = store.open("alice", host, write=True)
        assert (memory.rows, store.manifest("alice").rows) == (kind, kind)
        for found, wanted in zip(read(memory), read(exact), strict=True):
            assert float((found - wanted).norm() / wanted.norm()) < most
        for one in (memory, exact):
            host.write(one, chunks(900, 3), "later")
    assert memory.texts()[2].text == "word100 word101 word102 word103 "
    with pytest.raises(HistoryError):
        memory.rollback(1)
    with pytest.raises(UsageError, match="kept as int2"):
        memory.pack("int8")
    with pytest.raises(UsageError, match="int8, int4 or int2"):
        memory.pack("exact")  # type: ignore[arg-type]
    memory.close()
    store.verify("alice")
    with store.open("alice", host) as reading, pytest.raises(ReadOnlyMemoryError):
        reading.pack("int4")


def test_what_an_earlier_release_kept_in_8_bits_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its snapshots said `packed`, and its rows lay about zero."""
    host = HOSTS[0]
    real = snapshot.layout

    def layout(meta: dict[str, Any], shapes: Any) -> Any:
        if "rows" in meta:
            meta = {n: v for n, v in meta.items() if n != "rows"} | {"packed": True}
        return real(meta, shapes)

    store = MemoryStore(tmp_path / "s", limits=SMALL)
    with monkeypatch.context() as patch:
        patch.setattr(snapshot, "layout", layout)
        patch.setattr("memplus.memory.long_term.centres_of", lambda *_: {})
        with store.create("alice", host, seed=1, rows="int8") as memory:
            story(host, memory)
            told = contents(memory), read(memory)
    store.verify("alice")
    with store.open("alice", host, write=True) as memory:
        assert memory.rows == "int8"
        assert contents(memory) == told[0]
        assert all(map(torch.equal, read(memory), told[1]))
        host.write(memory, chunks(900, 9), "later")
        for before, after in zip(told[1], read(memory), strict=True):
            assert torch.equal(after[: len(before)], before)
        memory.pack("int4")
    store.verify("alice")

"""Memories of spans on a disk: as plain ones, and refused where their spans are broken."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.fakes import make_mplus
from tests.memory.account import Account
from tests.passes.test_span_queries import SPANS as PASSES_SPANS
from tests.store.fakes import SMALL, SPANS, FakeHost, contents
from tests.store.test_changes import story
from tests.store.test_store import chunks
from torch import Tensor

from memplus.config import CounterEviction, MemoryConfig, OldestEviction, SpanRetrieval
from memplus.errors import CorruptMemoryError
from memplus.memory.bounds import example_rows
from memplus.memory.layout import LongTermLayout
from memplus.store import MemoryStore
from memplus.store import container_contents as checks
from memplus.store.blocks import Container, read_records
from memplus.store.container_contents import Expected, check_record, check_segment, check_snapshot
from memplus.store.manifest import Manifest, SegmentEntry

HOST = FakeHost(SPANS)
RULES = [SPANS.eviction, OldestEviction(max_rows=17), CounterEviction(every=3, initial=2.0)]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.kind)
def test_a_stored_memory_of_spans_is_the_plain_one(tmp_path: Path, rule: Any) -> None:
    host = FakeHost(replace(SPANS, eviction=rule))
    store = MemoryStore(tmp_path / "s", limits=SMALL)
    memory, plain = store.create("alice", host, seed=1), host.new_memory(seed=1)
    for _ in range(2):
        story(host, memory)
        story(host, plain)
        memory.close()
        memory = store.open("alice", host, write=True)
        assert contents(memory) == contents(plain)
    assert memory.keeper.manifest.segments
    assert memory.long_term is not None
    assert [("key" in table.names) for table in memory.long_term.tables] == [False, True]
    queries = [torch.ones(3, 4), -torch.ones(1, 4)]
    assert plain.long_term is not None
    found, expected = (one.long_term.span_matches(queries) for one in (memory, plain))
    for mine, theirs in zip(found, expected, strict=True):
        assert torch.equal(mine, theirs)
        scores = theirs.mean(dim=0)
        spans = scores.topk(1).indices
        for name in ("best_spans", "span_births", "span_directions"):
            given = scores if name == "best_spans" else spans
            of_each = (getattr(one.long_term, name)(given) for one in (memory, plain))
            assert torch.equal(*of_each)
    memory.close()
    store.fork("alice", "bob")
    store.export("bob", tmp_path / "bob.zip")
    store.import_memory(tmp_path / "bob.zip", name="carol")
    for name in ("bob", "carol"):
        store.verify(name)
        with store.open(name, host) as other:
            assert contents(other) == contents(plain)


def test_what_is_forgotten_leaves_whole_spans_on_the_disk(tmp_path: Path) -> None:
    store = MemoryStore(tmp_path / "s", limits=SMALL)
    plain = HOST.new_memory(seed=1)
    with store.create("alice", HOST, seed=1) as memory:
        for one in (memory, plain):
            story(HOST, one)
            one.forget(source="s1")
            HOST.write(one, chunks(700, 9), "s5")
        assert contents(memory) == contents(plain)
        memory.forget(source="s2", rebuild=True)
        assert not any(record.source == "s2" for record in memory.writes)
    store.verify("alice")


def test_with_nothing_to_forget_all_is_written_anew(tmp_path: Path) -> None:
    """Rows of an earlier version become those that a write leaves today."""
    model = make_mplus(config=PASSES_SPANS)
    store = MemoryStore(tmp_path / "s", limits=SMALL)
    fresh = model.new_memory(seed=1)
    with store.create("alice", model, seed=1) as memory:
        account = Account(model, memory, older=True)
        for tokens in (8, 3, 1, 2, 5, 1):
            account.write(tokens)
        for one in memory.texts().values():
            model.write(fresh, list(one.ids), source=one.source, flush=True)
        assert contents(memory) != contents(fresh)
        before = memory.writes
        assert memory.forget(write=[]).writes == ()
        assert contents(memory) != contents(fresh)
        assert memory.forget(write=[], rebuild=True).writes == ()
        assert contents(memory) == contents(fresh)
        assert memory.writes == before
    store.verify("alice")
    with store.open("alice", model) as again:
        assert contents(again) == contents(fresh)


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Manifest]:
    """A folder with segments, a snapshot that rows have left, and a log that drops some."""
    store = MemoryStore(tmp_path_factory.mktemp("kept") / "s", limits=SMALL)
    host = FakeHost(replace(SPANS, eviction=OldestEviction(max_rows=100)))
    with store.create("alice", host, seed=1) as memory:
        story(host, memory)
        for turn in range(3):
            host.write(memory, chunks(900 + turn, 1), "s7")
    return store._directory.folder("alice"), store.manifest("alice")


MODEL = Expected(SPANS, example_rows(HOST, HOST.new_rows), HOST.vocabulary)
ALONE = Expected(SPANS)


def snapshot_of(kept: tuple[Path, Manifest]) -> Container:
    return Container.open(kept[0] / kept[1].current.snapshot)


def rows_in_threes(config: MemoryConfig) -> MemoryConfig:
    return replace(config, retrieval=SpanRetrieval(span_rows=3), short_term_tokens=12,
                   retrieved_tokens=3, tokens_per_write=3)  # fmt: skip


@pytest.mark.parametrize("expected", [MODEL, ALONE], ids=["with a model", "without"])
def test_every_state_passes(kept: tuple[Path, Manifest], expected: Expected) -> None:
    folder, manifest = kept
    current = manifest.current
    meta, tensors = check_snapshot(snapshot_of(kept), current.physical, expected)
    for entry in manifest.segments:
        segment = Container.open(folder / entry.name)
        check_segment(segment, entry, tensors, SPANS, (manifest.writes, 10**6))
    writes, count = len(tensors["writes"]), meta.count
    for part in current.logs:
        for record in read_records(folder / part.name, part.length):
            commit, count = check_record(record, writes, count, expected)
            writes += len(commit.writes)
    assert writes == manifest.writes
    assert any(name.startswith("live.") for name in tensors)


def _uneven(tensors: dict[str, Tensor]) -> None:
    tensors["live.1"] = tensors["live.1"][:-2]


def _half(tensors: dict[str, Tensor]) -> None:
    for layer in range(2):
        tensors[f"live.{layer}"] = tensors[f"live.{layer}"][1:]


def _of_one_layer(tensors: dict[str, Tensor]) -> None:
    del tensors["live.0"]


def _divided(tensors: dict[str, Tensor]) -> None:
    tensors["pool.write_id"] = torch.arange(1, 13, dtype=torch.int32).expand(2, 12)


@pytest.mark.parametrize("change", [_uneven, _half, _of_one_layer, _divided])
@pytest.mark.parametrize("expected", [MODEL, ALONE], ids=["with a model", "without"])
def test_a_snapshot_with_broken_spans_is_named(
    kept: tuple[Path, Manifest],
    change: Callable[[dict[str, Tensor]], None],
    expected: Expected,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    snapshot = snapshot_of(kept)
    tensors = {name: snapshot.rows(name) for name in snapshot.names}
    change(tensors)
    monkeypatch.setattr(Container, "names", property(lambda self: list(tensors)))
    monkeypatch.setattr(Container, "rows", lambda self, name: tensors[name])
    with pytest.raises(CorruptMemoryError, match="span"):
        check_snapshot(snapshot, kept[1].current.physical, expected)


def test_numbers_of_rows_that_are_no_spans_are_named(kept: tuple[Path, Manifest]) -> None:
    folder, manifest = kept
    physical = manifest.current.physical
    for wrong in ([physical[0], physical[1] + 2], [one + 1 for one in physical]):
        with pytest.raises(CorruptMemoryError, match="physical"):
            check_snapshot(snapshot_of(kept), wrong, ALONE)
    _, tensors = check_snapshot(snapshot_of(kept), physical, ALONE)
    entry = manifest.segments[0]
    segment = Container.open(folder / entry.name)
    for rows in ([entry.rows[0], entry.rows[1] - 2], [one - 1 for one in entry.rows]):
        with pytest.raises(CorruptMemoryError, match="rows"):
            check_segment(segment, SegmentEntry(entry.name, rows), tensors, SPANS)


def test_a_segment_with_broken_spans_is_named(
    kept: tuple[Path, Manifest], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, manifest = kept
    _, tensors = check_snapshot(snapshot_of(kept), manifest.current.physical, ALONE)
    entry = manifest.segments[0]
    segment, before = Container.open(folder / entry.name), Container.rows
    counted = manifest.writes, 10**6

    def shifted(which: str) -> Callable[..., Tensor]:
        def rows(self: Container, name: str, *bounds: int) -> Tensor:
            found = before(self, name, *bounds)
            return found.roll(1) if name.endswith(which) else found

        return rows

    monkeypatch.setattr(Container, "rows", shifted(".write_id"))
    with pytest.raises(CorruptMemoryError, match="divides a span"):
        check_segment(segment, entry, tensors, SPANS, counted)


def _as_before(config: MemoryConfig, layers: int) -> LongTermLayout:
    """Every layer kept what tells of its spans."""
    return LongTermLayout(range(layers), config.retrieving_layers(layers), range(layers))


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.kind)
def test_a_store_that_kept_births_in_every_layer_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rule: Any
) -> None:
    host = FakeHost(replace(SPANS, eviction=rule))
    plain = host.new_memory(seed=1)
    store = MemoryStore(tmp_path / "s", limits=SMALL)
    with monkeypatch.context() as patch:
        patch.setattr(LongTermLayout, "of", _as_before)
        with store.create("alice", host, seed=1) as memory:
            story(host, memory)
            assert memory.long_term is not None
            assert all("birth" in table.names for table in memory.long_term.tables)
            wide = memory.nbytes
    story(host, plain)
    store.verify("alice")
    with store.open("alice", host, write=True) as memory:
        assert contents(memory) == contents(plain)
        assert memory.nbytes < wide
        for one in (memory, plain):
            one.forget(source="s1")
            host.write(one, chunks(900, 9), "later")
        assert contents(memory) == contents(plain)
    store.verify("alice")
    with store.open("alice", host) as memory:
        assert contents(memory) == contents(plain)
    manifest = store.manifest("alice")
    folder = store._directory.folder("alice")
    segment = Container.open(folder / manifest.segments[-1].name)
    assert "0.birth" not in segment.names


def test_layers_of_an_old_segment_that_differ_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = MemoryStore(tmp_path / "s", limits=SMALL)
    with monkeypatch.context() as patch:
        patch.setattr(LongTermLayout, "of", _as_before)
        with store.create("alice", HOST, seed=1) as memory:
            story(HOST, memory)
    manifest, folder = store.manifest("alice"), store._directory.folder("alice")
    _, tensors = check_snapshot(
        Container.open(folder / manifest.current.snapshot), manifest.current.physical, ALONE
    )
    before = Container.rows

    def rows(self: Container, name: str, *bounds: int) -> Tensor:
        found = before(self, name, *bounds)
        return found.roll(1) if name == "0.birth" else found

    monkeypatch.setattr(Container, "rows", rows)
    entry = manifest.segments[0]
    with pytest.raises(CorruptMemoryError, match="differs between layers"):
        check_segment(
            Container.open(folder / entry.name), entry, tensors, SPANS, (manifest.writes, 10**6)
        )


def test_a_layer_that_a_segment_has_not_is_named(kept: tuple[Path, Manifest]) -> None:
    folder, manifest = kept
    _, tensors = check_snapshot(snapshot_of(kept), manifest.current.physical, ALONE)
    entry = manifest.segments[0]
    config = replace(SPANS, retrieval=SpanRetrieval(span_rows=2, layer=7))
    with pytest.raises(CorruptMemoryError, match=r"retrieval\.layer is 7"):
        check_segment(Container.open(folder / entry.name), entry, tensors, config)


def test_a_record_with_broken_spans_is_named(
    kept: tuple[Path, Manifest], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, manifest = kept
    part = next(part for one in manifest.generations[::-1] for part in one.logs)
    record = next(r for r in read_records(folder / part.name, part.length) if r.meta["writes"])
    first = record.meta["writes"][0][0] - 1
    check_record(record, first, 12, ALONE)
    with pytest.raises(CorruptMemoryError, match=r"hidden\.0 has 4 rows, not whole spans of 3"):
        check_record(record, first, 12, Expected(rows_in_threes(SPANS)))
    monkeypatch.setattr(checks, "require_within", lambda *given: None)
    before = Container.rows

    def rows(self: Container, name: str) -> Tensor:
        found = before(self, name)
        return found + 1 if name == "drop.0" else found

    monkeypatch.setattr(Container, "rows", rows)
    with pytest.raises(CorruptMemoryError, match=r"drop\.0 does not name whole spans"):
        check_record(record, first, 12, ALONE)

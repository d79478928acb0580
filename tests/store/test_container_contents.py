"""What a memory's containers may hold, with and without its model at hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tests.store.fakes import CONFIG, SMALL, FakeHost
from tests.store.test_changes import story

from memplus.errors import CorruptMemoryError
from memplus.memory.bounds import example_rows
from memplus.store import MemoryStore
from memplus.store.blocks import Container, read_records
from memplus.store.container_contents import Expected, check_record, check_segment, check_snapshot
from memplus.store.manifest import Manifest, SegmentEntry

HOST = FakeHost()
MODEL = Expected(CONFIG, example_rows(HOST, HOST.new_rows), HOST.vocabulary)
ALONE = Expected(CONFIG)


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Manifest]:
    store = MemoryStore(tmp_path_factory.mktemp("kept") / "s", limits=SMALL)
    with store.create("alice", HOST, seed=1) as memory:
        story(HOST, memory)
    return store._directory.folder("alice"), store.manifest("alice")


@pytest.mark.parametrize("expected", [MODEL, ALONE], ids=["with a model", "without"])
def test_every_state_of_a_real_memory_passes(
    kept: tuple[Path, Manifest], expected: Expected
) -> None:
    folder, manifest = kept
    for generation in manifest.generations:
        snapshot = Container.open(folder / generation.snapshot)
        meta, tensors = check_snapshot(snapshot, generation.physical, expected)
        writes, count = len(tensors["writes"]), meta.count
        for part in generation.logs:
            for record in read_records(folder / part.name, part.length):
                commit, count = check_record(record, writes, count, expected)
                writes += len(commit.writes)
    assert (writes, count) == (manifest.writes, CONFIG.short_term_tokens)
    for entry in manifest.segments:
        check_segment(Container.open(folder / entry.name), entry, tensors, CONFIG, (writes, 10**6))


def test_rows_that_a_snapshot_does_not_know_are_named(kept: tuple[Path, Manifest]) -> None:
    folder, manifest = kept
    snapshot = Container.open(folder / manifest.current.snapshot)
    for physical in ([], [5], [5, 5, 5]):
        with pytest.raises(CorruptMemoryError, match="physical has"):
            check_snapshot(snapshot, physical, ALONE)


def test_another_models_rows_are_named(kept: tuple[Path, Manifest]) -> None:
    folder, manifest = kept
    snapshot = Container.open(folder / manifest.current.snapshot)
    like = MODEL.like
    assert like is not None
    wider = replace(like, columns=dict(like.columns) | {"k": torch.zeros(2, 1, 2, 5)})
    with pytest.raises(CorruptMemoryError, match=r"pool\.k has the shape"):
        check_snapshot(snapshot, manifest.current.physical, Expected(CONFIG, wider))
    smaller = Expected(replace(CONFIG, short_term_tokens=11))
    with pytest.raises(CorruptMemoryError, match="count is 12, with 11 slots"):
        check_snapshot(snapshot, manifest.current.physical, smaller)


def test_a_segment_without_its_rows_or_columns_is_named(kept: tuple[Path, Manifest]) -> None:
    folder, manifest = kept
    snapshot = Container.open(folder / manifest.current.snapshot)
    _, tensors = check_snapshot(snapshot, manifest.current.physical, ALONE)
    entry = manifest.segments[0]
    segment = Container.open(folder / entry.name)
    more = SegmentEntry(entry.name, [rows + 1 for rows in entry.rows])
    with pytest.raises(CorruptMemoryError, match=r"0\.\w+ is torch"):
        check_segment(segment, more, tensors, CONFIG)
    with pytest.raises(CorruptMemoryError, match=r"0\.other is missing"):
        check_segment(segment, entry, {"like.other": torch.zeros(0)}, CONFIG)
    for bounds, named in (((0, 10**6), "write_id holds"), ((46, 0), "birth holds")):
        with pytest.raises(CorruptMemoryError, match=named):
            check_segment(segment, entry, tensors, CONFIG, bounds)


def test_a_record_after_other_writes_or_rows_is_named(kept: tuple[Path, Manifest]) -> None:
    folder, manifest = kept
    part = next(part for one in manifest.generations[::-1] for part in one.logs)
    record = next(
        one for one in read_records(folder / part.name, part.length) if one.meta["writes"]
    )
    first = record.meta["writes"][0][0]
    with pytest.raises(CorruptMemoryError, match="where write 100 follows"):
        check_record(record, 99, 12, ALONE)
    with pytest.raises(CorruptMemoryError, match=r"drop\.0"):
        check_record(record, first - 1, 7, ALONE)

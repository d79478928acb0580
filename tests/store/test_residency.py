"""A budget holds, whatever is read; and what is retrieved is one's own."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tests.store.fakes import LAYERS, RETRIEVER, SMALL, FakeHost, contents
from tests.store.test_store import chunks

from memplus.errors import ConfigError
from memplus.store import MemoryStore
from memplus.store.blocks import BLOCK, Container, Residency, layout, write_container
from memplus.store.disk import Disk

HOST = FakeHost()


def resident(container: Container) -> int:
    """Bytes of a mapped file that this process has in memory, as the system counts them."""
    found, inside = 0, False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if "-" in line.split(" ")[0]:
            inside = line.endswith(str(container.path))
        elif inside and line.startswith("Rss:"):
            found += int(line.split()[1]) * 1024
    return found


@pytest.mark.long
def test_mapped_pages_are_given_back_within_the_budget(tmp_path: Path) -> None:
    column = torch.arange(512 * BLOCK // 8)
    plan = layout({}, {"column": (column.dtype, list(column.shape))})
    with Disk().create(tmp_path / "file") as sink:
        write_container(sink, plan, iter([column]))
    container = Container.open(tmp_path / "file")
    container.residency = Residency(96 * BLOCK)
    container.residency.watch(container)
    rows = 16 * BLOCK // 8
    for turn in range(2):
        for first in range(0, len(column), rows):
            piece = container.rows("column", first, first + rows)
            assert torch.equal(piece, column[first : first + rows]), turn
            # The system maps up to 2 MB around what is touched.
            assert resident(container) <= 96 * BLOCK + (4 << 20)
    assert container.gather("column", torch.tensor([5, 500_000])).tolist() == [5, 500_000]


def test_answers_within_a_small_budget_are_those_without_one(tmp_path: Path) -> None:
    store = MemoryStore(tmp_path, limits=SMALL)
    with store.create("alice", HOST) as memory:
        HOST.write(memory, chunks(0, 60), "a")
        expected = contents(memory)
    with MemoryStore(tmp_path, ram=100_000).open("alice", HOST, write=True) as memory:
        assert memory.keeper.folder.residency.limit is not None
        assert contents(memory) == expected
    with pytest.raises(ConfigError, match="ram"):
        MemoryStore(tmp_path, ram=0)


def test_no_memory_calls_up_anothers_rows(tmp_path: Path) -> None:
    store = MemoryStore(tmp_path, limits=SMALL)
    with store.create("root", HOST) as root:
        HOST.write(root, chunks(0, 12), "shared")
    for number in range(4):
        store.fork("root", f"memory {number}")
    opened = [store.open(f"memory {number}", HOST, write=True) for number in range(4)]
    for turn in range(6):
        for number, memory in enumerate(opened):
            HOST.write(memory, chunks(10_000 * (number + 1) + 100 * turn, 3), f"canary {number}")
    queries = torch.randn(3, RETRIEVER, generator=torch.Generator().manual_seed(0))
    for number, memory in enumerate(opened):
        told = memory.texts()
        assert memory.long_term is not None
        for layer in range(LAYERS):
            table = memory.long_term.tables[layer]
            chosen, _ = memory.long_term.retrieve(layer, queries)
            for write in table.take("write_id", chosen).tolist():
                assert told[write].source in ("shared", f"canary {number}")
        words = {word for text in told.values() for word in text.text.split()}
        for other in range(4):
            mark = f"word{10_000 * (other + 1)}"
            assert (mark in words) == (other == number)
        memory.close()

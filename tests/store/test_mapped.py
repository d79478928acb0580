"""A table over segments is, to every call, the table of its rows in RAM."""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from memplus.memory.rows import RowTable
from memplus.store.blocks import Container, layout, write_container
from memplus.store.disk import Disk
from memplus.store.mapped import MappedTable, Part, column_name

WIDTH = 3


def columns(start: int, count: int) -> dict[str, Tensor]:
    ids = torch.arange(start, start + count)
    return {"v": ids[:, None].float() * torch.ones(WIDTH), "birth": ids}


def part(folder: Path, rows: dict[str, Tensor], used: int | None = None) -> Part:
    path = folder / f"segment-{len(list(folder.iterdir()))}"
    tensors = {column_name(0, name): column for name, column in rows.items()}
    plan = layout({}, {n: (t.dtype, list(t.shape)) for n, t in tensors.items()})
    with Disk().create(path) as sink:
        write_container(sink, plan, iter(tensors.values()))
    return Part(Container.open(path), 0, len(rows["birth"]) if used is None else used)


def made(folder: Path, sizes: list[int]) -> tuple[MappedTable, RowTable]:
    """Segments of all sizes but the last, whose rows lie in RAM; and one table in RAM."""
    parts, start = [], 0
    for size in sizes[:-1]:
        parts.append(part(folder, columns(start, size)))
        start += size
    fresh = RowTable(columns(start, sizes[-1]))
    return MappedTable(parts, fresh), RowTable(columns(0, sum(sizes)))


def assert_same(mapped: MappedTable, plain: RowTable) -> None:
    assert len(mapped) == len(plain)
    assert mapped.names == plain.names
    assert mapped.nbytes == plain.nbytes
    for name in plain.names:
        assert torch.equal(mapped[name], plain[name])
        for start in range(0, len(plain) + 1, 3):
            for stop in range(start, len(plain) + 1, 2):
                assert torch.equal(
                    mapped.between(name, start, stop), plain.between(name, start, stop)
                )
        index = torch.randperm(len(plain), generator=torch.Generator().manual_seed(1))
        assert torch.equal(mapped.take(name, index), plain.take(name, index))


SIZES = st.lists(st.integers(0, 5), min_size=1, max_size=4)
STEPS = st.lists(st.sampled_from(["append", "keep", "replace", "settle", "fork"]), max_size=5)


@settings(max_examples=60, deadline=None)
@given(SIZES, STEPS, st.integers(0, 1000))
def test_whatever_is_done_it_stays_the_table_of_its_rows(
    sizes: list[int], steps: list[str], seed: int
) -> None:
    draw = torch.Generator().manual_seed(seed)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        mapped, plain = made(folder, sizes)
        next_id = sum(sizes)
        for step in steps:
            if step == "append":
                for table in (mapped, plain):
                    table.append(columns(next_id, 3))
                next_id += 3
            elif step == "keep":
                mask = torch.rand(len(plain), generator=draw) > 0.3
                mapped.keep(mask)
                plain.keep(mask)
            elif step == "replace":
                values = torch.randint(0, 99, (len(plain),), generator=draw)
                mapped.replace("birth", values)
                plain.replace("birth", values)
            elif step == "settle":
                mapped.settled(part(folder, dict(mapped.fresh.columns())))
                assert len(mapped.fresh) == 0
            else:
                fork, kept = mapped.fork(), plain.fork()
                mapped.append(columns(900, 2))
                assert_same(fork, kept)
                mapped, plain = fork, kept
            assert_same(mapped, plain)


def test_only_the_first_rows_of_a_segment_may_count(tmp_path: Path) -> None:
    table = MappedTable([part(tmp_path, columns(0, 9), used=4)], RowTable(columns(50, 2)))
    assert table["birth"].tolist() == [0, 1, 2, 3, 50, 51]
    assert (table.physical, table.mapped) == (4, 4)


def test_joined_parts_keep_their_rows_and_left_rows_stay_left(tmp_path: Path) -> None:
    table, _ = made(tmp_path, [3, 4, 2])
    table.keep(torch.tensor([True, False, True, True, True, False, True, True, True]))
    before = table["birth"].tolist()
    assert [table.left_in(0), table.left_in(1)] == [2, 3]
    # The last part with all of its rows, left ones too, and those in RAM.
    joined = {n: torch.cat([columns(3, 4)[n], table.fresh[n]]) for n in table.names}
    table.settled(part(tmp_path, joined), absorbed=1)
    assert table["birth"].tolist() == before
    assert len(table.parts) == 2
    anew = {name: table[name] for name in table.names}
    table.rewritten([part(tmp_path, anew)])
    assert table["birth"].tolist() == before
    assert table.live is None


def test_rows_side_by_side_are_views_into_the_map(tmp_path: Path) -> None:
    table, _ = made(tmp_path, [8, 0])
    first, again = table.between("v", 2, 6), table.between("v", 2, 6)
    assert first.data_ptr() == again.data_ptr()

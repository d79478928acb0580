"""Tables packed in fewer bits, block by block and with what other rows of their layer tell."""

from __future__ import annotations

import pytest
import torch
from tests.memory.test_packing import KINDS, again, distance, known, rows_of

from memplus.memory.packing import (
    KEY,
    PACKED,
    RowKind,
    Share,
    centres_of,
    leading_of,
    more_of,
    pack,
    share_of,
)
from memplus.memory.repacking import repacked
from memplus.memory.rows import RowTable


@pytest.mark.parametrize("share", Share)
def test_a_table_tells_how_much_it_keeps(share: Share) -> None:
    rows = {name: rows_of((30, 2, 16), seed=seed) for seed, name in enumerate(("k", "v"))}
    table = repacked(RowTable(rows), "int2", keys=False, share=share)
    assert share_of(table) == share
    at_once = pack(rows, "int2", table.centres, share=share)
    assert {name: one.shape for name, one in at_once.items()} == {
        name: one.shape for name, one in table.columns().items()
    }
    assert ({more_of("k"), more_of("v")} <= set(table.names)) == (share is Share.UPPER)
    narrow = {name: rows_of((30, 2, 8), seed=seed) for seed, name in enumerate(("k", "v"))}
    found = share_of(repacked(RowTable(narrow), "int2", keys=False, share=share))
    assert found == (Share.UPPER if share is Share.UPPER else Share.SAME)  # whose keys take 4 bits


def test_directions_of_few_rows_are_looked_for_beside_them() -> None:
    """Keys that a memory goes on to keep lie where those of its short-term pool do."""
    turn = torch.linalg.qr(rows_of((16, 16), seed=1)).Q[:, :8]
    keys = rows_of((40, 1, 8)) @ turn.T
    found = {}
    for beside in (None, {"k": keys[2:]}):
        table = repacked(RowTable({"k": keys[:2]}), "int2", beside, keys=False)
        kept = pack({"k": keys[2:]}, "int2", table.centres)
        read = again(kept, "k", table.centres["k"], table.centres[leading_of("k")])
        found[beside is None] = distance(read, keys[2:])
    assert found[False] < 0.2 < 0.4 < found[True]


def test_rows_packed_at_once_have_in_common_what_rows_dropped_one_by_one_have() -> None:
    rows = {name: rows_of((40, 2, 16), seed=seed) for seed, name in enumerate(("k", "v"))}
    few, others = ({n: one[part] for n, one in rows.items()} for part in (slice(3), slice(3, 40)))
    table = repacked(RowTable(few), "int2", others, keys=False)
    for name, wanted in centres_of(rows, "int2").items():
        found = table.centres[name]
        if name == leading_of("k"):  # whose signs nobody chooses
            found, wanted = found @ found.mT, wanted @ wanted.mT
        assert torch.allclose(found, wanted, atol=1e-4)
    for name, found in repacked(RowTable(few), "int4", others, keys=False).centres.items():
        assert torch.allclose(found, centres_of(rows, "int4")[name], atol=1e-6)
    many = {name: one[:35] for name, one in rows.items()}
    for name, found in repacked(RowTable(many), "int4", others, keys=False).centres.items():
        assert torch.allclose(found, centres_of(many, "int4")[name], atol=1e-6)  # enough


@pytest.mark.parametrize(
    "steps", [("int8",), ("int4",), ("int8", "int4"), ("int2",), ("int8", "int4", "int2")]
)
def test_a_table_is_packed_further_block_by_block(
    monkeypatch: pytest.MonkeyPatch, steps: tuple[RowKind, ...]
) -> None:
    monkeypatch.setattr("memplus.memory.repacking._BLOCK", 7)
    rows = {name: rows_of((30, 2, 16)) + 9 for name in PACKED}
    birth = torch.arange(30)
    table = RowTable({**rows, KEY: rows_of((30, 8)), "birth": birth})
    for kind in steps:
        table = repacked(table, kind, keys=True)
    assert torch.equal(table["birth"], birth)
    assert table[KEY].dtype == torch.int8
    for name in PACKED:
        leading = table.centres.get(leading_of(name))
        found = again(dict(table.columns()), name, table.centres[name], leading)
        most = {"int8": 0.01, "int4": 0.12, "int2": 0.75 if name == "k" else 0.38}[steps[-1]]
        assert distance(found - 9, rows[name] - 9) < most
        if steps == ("int2",):
            at_once = known(rows[name], "int2", name)
            assert torch.allclose(found, at_once, atol=1e-2)


def test_an_empty_table_is_packed_without_a_centre() -> None:
    table = repacked(RowTable({"k": torch.zeros(0, 2, 16)}), "int4", keys=False)
    assert len(table) == 0
    assert table["k"].dtype == torch.uint8
    assert not table.centres


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("wrong", [torch.nan, torch.inf])
def test_a_number_that_is_none_leaves_what_the_other_rows_have_in_common(
    kind: RowKind, wrong: float
) -> None:
    rows = rows_of((300, 2, 64)) + 20
    rows[3, 0, 5] = wrong
    beside = {"k": rows[:100]}
    for centres in (
        centres_of({"k": rows}, kind),
        repacked(RowTable({"k": rows}), kind, beside, keys=False).centres,
    ):
        assert all(bool(one.isfinite().all()) for one in centres.values())
        found = again(
            pack({"k": rows}, kind, centres), "k", centres["k"], centres.get(leading_of("k"))
        )
        assert distance(found[4:] - 20, rows[4:] - 20) < 0.5

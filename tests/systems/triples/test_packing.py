import sqlite3

import pytest
import torch
from tests.systems.triples.test_table import ADA, BRELL, embed, table

from memplus.systems.triples.packing import as_bytes, as_text, numbers
from memplus.systems.triples.table import TripleTable


def test_every_part_lies_where_it_is_said_to_lie() -> None:
    made = table(("a", [ADA]), ("b\udce9", [BRELL, ADA]))
    found = made.tensors()
    assert bytes(found["entities.text"].tolist()) == b"AdaBrellDornick"
    assert found["entities.end"].tolist() == [3, 8, 15]
    assert torch.equal(found["relations.vector"], embed(["born in", "country"]))
    assert found["triples"].tolist() == [[0, 0, 1], [1, 1, 2]]
    assert found["origins"].tolist() == [[0, 0, 1, 0, 0], [0, 1, 2, 0, 0], [1, 1, 2, 0, 0]]
    assert made.nbytes == sum(one.nbytes for one in found.values())


def test_tensors_that_contradict_themselves_are_refused() -> None:
    made = table(("a", [ADA, BRELL]))
    for name, wrong in (("triples", [[0, 0, 9]] * 2), ("triples", [[0, 0, 1]] * 2)):
        tensors = made.tensors() | {name: torch.tensor(wrong)}
        with pytest.raises(sqlite3.IntegrityError):
            TripleTable.of_tensors(embed, tensors, 2)


def test_names_that_are_no_text_come_back_as_they_were() -> None:
    assert as_text(as_bytes("caf\udce9")) == "caf\udce9"
    with pytest.raises(UnicodeDecodeError):
        as_text(b"\xff")


def test_no_bytes_are_no_numbers() -> None:
    assert numbers(b"", torch.float32).tolist() == []
    assert numbers(b"\x00\x00\x80?", torch.float32).tolist() == [1.0]

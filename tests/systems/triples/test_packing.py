from pathlib import Path

import pytest
import torch
from tests.systems.triples.test_table import ADA, BRELL, embed, table

from memplus.errors import CorruptMemoryError
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


@pytest.mark.parametrize(
    ("name", "wrong", "said"),
    [
        ("triples", [[0, 0, 9], [1, 1, 2]], "contradict themselves"),
        ("triples", [[0, 0, 1], [0, 0, 1]], "contradict themselves"),
        ("triples", [[0, 0, 1]], "where every triple comes from"),
        ("origins", [[0, 0, 1, 0, 0], [0, 0, 1, 0, 0]], "where every triple comes from"),
        ("origins", [[0, 0, 1, 0, 0], [1, 7, 1, 0, 0]], "contradict themselves"),
        ("origins", [[0, 0, 1, 0, 0], [1, 0, 2, 0, 0]], "holds 2, not 1 to 1"),
        ("origins", [[0, 0, 1, 0, 0], [1, 0, 1, -1, 0]], "holds -1"),
        ("entities.end", [3, 8, 14], "does not divide 15 bytes"),
        ("entities.end", [9, 8, 15], "does not divide 15 bytes"),
        ("entities.end", [3, 3, 15], "contradict themselves"),
        ("relations.vector", [[1.0], [2.0], [3.0]], "shape"),
        ("sources.end", [[1]], "shape"),
    ],
)
def test_a_table_that_contradicts_itself_is_refused(
    name: str, wrong: list[list[int]], said: str
) -> None:
    made = table(("a", [ADA, BRELL]))
    tensors = made.tensors() | {name: torch.tensor(wrong)}
    with pytest.raises(CorruptMemoryError, match=said):
        TripleTable.of_tensors(embed, tensors, 1, Path("file"))


def test_texts_that_are_no_text_are_refused() -> None:
    made = table(("a", [ADA]))
    tensors = made.tensors()
    tensors["entities.text"][0] = 255
    with pytest.raises(CorruptMemoryError, match="no UTF-8"):
        TripleTable.of_tensors(embed, tensors, 1, Path("file"))


def test_names_that_are_no_text_come_back_as_they_were() -> None:
    assert as_text(as_bytes("caf\udce9")) == "caf\udce9"
    with pytest.raises(UnicodeDecodeError):
        as_text(b"\xff")


def test_no_bytes_are_no_numbers() -> None:
    assert numbers(b"", torch.float32).tolist() == []
    assert numbers(b"\x00\x00\x80?", torch.float32).tolist() == [1.0]

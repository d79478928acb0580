"""What stays in a journal of a write that is taken out of it."""

from __future__ import annotations

from memplus.store.written_rows import NOTHING, Erased, WriteRow


def row(number: int, source: str, tokens: int = 4) -> WriteRow:
    values = {"commit_number": 1, "start": 8, "first_char": 20, "time": 5.0, "crc": 0}
    text = "secret" if tokens else ""
    return WriteRow(id=number, source=source, tokens=tokens, text=text, ids=b"abcd", **values)


ROWS = [row(1, "a"), row(2, "b"), row(3, "a"), row(4, "b")]
LAST = {3, 4}


def test_of_the_last_write_of_a_source_that_goes_on_its_end_alone_stays() -> None:
    other, end = Erased({1, 3}, {"a"}).left(ROWS[:3], LAST)
    assert other == ROWS[1]
    assert (end.id, end.start, end.first_char, end.tokens) == (3, 12, 26, 0)
    assert (end.text, end.ids, end.time) == ("", b"", 0.0)


def test_nothing_stays_of_a_source_that_is_at_an_end() -> None:
    assert list(Erased({1, 3}, {"b"}).left(ROWS, LAST)) == [ROWS[1], ROWS[3]]


def test_an_end_is_kept_until_later_writes_tell_it() -> None:
    ends = [row(1, "a", 0), row(2, "b", 0), row(3, "a")]
    assert [one.id for one in NOTHING.left(ends, {2, 3})] == [2, 3]
    assert [one.id for one in Erased((), ()).left(ends, {2, 3})] == [3]

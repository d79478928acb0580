import gzip
import io
import sys
from pathlib import Path

import pytest

from memplus.data.documents import decode, read_document, read_stdin
from memplus.errors import EmptyTextError, NotFoundError, NotTextError, StorageError


def test_utf8_file_keeps_its_text_and_is_named_by_its_path(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes("\ufeffZwölf\r\nBoxkämpfer\r".encode())
    document = read_document(path)
    assert document.text == "Zwölf\nBoxkämpfer\n"
    assert document.source == str(path)


def test_binary_file_is_refused_with_the_offset_of_the_nul(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"abc\0def")
    with pytest.raises(NotTextError, match="byte 3") as caught:
        read_document(path)
    assert caught.value.fields["offset"] == 3


def test_latin1_is_refused_with_the_offset_of_the_first_bad_byte() -> None:
    with pytest.raises(NotTextError, match="iconv") as caught:
        decode("schön".encode("latin1"), source="x")
    assert caught.value.fields["offset"] == 3


@pytest.mark.parametrize("raw", [b"", b" \n\t ", "\ufeff".encode()])
def test_nothing_visible_is_empty(raw: bytes) -> None:
    with pytest.raises(EmptyTextError, match="x is empty"):
        decode(raw, source="x")


def test_absent_file_and_directory_are_named(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match=r"no file .*absent"):
        read_document(tmp_path / "absent.txt")
    with pytest.raises(NotFoundError, match="that is a folder"):
        read_document(tmp_path)


def test_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"hello")))
    assert read_stdin().text == "hello"


def test_a_gzipped_file_is_read_and_a_broken_one_refused(tmp_path: Path) -> None:
    path = tmp_path / "book.txt.gz"
    path.write_bytes(gzip.compress("Zwölf".encode()))
    assert read_document(path).text == "Zwölf"
    path.write_bytes(path.read_bytes()[:-6])
    with pytest.raises(StorageError, match="book"):
        read_document(path)
    path.write_bytes(b"no archive")
    with pytest.raises(StorageError, match="book"):
        read_document(path)

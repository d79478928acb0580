import gzip
import io
import os
import sys
import zipfile
from pathlib import Path

import pytest

from memplus.data.documents import Document, decode, read_document, read_stdin
from memplus.errors import (
    DocumentFormatError,
    EmptyTextError,
    NotFoundError,
    NotTextError,
    StorageError,
    UsageError,
)

WORDS = "Zwölf Boxkämpfer\njagen Viktor."


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
    with pytest.raises(UsageError, match="is a folder"):
        read_document(tmp_path)


def test_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"hello")))
    assert read_stdin() == Document(source="-", text="hello")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"\n")))
    with pytest.raises(EmptyTextError, match="Standard input is empty"):
        read_stdin()


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
    path.write_bytes(b"\x1f\x8b\x08\x00" + b"\0" * 6 + b"\xff" * 20)  # no deflate stream follows
    with pytest.raises(StorageError, match="gzip"):
        read_document(path)


def test_a_gzipped_file_of_another_name_is_unpacked_too(tmp_path: Path) -> None:
    path = tmp_path / "book.txt"
    path.write_bytes(gzip.compress(WORDS.encode()))
    assert read_document(path).text == WORDS


@pytest.mark.parametrize(
    "encoding", ["utf-8-sig", "utf-16", "utf-16-be", "utf-16-le", "utf-32", "utf-32-be"]
)
def test_a_byte_order_mark_says_the_encoding(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "notepad.txt"
    mark = "" if encoding in ("utf-8-sig", "utf-16", "utf-32") else "\ufeff"
    path.write_bytes((mark + WORDS.replace("\n", "\r\n")).encode(encoding))
    assert read_document(path).text == WORDS


def test_a_cut_utf16_file_is_refused_with_its_place() -> None:
    with pytest.raises(NotTextError, match="UTF-16") as caught:
        decode(WORDS.encode("utf-16")[:-1], source="x")
    assert caught.value.fields["offset"] == len(WORDS) * 2


def test_a_nul_in_utf16_is_found_at_its_byte() -> None:
    with pytest.raises(NotTextError, match="NUL") as caught:
        decode("ab\0c".encode("utf-16"), source="x")
    assert caught.value.fields["offset"] == 6


@pytest.mark.parametrize(
    ("raw", "advice"),
    [
        ("“schön”".encode("cp1252"), "iconv -f CP1252"),
        (b"a\x81b", "iconv -f ENCODING"),
        ("Notepad without a mark".encode("utf-16-le"), "iconv -f UTF-16LE"),
        ("Notepad without a mark".encode("utf-16-be"), "iconv -f UTF-16BE"),
        (b"\x01\x02\0\x03 code", "binary"),
    ],
)
def test_what_is_no_utf8_comes_with_advice(raw: bytes, advice: str) -> None:
    with pytest.raises(NotTextError) as caught:
        decode(raw, source="x")
    assert advice in caught.value.message


def zipped(*names: str) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name in names:
            archive.writestr(name, "application/epub+zip" if name == "mimetype" else "x")
    return content.getvalue()


@pytest.mark.parametrize(
    ("raw", "kind"),
    [
        (b"%PDF-1.4\n1 0 obj << /Length 12 >> endobj\n", "PDF"),
        (b"{\\rtf1\\ansi hello}", "RTF"),
        (zipped("a.txt"), "zip"),
        (zipped("[Content_Types].xml", "word/document.xml"), "Word"),
        (zipped("mimetype", "OEBPS/a.xhtml"), "EPUB"),
        (b"\x89PNG\r\n\x1a\n", "PNG"),
        (b"\xff\xd8\xff\xe0", "JPEG"),
        (b"RIFF\x04\0\0\0WEBPVP8 ", "WebP"),
        (b"\0\0\0\x18ftypmp42", "film"),
    ],
)
def test_documents_images_and_archives_are_named(tmp_path: Path, raw: bytes, kind: str) -> None:
    path = tmp_path / "thing"
    path.write_bytes(raw)
    with pytest.raises(DocumentFormatError, match=kind) as caught:
        read_document(path)
    assert "Extract its text first" in str(caught.value)


def test_a_pdf_on_standard_input_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"%PDF-1.7 ...")))
    with pytest.raises(DocumentFormatError, match=r"^Standard input is a PDF"):
        read_stdin()


@pytest.mark.parametrize("text", ["PK is a short name.", "BMW", "RIFF raff", "%PDF is a mark"])
def test_text_that_only_looks_like_a_document_is_read(text: str) -> None:
    assert decode(text.encode(), source="x").text == text


def test_a_file_name_that_is_no_utf8_becomes_a_source_that_is(tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"caf\xe9.txt")
    path.write_text(WORDS)
    source = read_document(path).source
    assert source.endswith("caf\\xe9.txt")
    assert source.encode()

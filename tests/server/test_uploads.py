from __future__ import annotations

import gzip
import io

import pytest
from fastapi import UploadFile

from memplus.errors import EmptyTextError, NotTextError
from memplus.server.faults import RequestFault
from memplus.server.uploads import document_of


def sent(raw: bytes, name: str | None = "a.txt") -> UploadFile:
    return UploadFile(io.BytesIO(raw), filename=name)


def test_line_ends_marks_and_packing_are_gone() -> None:
    for raw in (b"\xef\xbb\xbfa\r\nb", "a\nb".encode("utf-32"), gzip.compress(b"a\rb")):
        assert document_of(sent(raw), 100).text == "a\nb"


def test_the_source_is_the_name_without_its_folders() -> None:
    assert document_of(sent(b"a", "/home/ann/notes.txt"), 10).source == "notes.txt"
    assert document_of(sent(b"a", None), 10).source == "file"


def test_what_is_no_text_is_refused() -> None:
    with pytest.raises(EmptyTextError):
        document_of(sent(b" "), 10)
    with pytest.raises(NotTextError):
        document_of(sent(b"\xff\xfe\xff"), 10)


def test_the_bound_holds_before_and_after_unpacking() -> None:
    assert document_of(sent(b"x" * 10), 10).text == "x" * 10
    assert document_of(sent(gzip.compress(b"x" * 10)), 10).text == "x" * 10
    for raw in (b"x" * 11, gzip.compress(b"x" * 11), gzip.compress(b"x" * 1_000_000)):
        with pytest.raises(RequestFault) as refused:
            document_of(sent(raw), 10)
        assert refused.value.fault.status == 413
    with pytest.raises(RequestFault) as refused:
        document_of(sent(gzip.compress(b"x" * 100)[:20]), 1000)
    assert refused.value.fault.status == 400

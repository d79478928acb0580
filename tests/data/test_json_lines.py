import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from memplus.data.json_lines import read_json, read_records, texts
from memplus.errors import EmptyTextError, NotFoundError, UsageError


def first(line: Any) -> str:
    return texts(line["values"])[0]


def test_each_line_gives_a_record_and_blank_lines_give_none(tmp_path: Path) -> None:
    path = tmp_path / "lines.jsonl"
    path.write_text('{"values": ["ä", "b"]}\n\n  \n{"values": ["c"]}', encoding="utf-8")
    assert read_records(path, first, holds="values") == ["ä", "c"]


def test_only_a_line_feed_ends_a_line(tmp_path: Path) -> None:
    path = tmp_path / "lines.jsonl"
    path.write_text('{"values": ["a\u2028b\x85c"]}\r\n{"values": ["d"]}\n', encoding="utf-8")
    assert read_records(path, first, holds="values") == ["a\u2028b\x85c", "d"]


@pytest.mark.parametrize(
    "bad",
    [
        "red",
        "[]",
        "3",
        "null",
        "{}",
        *(
            json.dumps({"values": value})
            for value in ([], "text", [1], ["a", None], {"a": "b"}, None)
        ),
    ],
)
def test_a_line_that_is_something_else_is_named(tmp_path: Path, bad: str) -> None:
    path = tmp_path / "lines.jsonl"
    path.write_text(f'{{"values": ["a"]}}\n\n{bad}\n')
    with pytest.raises(UsageError, match=r"^Line 3 of .*lines\.jsonl is no JSON with values\."):
        read_records(path, first, holds="values")


def test_a_file_that_cannot_be_read_keeps_its_own_error(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        read_records(tmp_path / "absent.jsonl", first, holds="values")
    (tmp_path / "blank.jsonl").write_text("\n \n")
    with pytest.raises(EmptyTextError):
        read_records(tmp_path / "blank.jsonl", first, holds="values")


def test_a_whole_file_of_json_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.json.gz"
    path.write_bytes(gzip.compress(b'{"a": [1]}'))
    assert read_json(path) == {"a": [1]}
    path.write_bytes(gzip.compress(b"{"))
    with pytest.raises(ValueError, match="Expecting"):
        read_json(path)

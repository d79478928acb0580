import gzip
from pathlib import Path

import pytest

from memplus.data.corpus import read_texts
from memplus.errors import MemplusError, NotTextError, StorageError, TrainingError


def test_plain_gzipped_and_jsonl_files_give_their_texts(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("One.")
    (tmp_path / "b.txt.gz").write_bytes(gzip.compress(b"Two."))
    (tmp_path / "c.jsonl").write_text('{"text": "Three."}\n\n{"text": "Four."}\n')
    assert list(read_texts(sorted(tmp_path.iterdir()))) == ["One.", "Two.", "Three.", "Four."]


@pytest.mark.parametrize(
    ("name", "content", "error"),
    [
        ("a.txt", b"caf\xe9 noir", NotTextError),
        ("a.txt.gz", b"not gzip", StorageError),
        ("a.jsonl", b'{"text": "a"}\n{"title": "b"}', TrainingError),
        ("a.jsonl", b"[1]", TrainingError),
    ],
)
def test_other_files_are_named(
    tmp_path: Path, name: str, content: bytes, error: type[MemplusError]
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(error, match=name):
        list(read_texts([path]))

from __future__ import annotations

import gzip
import json
from itertools import islice
from pathlib import Path
from random import Random

import pytest
from tests.training.conftest import SENTENCES
from tokenizers import Tokenizer

from memplus.data.corpus import Corpus, read_texts
from memplus.errors import (
    EmptyTextError,
    MemplusError,
    NotTextError,
    StorageError,
    UsageError,
)


def test_texts_come_out_of_plain_gz_and_jsonl_files(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one", encoding="utf-8")
    (tmp_path / "b.txt.gz").write_bytes(gzip.compress("zwölf".encode()))
    lines = "\n".join(json.dumps({"text": text}) for text in ("two", "three"))
    (tmp_path / "c.jsonl.gz").write_bytes(gzip.compress(lines.encode()))
    paths = [tmp_path / name for name in ("a.txt", "b.txt.gz", "c.jsonl.gz")]
    assert list(read_texts(paths)) == ["one", "zwölf", "two", "three"]


@pytest.mark.parametrize(
    ("name", "content", "error"),
    [
        ("a.txt", b"caf\xe9 noir", NotTextError),
        ("a.txt.gz", b"not gzip", StorageError),
        ("a.jsonl", b'{"text": "a"}\n{"title": "b"}', UsageError),
        ("a.jsonl", b"[1]", UsageError),
    ],
)
def test_a_file_that_holds_no_texts_is_named(
    tmp_path: Path, name: str, content: bytes, error: type[MemplusError]
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(error, match=name):
        list(read_texts([path]))


@pytest.mark.parametrize("text", ["Ivan's code is 4821.", "zwölf\n\n “x” 7", "12345 a1"])
def test_the_tokenizer_gives_back_what_it_was_given(tokenizer: Tokenizer, text: str) -> None:
    assert tokenizer.decode(tokenizer.encode(text).ids) == text


def test_a_number_of_four_digits_is_two_tokens(tokenizer: Tokenizer) -> None:
    for number in (1000, 4821, 7777, 9099):
        assert len(tokenizer.encode(f" {number}").ids) == 2


def test_running_text_goes_on_in_order_and_around(tokenizer: Tokenizer) -> None:
    corpus = Corpus([SENTENCES], tokenizer, 1000)
    parts = list(islice(corpus.running(Random(0)), 2 * len(corpus)))
    text = tokenizer.decode([token for part in parts for token in part])
    assert "The road went down to the sea. Nobody had walked there" in text
    assert parts[: len(corpus)] == parts[len(corpus) :]


def test_a_text_without_sentences_is_refused(tokenizer: Tokenizer) -> None:
    with pytest.raises(EmptyTextError):
        Corpus(["no end"], tokenizer, 1000)

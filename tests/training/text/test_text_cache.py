from __future__ import annotations

import gzip
import json
import os
from pathlib import Path

import pytest
from tests.fakes import make_tokenizer

from memplus.errors import ConfigError, EmptyTextError, TrainingStartError
from memplus.training.text import text_cache as texts
from memplus.training.text.run_config import DataConfig, StreamConfig
from memplus.training.text.text_cache import load_documents, text_files, tokenizer_fingerprint

TOKENIZER = make_tokenizer()  # a token per byte


def data(folder: Path, *names: str, **options: int) -> DataConfig:
    files = tuple(str(folder / name) for name in names)
    return DataConfig(files, cache=folder / "cache", **{"min_tokens": 2} | options)


def documents_in(folder: Path, *contents: str) -> None:
    lines = "".join(json.dumps({"text": content}) + "\n" for content in contents)
    (folder / "a.jsonl").write_text(lines)


def test_documents_keep_their_borders(tmp_path: Path) -> None:
    documents_in(tmp_path, "abcdef", "ghi", "j")
    with gzip.open(tmp_path / "b.txt.gz", "wt") as file:
        file.write("klmn")
    found = load_documents(data(tmp_path, "a.jsonl", "b.txt.gz"), TOKENIZER)
    read = [found.read(i, 0, length) for i, (_, length) in enumerate(found.spans)]
    assert [TOKENIZER.decode(ids) for ids in read] == ["abcdef", "ghi", "klmn"]
    assert (found.tokens, found.longest, len(found)) == (13, 6, 3)
    assert TOKENIZER.decode(found.read(0, 2, 3)) == "cde"


def test_long_documents_are_cut_and_short_ones_left_out(tmp_path: Path) -> None:
    documents_in(tmp_path, "abcdefghij", "kl", "mnop")
    found = load_documents(data(tmp_path, "a.jsonl", min_tokens=3, max_tokens=4), TOKENIZER)
    assert [length for _, length in found.spans] == [4, 4, 4]
    assert TOKENIZER.decode(found.read(1, 0, 4)) == "efgh"
    with pytest.raises(EmptyTextError):
        load_documents(data(tmp_path, "a.jsonl", min_tokens=11, max_tokens=20), TOKENIZER)


def test_texts_are_tokenised_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    documents_in(tmp_path, "abcdef")
    reports: list[int] = []
    load_documents(data(tmp_path, "a.jsonl"), TOKENIZER, reports.append)
    assert reports == [1]
    load_documents(data(tmp_path, "a.jsonl"), TOKENIZER, reports.append)
    load_documents(data(tmp_path, "a.jsonl", max_tokens=3), TOKENIZER, reports.append)
    assert reports == [1]
    documents_in(tmp_path, "abcdeg")
    changed = load_documents(data(tmp_path, "a.jsonl"), TOKENIZER, reports.append)
    assert reports == [1, 1]
    assert TOKENIZER.decode(changed.read(0, 0, 6)) == "abcdeg"
    monkeypatch.setattr(texts, "tokenizer_fingerprint", lambda tokenizer: "another")
    load_documents(data(tmp_path, "a.jsonl"), TOKENIZER, reports.append)
    assert reports == [1, 1, 1]


def test_tokenizers_are_told_apart_by_their_rules() -> None:
    other = make_tokenizer()
    assert tokenizer_fingerprint(other) == tokenizer_fingerprint(TOKENIZER)
    other.add_tokens(["memory"])
    assert tokenizer_fingerprint(other) != tokenizer_fingerprint(TOKENIZER)


def test_an_interrupted_tokenising_leaves_no_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    documents_in(tmp_path, "abcdef")

    def fail(*given: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(texts, "save_file", fail)
        with pytest.raises(KeyboardInterrupt):
            load_documents(data(tmp_path, "a.jsonl"), TOKENIZER)
    assert os.listdir(tmp_path / "cache") == []
    assert len(load_documents(data(tmp_path, "a.jsonl"), TOKENIZER)) == 1


@pytest.mark.parametrize("kept", [0, 40, -8])
def test_a_damaged_cache_is_made_anew(tmp_path: Path, kept: int) -> None:
    documents_in(tmp_path, "abcdef")
    load_documents(data(tmp_path, "a.jsonl"), TOKENIZER)
    (cache,) = (tmp_path / "cache").iterdir()
    cache.write_bytes(cache.read_bytes()[:kept])
    found = load_documents(data(tmp_path, "a.jsonl"), TOKENIZER)
    assert TOKENIZER.decode(found.read(0, 0, 6)) == "abcdef"


def test_patterns_name_files_in_order(tmp_path: Path) -> None:
    for name in ("b.txt", "a.txt", "c.md"):
        (tmp_path / name).write_text("text")
    found = text_files([str(tmp_path / "*.txt"), str(tmp_path / "c.md")])
    assert [path.name for path in found] == ["a.txt", "b.txt", "c.md"]
    with pytest.raises(ConfigError, match=r"none\*"):
        text_files([str(tmp_path / "none*")])


def test_a_named_dataset_is_read_as_a_stream(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    rows = [json.dumps({"body": letter * 5}) for letter in "abcdef"]
    (tmp_path / "set" / "train.jsonl").write_text("\n".join(rows) + "\n")
    stream = StreamConfig(str(tmp_path / "set"), documents=3, field="body", skip=1)
    config = DataConfig(stream=stream, cache=tmp_path / "cache", min_tokens=2)
    found = load_documents(config, TOKENIZER)
    read = [TOKENIZER.decode(found.read(i, 0, 5)) for i in range(len(found))]
    assert read == ["bbbbb", "ccccc", "ddddd"]
    wrong = DataConfig(stream=StreamConfig(str(tmp_path / "set"), 2, field="text"))
    with pytest.raises(TrainingStartError, match="text"):
        load_documents(wrong, TOKENIZER)


def test_without_the_datasets_library_it_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "datasets", None)
    config = DataConfig(stream=StreamConfig("x", 1), cache=tmp_path)
    with pytest.raises(TrainingStartError, match=r"pip install datasets"):
        load_documents(config, TOKENIZER)


def test_first_documents_are_held_out(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text("".join(f'{{"text": "{c * 5}"}}\n' for c in "abcd"))
    given = {"texts": (str(tmp_path / "a.jsonl"),), "cache": tmp_path / "cache", "min_tokens": 2}
    found = load_documents(DataConfig(**given, skip=3), TOKENIZER)
    assert [TOKENIZER.decode(found.read(i, 0, 5)) for i in range(len(found))] == ["ddddd"]
    assert len(load_documents(DataConfig(**given), TOKENIZER)) == 4
    with pytest.raises(EmptyTextError):
        load_documents(DataConfig(**given, skip=4), TOKENIZER)
    with pytest.raises(ConfigError, match=r"data\.skip"):
        DataConfig(**given, skip=-1)

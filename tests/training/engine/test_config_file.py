"""The one loader of configs: what it makes, and how it names what is wrong."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Annotated

import pytest

from memplus.config import require
from memplus.errors import ConfigError, ConfigFileError, NotFoundError, StorageError
from memplus.fields import checked
from memplus.training.engine.common_config import STRICT
from memplus.training.engine.config_file import (
    config_kind,
    files_of,
    named_under,
    parse_config_text,
    part,
    parts,
    read_config_file,
)


@dataclass(frozen=True)
class Cup:
    __pydantic_config__ = STRICT

    size: int
    colour: str = "white"

    def __post_init__(self) -> None:
        require(self.size > 0, "size", self.size, "it holds nothing")


@dataclass(frozen=True)
class Shelf:
    __pydantic_config__ = STRICT

    best: Annotated[Cup, part("best", partial(checked, Cup))]
    cups: Annotated[tuple[Cup, ...], parts("cups", partial(checked, Cup))] = ()
    loose: tuple[int, ...] = field(default_factory=tuple)


GOOD = "best: {size: 3}\ncups:\n  - {size: 1}\n  - {size: 2, colour: red}\nloose: [4, 5]\n"


def test_a_file_becomes_a_checked_value(tmp_path: Path) -> None:
    (tmp_path / "shelf.yaml").write_text(GOOD)
    expected = Shelf(Cup(3), (Cup(1), Cup(2, "red")), (4, 5))
    assert read_config_file(tmp_path / "shelf.yaml", Shelf) == expected
    assert parse_config_text(GOOD, Shelf) == expected


@pytest.mark.parametrize(
    ("text", "name", "reason"),
    [
        ("best: {size: 0}", "best.size", "holds nothing"),
        ("best: {size: 1, weight: 2}", "best.weight", "no such field"),
        ("best: {colour: red}", "best.size", "missing"),
        ("best: 3", "best", "dictionary"),
        ("cups: []", "best", "missing"),
        ("best: {size: 1}\ncups: [{size: 1}, {size: 0}]", "cups.1.size", "holds nothing"),
        ("best: {size: 1}\ncups: [{size: 1}, 7]", "cups.1", "dictionary"),
        ("best: {size: 1}\ncups: 7", "cups", "list"),
        ("best: {size: 1}\nloose: [1, x]", "loose.1", "integer"),
        ("best: {size: 1}\nbest: {size: 2}", "best", "line 2 gives it again"),
        ("best: {size: 1}\n? [a, b]\n: 3", "the whole", "line 2 has it in the place of a field"),
        ("best: {size: 1, {a: b}: 3}", "the whole", "line 1 has it in the place of a field"),
        ("best: [", "the whole", "not YAML"),
        ("best: 2024-13-45", "the whole", "not YAML"),
        ("best: !!bool perhaps", "the whole", "not YAML"),
        ("best: " + "[" * 5000, "the whole", "not YAML"),
        ("1: 2\nbest: {size: 1}", "1", "keys should be strings"),
        ("only words", "the whole", "mapping"),
        ("", "the whole", "mapping"),
    ],
)
def test_what_is_wrong_is_named_by_field_and_file(
    tmp_path: Path, text: str, name: str, reason: str
) -> None:
    with pytest.raises(ConfigError, match=reason) as plain:
        parse_config_text(text, Shelf)
    assert plain.value.fields["field"] == name
    path = tmp_path / "shelf.yaml"
    path.write_text(text)
    with pytest.raises(ConfigFileError, match=reason) as caught:
        read_config_file(path, Shelf)
    assert caught.value.fields["field"] == name
    assert str(path) in caught.value.message
    assert caught.value.message.startswith(name)
    assert caught.value.exit_code == 2


def test_yaml_makes_plain_values_only() -> None:
    with pytest.raises(ConfigError, match="not YAML"):
        parse_config_text("best: !!python/object/apply:os.getcwd []", Shelf)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match=r"none\.yaml"):
        read_config_file(tmp_path / "none.yaml", Shelf)
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(StorageError, match=r"binary\.yaml"):
        read_config_file(tmp_path / "binary.yaml", Shelf)


def test_names_of_parts_come_before_names_of_fields() -> None:
    with (
        pytest.raises(ConfigError) as caught,
        named_under("tasks.2"),
        named_under("memory"),
    ):
        raise ConfigError("rows", value=1, reason="none")
    assert caught.value.fields["field"] == "tasks.2.memory.rows"


def test_a_config_says_its_kind_before_it_is_read_whole(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    for text, kind in (
        ("kind: adapter\nother: 1", "adapter"),
        ("other: 1", None),
        ("- kind", None),
        ("kind: {", None),
        ("kind: 2024-13-45", None),
        ("", None),
    ):
        path.write_text(text)
        assert config_kind(path) == kind
    with pytest.raises(NotFoundError):
        config_kind(tmp_path / "absent.yaml")


def test_a_file_whose_name_looks_like_a_pattern_is_that_file(tmp_path: Path) -> None:
    path = tmp_path / "part[1].txt"
    path.touch()
    (tmp_path / "part1.txt").touch()
    assert files_of([str(path)], "texts") == [path]


def test_patterns_lead_to_files_in_order_and_one_without_any_is_named(tmp_path: Path) -> None:
    for name in ("b.txt", "a.txt"):
        (tmp_path / name).write_text("x")
    (tmp_path / "c.txt").mkdir()
    assert files_of([str(tmp_path / "*.txt")], "texts") == [tmp_path / "a.txt", tmp_path / "b.txt"]
    with pytest.raises(ConfigError) as caught:
        files_of([str(tmp_path / "*.gz")], "texts")
    assert caught.value.fields["field"] == "texts"

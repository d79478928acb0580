"""What a bundle says of its base is checked field by field."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from tests.fakes import CONFIGS, make_model

from memplus.backbone.references import (
    BaseReference,
    computing_fields,
    first_difference,
    parse_reference,
)
from memplus.errors import ConfigError

FILE = Path("b/memplus.json")
GIVEN: dict[str, Any] = {"kind": "hub", "name": "a/b", "weights": "0f" * 32, "words": "1e" * 32}


def test_what_was_written_is_read() -> None:
    found = parse_reference(FILE, GIVEN | {"revision": "c" * 40})
    assert found == BaseReference("hub", "a/b", "0f" * 32, "1e" * 32, "c" * 40)
    assert parse_reference(FILE, asdict(found)) == found
    assert parse_reference(FILE, GIVEN | {"words": None}).words is None


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("kind", "elsewhere"),
        ("kind", ["hub"]),
        ("name", ""),
        ("name", 3),
        ("name", "a\0b"),
        ("weights", None),
        ("weights", "0F" * 32),
        ("words", "short"),
        ("revision", ""),
        ("config", ["llama"]),
    ],
)
def test_a_field_that_cannot_be_is_named_with_its_file(field: str, value: object) -> None:
    with pytest.raises(ConfigError) as refused:
        parse_reference(FILE, GIVEN | {field: value})
    assert refused.value.fields["field"] == f"{FILE}: base.{field}"


@pytest.mark.parametrize("raw", ["smollm2", ["smollm2"], GIVEN | {"path": "/a"}])
def test_what_is_no_reference_at_all_is_refused(raw: object) -> None:
    with pytest.raises(ConfigError, match="it must be an object with the fields config, kind"):
        parse_reference(FILE, raw)


def test_what_a_config_makes_of_weights_is_told_field_by_field() -> None:
    config = make_model("llama-llama3").config
    found = computing_fields(config)
    assert found["rope_parameters.factor"] == 4.0
    assert found["num_key_value_heads"] == 2
    assert first_difference(found, found) is None
    config.rope_parameters["factor"] = 8.0
    other = computing_fields(config)
    assert first_difference(found, other) == ("rope_parameters.factor", 4.0, 8.0)
    # What one of two library versions does not know, or leaves open, is no difference.
    assert first_difference(found, {"invented": 1}) is None


@pytest.mark.parametrize("name", CONFIGS)
def test_what_a_config_makes_of_weights_outlives_json(name: str) -> None:
    found = computing_fields(CONFIGS[name]())
    assert json.loads(json.dumps(found)) == found
    assert {"model_type", "num_attention_heads", "tie_word_embeddings"} <= found.keys()


def test_a_field_that_is_missing_is_named() -> None:
    with pytest.raises(ConfigError, match=r"base\.weights"):
        parse_reference(FILE, {"kind": "hub", "name": "a/b"})

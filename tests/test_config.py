"""Configs: each field's kind and bounds, and the way from plain JSON values and back."""

from __future__ import annotations

import json
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import pytest

import memplus
from memplus.config import (
    AdapterConfig,
    CounterEviction,
    MemoryConfig,
    NoEviction,
    OldestEviction,
    PromptConfig,
    SpanRetrieval,
)
from memplus.errors import ConfigError

CONFIGS = [
    MemoryConfig(),
    MemoryConfig(retrieved_tokens=0, drop="shared", first_write="tile", bos=False),
    MemoryConfig(eviction=OldestEviction(7), adapters=AdapterConfig(targets=("a", "b"))),
    MemoryConfig(eviction=CounterEviction(every=2, initial=-1.5, decay=0)),
    MemoryConfig(drop="shared", retrieval=SpanRetrieval(span_rows=32, layer=3, weighs=True)),
    MemoryConfig(drop="shared", long_term_layers="10-19"),
]


@pytest.mark.parametrize("config", CONFIGS)
def test_a_memory_config_survives_json(config: MemoryConfig) -> None:
    assert MemoryConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


def test_a_prompt_config_survives_json() -> None:
    prompt = PromptConfig(template="{question}?", stop=(".", "\n"), min_confidence=0.25)
    assert PromptConfig.from_dict(json.loads(json.dumps(asdict(prompt)))) == prompt
    assert PromptConfig.from_dict({}) == PromptConfig()


NOT_WHOLE: list[Any] = ["32", None, True, 3.0, [32], {}, float("nan")]
BAD_MEMORY: dict[str, list[Any]] = {
    "short_term_tokens": [*NOT_WHOLE, 0, -5],
    "retrieved_tokens": [*NOT_WHOLE, -1],
    "tokens_per_write": [*NOT_WHOLE, 0, 10**12],
    "chunk_tokens": [*NOT_WHOLE, 0],
    "retriever_dim": [*NOT_WHOLE, 0, 10**12],
    "retriever_layers": [*NOT_WHOLE, 0, 3],
    "retrieval": ["rows", None, [], 5],
    "eviction": ["none", None, [], 5],
    "bos": ["yes", None, 1, 0],
    "adapters": [True, "q_proj", [], 5],
    "drop": ["each", None, 1],
    "first_write": ["shrink", None, 1],
    "rows": ["int1", None, 8, [], True],
    "long_term_layers": ["", "5", "9-3", "1-2-3", "-1-4", "a-b", "10 - 19", 5, [1, 2], True],
}


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, values in BAD_MEMORY.items() for value in values]
)
def test_every_field_of_a_memory_config_is_checked(name: str, value: Any) -> None:
    with pytest.raises(ConfigError) as caught:
        MemoryConfig.from_dict({name: value})
    assert caught.value.fields["field"] == name
    with pytest.raises(ConfigError):
        replace(MemoryConfig(), **{name: value})


def test_no_field_is_left_out_of_these_tests() -> None:
    assert set(BAD_MEMORY) == {one.name for one in fields(MemoryConfig)}
    assert set(BAD_PROMPT) == {one.name for one in fields(PromptConfig)}
    assert set(BAD_ADAPTERS) == {one.name for one in fields(AdapterConfig)}


BAD_PROMPT: dict[str, list[Any]] = {
    "template": [None, 5, ["{question}"], "no place for it", "\ud800{question}"],
    "stop": [5, None, "\n", [""], [None], [1], ["\ud800"]],
    "max_new_tokens": ["a", None, True, 1.5, 0, -3],
    "abstention": [None, 5, [], "no \udfff"],
    "min_confidence": ["0.5", None, True, -0.1, 1.1, float("nan"), float("inf"), 10**400],
}


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, values in BAD_PROMPT.items() for value in values]
)
def test_every_field_of_a_prompt_config_is_checked(name: str, value: Any) -> None:
    with pytest.raises(ConfigError) as caught:
        PromptConfig.from_dict({name: value})
    assert caught.value.fields["field"] == f"prompt.{name}"


BAD_ADAPTERS: dict[str, list[Any]] = {
    "rank": ["8", None, True, 2.5, 0, 10**9],
    "alpha": ["16", None, True, 1.5, 0],
    "dropout": ["0", None, True, -0.1, 1, float("nan")],
    "targets": ["q_proj", None, [], [""], [5]],
    "reading": [None, 1, "yes"],
}


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, values in BAD_ADAPTERS.items() for value in values]
)
def test_every_field_of_an_adapter_config_is_checked(name: str, value: Any) -> None:
    with pytest.raises(ConfigError) as caught:
        MemoryConfig.from_dict({"adapters": {name: value}})
    assert caught.value.fields["field"] == f"adapters.{name}"


BAD_EVICTIONS: list[tuple[str, dict[str, Any]]] = [
    ("kind", {"kind": "youngest"}),
    ("kind", {"kind": ["none"]}),
    ("max_rows", {"kind": "none", "max_rows": 5}),
    ("max_rows", {"kind": "oldest", "max_rows": "5"}),
    ("max_rows", {"kind": "oldest", "max_rows": 0}),
    ("every", {"kind": "counter", "every": 2.0}),
    ("initial", {"kind": "counter", "initial": float("inf")}),
    ("decay", {"kind": "counter", "decay": -1}),
    ("decay", {"kind": "counter", "decay": "1"}),
]


BAD_SPANS: list[tuple[str, dict[str, Any]]] = [
    ("retrieval.kind", {"retrieval": {"kind": "books"}}),
    ("retrieval.span_rows", {"retrieval": {"kind": "rows", "span_rows": 5}}),
    ("retrieval.span_rows", {"retrieval": {"kind": "spans", "span_rows": 0}}),
    ("retrieval.layer", {"retrieval": {"kind": "spans", "layer": -1}}),
    ("drop", {"drop": "per_layer"}),
    ("first_write", {"first_write": "tile"}),
    ("short_term_tokens", {"short_term_tokens": 10_241}),
    ("retrieved_tokens", {"retrieved_tokens": 100}),
    ("tokens_per_write", {"tokens_per_write": 100}),
]


@pytest.mark.parametrize(("name", "values"), BAD_SPANS)
def test_spans_need_whole_spans_that_all_layers_drop(name: str, values: dict[str, Any]) -> None:
    with pytest.raises(ConfigError) as caught:
        MemoryConfig.from_dict({"drop": "shared", "retrieval": {"kind": "spans"}} | values)
    assert caught.value.fields["field"] == name


def test_what_digests_are_made_of_does_not_change_with_the_paper_s_retrieval() -> None:
    assert "retrieval" not in MemoryConfig().to_dict()


@pytest.mark.parametrize(("name", "rule"), BAD_EVICTIONS)
def test_every_field_of_an_eviction_rule_is_checked(name: str, rule: dict[str, Any]) -> None:
    with pytest.raises(ConfigError) as caught:
        MemoryConfig.from_dict({"eviction": rule})
    assert caught.value.fields["field"] == f"eviction.{name}"


@pytest.mark.parametrize("values", [None, [], 5, "text", [["short_term_tokens", 5]]])
def test_what_is_no_object_is_refused(values: Any) -> None:
    for kind in (MemoryConfig, PromptConfig, AdapterConfig):
        with pytest.raises(ConfigError, match="named fields"):
            kind.from_dict(values)


def test_unknown_fields_are_named() -> None:
    with pytest.raises(ConfigError, match="chunk_token cannot"):
        MemoryConfig.from_dict({"chunk_token": 5})
    with pytest.raises(ConfigError, match=r"prompt\.stops cannot"):
        PromptConfig.from_dict({"stops": []})
    with pytest.raises(ConfigError, match=r"adapters\.r cannot"):
        AdapterConfig.from_dict({"r": 5})


def test_memoryllm_is_no_long_term_memory() -> None:
    assert not MemoryConfig(retrieved_tokens=0).has_long_term
    assert MemoryConfig(eviction=NoEviction()).has_long_term


def test_the_bundled_model_declines_what_it_does_not_understand() -> None:
    assets = Path(memplus.__file__).parent / "assets"
    shipped = json.loads((assets / "nano" / "memplus.json").read_text())
    assert PromptConfig.from_dict(shipped["prompt"]).min_confidence == 0.6


def test_how_rows_are_kept_is_no_part_of_what_memory_and_model_agree_on() -> None:
    wide, narrow = MemoryConfig(), MemoryConfig(rows="int8")
    assert narrow.to_dict() == {**wide.to_dict(), "rows": "int8"}
    assert MemoryConfig.from_dict(narrow.to_dict()).rows == "int8"
    assert narrow.identifying() == wide.identifying() == wide.to_dict()
    assert narrow == wide
    assert narrow.differs(wide) == []


@pytest.mark.parametrize(
    ("name", "does"),
    [
        ("supersedes", "supersedes_spans"),
        ("neighbours", "retrieves_neighbours"),
        ("sharpens", "sharpens_spans"),
    ],
)
def test_how_spans_are_chosen_is_no_part_of_it_either(name: str, does: str) -> None:
    way = SpanRetrieval(span_rows=64, layer=2)
    plain = MemoryConfig(drop="shared", retrieval=way)
    other = replace(plain, retrieval=replace(way, **{name: True}))
    assert getattr(other, does)
    assert not getattr(plain, does)
    assert not getattr(replace(other, retrieved_tokens=0), does)
    assert name not in plain.to_dict()["retrieval"]
    assert other.to_dict()["retrieval"] == {**plain.to_dict()["retrieval"], name: True}
    assert getattr(MemoryConfig.from_dict(other.to_dict()), does)
    assert other.identifying() == plain.identifying() == plain.to_dict()
    assert other == plain
    assert other.differs(plain) == []
    with pytest.raises(ConfigError, match=rf"retrieval\.{name}"):
        SpanRetrieval(**{name: 1})


def test_the_bundled_model_keeps_its_rows_in_8_bits() -> None:
    nano = Path(memplus.__file__).parent / "assets" / "nano"
    shipped = json.loads((nano / "memplus.json").read_text())
    assert MemoryConfig.from_dict(shipped["memory"]).rows == "int8"


def test_a_prompt_is_filled_without_reading_its_braces() -> None:
    prompt = PromptConfig(template='{"q": "{question}", "n": {}}')
    assert prompt.filled("why {question}?") == '{"q": "why {question}?", "n": {}}'


def test_layers_that_retrieve_are_all_or_the_one_that_is_named() -> None:
    assert list(MemoryConfig().retrieving_layers(3)) == [0, 1, 2]
    spans = MemoryConfig(drop="shared", retrieval=SpanRetrieval(span_rows=64, layer=2))
    assert list(spans.retrieving_layers(3)) == [2]
    with pytest.raises(ConfigError, match="the model has 2 layers"):
        spans.retrieving_layers(2)


def test_a_short_write_leaves_whole_spans_of_its_share() -> None:
    rows = MemoryConfig()
    assert {rows.rows_of_write(tokens) for tokens in (1, 300, 512)} == {256}
    spans = MemoryConfig(drop="shared", retrieval=SpanRetrieval(span_rows=64, layer=2))
    found = [spans.rows_of_write(tokens) for tokens in (1, 128, 129, 500, 512, 600)]
    assert found == [64, 64, 128, 256, 256, 256]


def test_what_differs_between_two_configs_is_named_by_field() -> None:
    ours = MemoryConfig(drop="shared")
    theirs = replace(ours, chunk_tokens=256, retrieval=SpanRetrieval(span_rows=64, layer=2))
    assert ours.differs(theirs) == theirs.differs(ours) == ["chunk_tokens", "retrieval"]
    assert ours.differs(replace(ours)) == []


def test_who_reads_decides_how_much_is_retrieved_but_not_whether() -> None:
    ours, without = MemoryConfig(), MemoryConfig(retrieved_tokens=0)
    fewer = replace(ours, retrieved_tokens=256)
    assert ours.differs(fewer) == fewer.differs(ours) == []
    assert ours.retrieving_as(fewer) == fewer
    assert ours.differs(without) == without.differs(ours) == ["retrieved_tokens"]


def test_a_rule_that_goes_by_how_much_is_retrieved_ties_a_memory_to_it() -> None:
    ours = MemoryConfig(eviction=CounterEviction())
    fewer = replace(ours, retrieved_tokens=256)
    assert ours.differs(fewer) == ["retrieved_tokens"]
    plain = MemoryConfig(retrieved_tokens=256)
    assert ours.differs(plain) == plain.differs(ours) == ["retrieved_tokens", "eviction"]


def test_configs_differ_although_neither_could_retrieve_as_the_other_does() -> None:
    spans = MemoryConfig(drop="shared", retrieval=SpanRetrieval(span_rows=64, layer=2))
    rows = MemoryConfig(drop="shared", retrieved_tokens=100)
    assert spans.differs(rows) == rows.differs(spans) == ["retrieval"]

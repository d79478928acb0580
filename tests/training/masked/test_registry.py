from __future__ import annotations

from importlib import import_module

import pytest

from memplus.errors import ConfigError
from memplus.training.masked.example import ExampleKind
from memplus.training.masked.registry import KINDS, kind_from


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_is_what_it_is_called(name: str) -> None:
    module, _, attribute = KINDS[name].partition(":")
    found = getattr(import_module(module), attribute)
    assert issubclass(found, ExampleKind)
    assert found.kind == name


def test_a_kind_comes_from_its_fields_or_is_one_already() -> None:
    made = kind_from({"kind": "ret_llm", "weight": 2.0, "rows": 3})
    assert (made.weight, made.kind) == (2.0, "ret_llm")
    assert kind_from(made) is made


def test_what_is_no_kind_is_named() -> None:
    for given, name in (
        ({"kind": "nothing"}, "kind"),
        ({}, "kind"),
        ({"kind": "ret_llm", "row": 3}, "row"),
        ("ret_llm", "the whole"),
    ):
        with pytest.raises(ConfigError) as caught:
            kind_from(given)
        assert caught.value.fields["field"] == name

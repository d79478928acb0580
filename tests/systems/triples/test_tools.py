from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tests.fakes import make_mplus
from tests.systems.conftest import SHARED, SMALL
from tests.systems.options import OPTIONS_FOR

from memplus.errors import SystemWeightsError
from memplus.systems.registry import system_class
from memplus.systems.shared import Shared
from memplus.systems.triples.tools import TripleOptions, TripleTools


class Plain(TripleTools[TripleOptions]):
    """Needs an adapter, and has vectors of more layers than the tiny model has."""

    system, makes = "plain", ("make it", "make it better")
    vector_layers = 99
    answer_tokens = 8

    @classmethod
    def parts(cls, options: TripleOptions) -> tuple[str, ...]:
        return ("one",) if options.memory == "on" else ()

    def load(self) -> None:
        self.adapters.load(self.shared.mplus, "one")


def test_adapters_that_are_not_there_are_named_before_the_model_is_loaded(tmp_path: Path) -> None:
    def loaded() -> None:
        raise AssertionError("the model was loaded")

    shared = Shared(loaded)  # type: ignore[arg-type]
    with pytest.raises(
        SystemWeightsError, match="made by `make it`, then `make it better`"
    ) as caught:
        Plain(shared, TripleOptions(weights=str(tmp_path)))
    assert str(tmp_path / "one") in caught.value.fields["reason"]
    assert Plain(shared, TripleOptions(weights=str(tmp_path), memory="off")).adapters.digest == ""


@pytest.mark.parametrize("name", ["ret_llm", "memllm"])
def test_adapters_of_another_model_are_refused_as_such(name: str) -> None:
    kind, other = system_class(name), Shared(lambda: make_mplus("llama-wide-heads", config=SMALL))
    options = kind.options_type(weights=OPTIONS_FOR[name]()["weights"])
    with pytest.raises(SystemWeightsError, match="do not fit the model"):
        kind.tools_type(other, options).load()


def test_a_vector_depends_on_its_text_alone() -> None:
    tools = Plain(SHARED, TripleOptions(memory="off"))
    together = tools.embed(["gate", "harbour"])
    assert torch.equal(together[0], tools.embed(["gate"])[0])
    assert not torch.allclose(together[0], together[1])

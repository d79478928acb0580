"""From a finished model to one with a rule: what stays as it was, and what is saved."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from tests.fakes import CONFIG, make_mplus, some_ids
from tests.training.superseding.spans import SPANS, TEXT, spans_model

from memplus import Memory, MPlus
from memplus.errors import ConfigError
from memplus.memory.superseding import FEATURES
from memplus.store import MemoryStore
from memplus.systems.mplus import MPlusSystem
from memplus.systems.nothing import NothingSystem
from memplus.systems.shared import Shared
from memplus.training.superseding.runs import (
    Fitted,
    Telling,
    fit_superseding,
    with_rule,
)

TELLING = Telling(streams=8, items=2, distances=(0, 300))
RULE = torch.arange(len(FEATURES) + 1.0) / 4


@pytest.fixture(scope="module")
def fitted() -> Fitted:
    reported: list[tuple[str, int, int]] = []
    model = spans_model()
    found = fit_superseding(model, [TEXT], TELLING, lambda *given: reported.append(given))
    assert reported == [("memories told and asked", stream, 9) for stream in range(9)]
    assert model.weights.superseding is None
    return found


def test_a_rule_is_fitted_to_training_topics_and_measured_on_others(fitted: Fitted) -> None:
    told = json.loads(json.dumps(fitted.to_dict()))
    assert list(told["rule"]) == [*FEATURES, "bias"]
    assert any(told["rule"].values())
    for name in ("fitted", "cross_validated", "held_out"):
        assert 0 < told[name]["replaced"] < told[name]["pairs"]
    assert told["fitted"]["area"] >= told["cross_validated"]["area"]
    assert fitted.model.memory_config.supersedes_spans
    assert fitted.model.memory_config == SPANS  # no memory is another's for it


def test_the_same_seed_gives_the_same_rule(fitted: Fitted) -> None:
    again = fit_superseding(spans_model(), [TEXT], TELLING)
    assert again.to_dict() == fitted.to_dict()


def test_memories_of_the_model_without_a_rule_are_read_by_the_one_with_it(tmp_path: Path) -> None:
    plain = spans_model()
    memory = plain.new_memory(seed=1)
    plain.write(memory, some_ids(900).tolist(), source="told")
    memory.save(tmp_path / "memory")
    store = MemoryStore(tmp_path / "store")
    with store.create("kept", plain, seed=1) as kept:
        plain.write(kept, some_ids(900).tolist(), source="told")
    ruled = with_rule(plain, RULE)
    assert ruled.fingerprint == plain.fingerprint
    assert ruled.identity == plain.identity
    prompt = some_ids(5)
    expected = ruled(prompt, memory=memory).logits
    loaded = Memory.load(tmp_path / "memory", ruled)
    assert torch.equal(ruled(prompt, memory=loaded).logits, expected)
    with store.open("kept", ruled) as kept:
        assert torch.equal(ruled(prompt, memory=kept).logits, expected)
    # And back: what the one with a rule writes belongs to both.
    own = ruled.new_memory(seed=1)
    ruled.write(own, some_ids(900).tolist(), source="told")
    assert torch.equal(plain(prompt, memory=own).logits, plain(prompt, memory=memory).logits)


def identity_of(model: MPlus) -> dict[str, object]:
    """What decides whether two results of M+ on this model are of one system."""
    return dict(MPlusSystem(Shared(lambda: model)).identity)


def test_results_of_a_model_with_a_rule_are_told_from_those_without() -> None:
    plain = spans_model()
    ruled, other = with_rule(plain, RULE), with_rule(plain, RULE + 1)
    found = [identity_of(one) for one in (plain, ruled, other)]
    assert [one.get("superseding") for one in found] == [None, RULE.tolist(), (RULE + 1).tolist()]
    assert found[0] == {name: found[1][name] for name in found[0]}
    narrow = with_rule(plain, RULE.bfloat16())
    assert identity_of(narrow) == found[1]
    others = [
        dict(NothingSystem(Shared(partial(with_rule, plain, rule))).identity)
        for rule in (RULE, RULE + 1)
    ]
    assert others[0] == others[1], "systems that never look for spans share their results"


def test_what_cannot_have_a_rule_is_refused() -> None:
    rows = make_mplus(config=CONFIG)
    with pytest.raises(ConfigError, match="only spans"):
        fit_superseding(rows, [TEXT], TELLING)
    without = make_mplus(config=replace(SPANS, retrieved_tokens=0),
                         changes={"max_position_embeddings": 2048})  # fmt: skip
    with pytest.raises(ConfigError, match="only spans"):
        fit_superseding(without, [TEXT], TELLING)

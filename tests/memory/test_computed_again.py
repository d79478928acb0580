"""What short writes computed again from forgotten text goes with it, wherever the rows lie."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import torch
from tests.fakes import CONFIG, make_mplus, some_ids
from tests.memory.account import Account
from tests.passes.test_span_queries import SPANS
from tests.store.fakes import SMALL

from memplus import Memory, MPlus
from memplus.config import OldestEviction
from memplus.memory.computed_again import ComputedAgain, Copies
from memplus.store import MemoryStore, StoredMemory

TILED = replace(CONFIG, retrieved_tokens=0, first_write="tile", drop="shared")
WIDE = replace(SPANS, tokens_per_write=16, chunk_tokens=8)
KINDS = {
    "single": ("llama", CONFIG),
    "single, hidden vectors": ("gpt_neox", CONFIG),
    "single, no store": ("llama", replace(CONFIG, retrieved_tokens=0, drop="shared")),
    "single, tiled": ("llama", TILED),
    "single, few kept": ("llama", replace(CONFIG, eviction=OldestEviction(30), drop="shared")),
    "spans": ("llama", SPANS),
    "spans, of some layers": ("qwen2", replace(SPANS, long_term_layers="1-2")),
    "spans, of copies alone": ("llama", WIDE),
}
OLDER = "before short texts were repeated: "
"""Memories of spans from the days when short writes computed older rows again."""
KINDS |= {OLDER + kind: KINDS[kind] for kind in KINDS if "spans" in kind}
STORIES: dict[str, list[int | list[int]]] = {
    "the first of all": [3, [1], 2, 3],
    "what short ones follow": [5, 3, 2, 1, 10, 3, 10, [1]],
    "the same in a full memory": [10] * 5 + [5, 3, 2, 1, 10, 3, 10, [6]],
    "what many short ones follow": [10, 2, *[2] * 12, [2]],
    "of many, two": [2] * 12 + [[3, 6]],
    "the newest": [10, 3, 2, [3], 1],
    "the newest, then older ones": [10] * 8 + [[7, 8], 1, [1, 2, 3, 4, 5]],
    "what an almost empty memory copied": [1, 1, [2], 1, 1, [1]],
    "in turns": [3, 1, 2, [2], 1, 1, 4, [1], 1, 2, [4], 10, 1, [8]],
    "all, and the next": [3, 2, [1, 2], 1, 2, [3]],
}
"""Tokens of chunks that are written, and lists of writes that are forgotten."""


@cache
def made(kind: str) -> MPlus:
    """One model for all memories of a kind."""
    name, config = KINDS[kind]
    return make_mplus(name, config)


PLAIN = [(kind, story, False) for kind in KINDS for story in STORIES]
STORED = [(kind, story, True) for kind in KINDS for story in ("of many, two", "in turns")]


@pytest.mark.long
@pytest.mark.parametrize(("kind", "story", "stored"), [*PLAIN, *STORED])
def test_nothing_that_was_computed_again_from_what_is_forgotten_stays(
    kind: str, story: str, stored: bool, tmp_path: Path
) -> None:
    model, config = made(kind), KINDS[kind][1]
    memory: Memory = model.new_memory()
    if stored:
        memory = MemoryStore(tmp_path, limits=SMALL).create("alice", model)
    account, once = Account(model, memory, older=kind.startswith(OLDER)), False
    for step in STORIES[story]:
        if isinstance(step, int):
            account.write(min(step, config.chunk_tokens))
            continue
        lost = account.forget(step)
        assert not account.overlooked()
        if not once and "copies alone" not in kind:
            assert not lost  # that text is nobody else's
        if isinstance(memory, StoredMemory):
            memory.close()
            memory = MemoryStore(tmp_path, limits=SMALL).open("alice", model, write=True)
            account.memory = memory
            assert not account.overlooked()
        once = True
    # It goes on as a memory does.
    model.write(memory, some_ids(3, seed=99).tolist(), source="later", flush=True)
    with torch.no_grad():
        assert model(some_ids(1, 4), memory=memory).logits.isfinite().all()


@pytest.mark.parametrize("kind", ["single", "single, hidden vectors", OLDER + "spans"])
def test_copies_of_other_texts_stay(kind: str) -> None:
    model = made(kind)
    account = Account(model, model.new_memory(), older=kind.startswith(OLDER))
    for _ in range(12):
        account.write(2)
    before = account.texts()
    assert not account.forget([4])
    assert account.texts() == before - {4}


@pytest.mark.parametrize("tokens", [1, 2, 3, 5, 6])
def test_forgetting_leaves_repeated_rows_of_other_texts_as_they_are(tokens: int) -> None:
    """It takes them for copies of what is forgotten, and puts the same rows in their place."""
    model = made("spans")
    account = Account(model, model.new_memory())
    for own in (tokens, 1, tokens, 3):
        account.write(own)
    memory = account.memory
    assert memory.pool is not None
    for gone in (2, 1):
        keys = {int(b): k for b, k in zip(memory.pool.birth[0], memory.pool.columns["k"][0])}
        account.forget([gone])
        slots = memory.pool.slot_order()[0, : memory.pool.count]
        assert {int(one) for one in memory.pool.write_id[0, slots]} == {1, 2, 3, 4} - account.gone
        for slot in slots:
            before = keys[int(memory.pool.birth[0, slot])]
            assert torch.equal(memory.pool.columns["k"][0, slot], before)


def copies(span: int) -> ComputedAgain:
    """Of the second write, whose rows are those of the births 5 to 12."""
    lost = torch.tensor([False] * 5 + [True, False, True])
    return ComputedAgain({2: Copies(12, 5, lost)}, 3, span)


def test_rows_are_found_by_write_and_birth() -> None:
    again = copies(span=1)
    write_id = torch.tensor([[1, 2, 2, 2, 2], [2, 2, 3, 0, 2]])
    birth = torch.tensor([[5, 5, 6, 7, 8], [4, 13, 5, 5, 5]])
    expected = [[False, True, False, True, False], [False, False, False, False, True]]
    assert again.among(write_id, birth).tolist() == expected
    assert again.taken_out(write_id, birth).tolist() == expected


def test_rows_of_a_span_are_taken_over_in_turns_and_those_of_other_spans_stay() -> None:
    again = copies(span=4)
    write_id = torch.tensor([1] * 4 + [2] * 8)
    birth = torch.arange(1, 13)
    assert again.sources(write_id, birth).tolist() == [0, 1, 2, 3, 7, 5, 7, 7, 8, 9, 10, 11]
    assert not again.taken_out(write_id, birth).any()


def test_a_span_of_copies_alone_is_taken_out() -> None:
    again = copies(span=2)
    write_id, birth = torch.full((8,), 2), torch.arange(5, 13)
    assert again.taken_out(write_id, birth).tolist() == [True] * 2 + [False] * 6
    assert again.sources(write_id, birth).tolist() == [0, 1, 3, 3, 4, 5, 6, 7]

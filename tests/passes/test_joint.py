"""Several reads in one pass give each what it gets alone."""

from __future__ import annotations

import random
from contextlib import ExitStack
from dataclasses import replace

import pytest
import torch
from tests.fakes import (
    ADAPTERS,
    CONFIGS,
    WINDOWED,
    distance,
    eager_for,
    family,
    make_mplus,
    several,
    some_ids,
)
from tests.passes.test_span_queries import SPANS
from torch import Tensor

from memplus import Memory, MPlus
from memplus.config import SpanRetrieval
from memplus.errors import UsageError
from memplus.mplus.joint_reader import JointReader, MemoryRead
from memplus.passes.joint import ReadPiece


def alone(model: MPlus, memory: Memory | None, ids: Tensor) -> Tensor:
    """Logits [T, V] of a text by the ordinary read of one memory."""
    with torch.no_grad():
        logits = model(ids[None], memory=memory).logits
    return logits[0].float()


def texts(count: int) -> list[Tensor]:
    """Texts of different lengths."""
    return [some_ids(7 + 3 * place, seed=50 + place) for place in range(count)]


def together(model: MPlus, memories: list[Memory | None], given: list[Tensor]) -> list[Tensor]:
    """Logits after the last tokens of each text, read in one pass after the other.

    The first five tokens are the prompt, and the others follow one by one; reads join at
    different passes.
    """
    dice, reader = random.Random(3), JointReader(model.core)
    reads: list[MemoryRead] = [
        reader.begin(memory, ids[:5].tolist(), len(ids) - 5)
        for memory, ids in zip(memories, given, strict=True)
    ]
    while asking := [(read, 2) for read in reads if read.question is not None]:
        reader.find(asking)
    found: list[list[Tensor]] = [[] for _ in reads]
    while any(len(one) < len(ids) - 4 for one, ids in zip(found, given, strict=True)):
        going = [n for n, one in enumerate(found) if len(one) < len(given[n]) - 4]
        chosen = sorted(dice.sample(going, dice.randint(1, len(going))))
        pieces = []
        for number in chosen:
            done = len(found[number])
            next_one = (int(given[number][4 + done]),)
            read = reads[number]
            pieces.append(read.piece(3) if read.unread else ReadPiece(read, next_one))
        for number, logits in zip(chosen, reader.step(pieces), strict=True):
            if logits is not None:
                found[number].append(logits)
    return [torch.stack(one) for one in found]


def one_by_one(model: MPlus, memory: Memory | None, ids: Tensor) -> Tensor:
    """Logits after the prompt and after each token that follows it, as generating reads them."""
    with ExitStack() as stack:
        stack.enter_context(torch.no_grad())
        if memory is None:  # the stock model answers
            stack.enter_context(model.backbone.adapters.bypassed())
        output = model(ids[None, :5], memory=memory, use_cache=True)
        found = [output.logits[0, -1]]
        for token in ids[5:]:
            cache = output.past_key_values
            output = model(token[None, None], memory=memory, past_key_values=cache)
            found.append(output.logits[0, -1])
    return torch.stack(found)


def check(model: MPlus, memories: list[Memory | None]) -> None:
    given = texts(len(memories))
    for memory, ids, logits in zip(memories, given, together(model, memories, given), strict=True):
        assert distance(logits, one_by_one(model, memory, ids)) < 2e-4


STEADY = [name for name in CONFIGS if name != "phi3-longrope-long"]


@pytest.mark.long
@pytest.mark.parametrize("name", STEADY)
def test_every_family_reads_its_memories_together(name: str) -> None:
    model = family(name)
    check(model, [*several(model), None])


@pytest.mark.long
@pytest.mark.parametrize("name", WINDOWED)
def test_a_window_is_of_the_text_of_each_read(name: str) -> None:
    model = make_mplus(name, attention=eager_for(name), changes=WINDOWED[name])
    check(model, [*several(model)[:4], None])


def test_reads_of_different_frequencies_stay_apart() -> None:
    model = family("phi3-longrope-long")
    long = several(model)[3:]
    assert all(model.core.prefix_length(memory) > 16 for memory in long)
    check(model, [None, *long])


def test_a_text_that_would_outgrow_its_frequencies_is_refused() -> None:
    model = family("phi3-longrope-long")
    with pytest.raises(UsageError, match="grow past 16"):
        JointReader(model.core).begin(None, some_ids(9).tolist(), 9)
    assert JointReader(model.core).begin(None, some_ids(9).tolist(), 7)


@pytest.mark.long
@pytest.mark.parametrize("weighs", [False, True])
@pytest.mark.parametrize("name", ["llama", "gemma3", "qwen3"])
def test_spans_are_read_together(name: str, weighs: bool) -> None:
    spans = replace(SPANS, retrieval=SpanRetrieval(span_rows=4, layer=2, weighs=weighs))
    model = make_mplus(name, replace(spans, adapters=ADAPTERS))
    memories = several(model)
    assert sum(one.long_term_rows > 0 for one in memories) >= 3
    assert sum(bool(one.tail) for one in memories) >= 3
    check(model, [*memories, None])


@pytest.mark.long
def test_a_long_text_makes_room_for_itself() -> None:
    model = make_mplus(config=SPANS)
    reader, memory, ids = JointReader(model.core), several(model)[4], some_ids(190)
    read = reader.begin(memory, ids[:5].tolist(), 185)
    reader.find([(read, 99)])
    logits = [reader.step([read.piece(99)])[0]]
    logits += [reader.step([ReadPiece(read, (int(one),))])[0] for one in ids[5:]]
    found = torch.stack([one for one in logits if one is not None])
    assert distance(found, one_by_one(model, memory, ids)) < 2e-4


@pytest.mark.long
def test_eager_attention_reads_together() -> None:
    model = make_mplus("llama", attention="eager")
    check(model, [*several(model), None])


def test_a_pass_that_failed_leaves_no_trace_in_a_read() -> None:
    model = family("llama")
    reader, ids = JointReader(model.core), some_ids(6)
    read = reader.begin(several(model)[4], ids.tolist(), 4)
    expected = reader.step([read.piece(9)])[0]
    again = reader.begin(several(model)[4], ids.tolist(), 4)
    bad = reader.begin(None, [1, 2], 4)
    with pytest.raises(IndexError):
        reader.step([again.piece(9), ReadPiece(bad, (1 << 20,))])
    found = reader.step([again.piece(9)])[0]
    assert expected is not None
    assert found is not None
    assert torch.equal(found, expected)


def test_other_texts_are_no_neighbours() -> None:
    model = family("llama")
    memory = several(model)[4]
    expected = alone(model, memory, some_ids(6))[-1]
    reader = JointReader(model.core)
    reads = [reader.begin(memory, some_ids(6, seed=seed).tolist(), 1) for seed in (0, 1, 2)]
    found = reader.step([read.piece(9) for read in reads])
    assert found[0] is not None
    assert distance(found[0], expected) < 1e-4

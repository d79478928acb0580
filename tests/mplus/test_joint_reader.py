"""Reads that begin and end when they like: what they see, and what they refuse."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from tests.fakes import ADAPTERS, CONFIG, make_mplus, several, some_ids

from memplus import Memory, MPlus
from memplus.errors import ConfigError, MemoryMismatchError, PositionsError, UsageError
from memplus.mplus.joint_reader import JointReader, MemoryRead
from memplus.passes.joint import ReadPiece

PROMPT = some_ids(7, seed=3).tolist()


def told(model: MPlus, tokens: int = 80) -> Memory:
    memory = model.new_memory()
    model.write(memory, some_ids(tokens, seed=9).tolist(), source="a")
    return memory


def greedy(reader: JointReader, memory: Memory | None, count: int, most: int = 99) -> list[int]:
    """Tokens of one answer by the joint reader, alone."""
    read = reader.begin(memory, PROMPT, count)
    found: list[int] = []
    while len(found) < count:
        piece = read.piece(most) if read.unread else ReadPiece(read, (found[-1],))
        logits = reader.step([piece])[0]
        if logits is not None:
            found.append(int(logits.argmax()))
    return found


def generated(model: MPlus, memory: Memory | None, count: int) -> list[int]:
    ids = torch.tensor([PROMPT])
    output = model.generate(ids, memory, max_new_tokens=count, eos_token_id=None)
    return [int(token) for token in output[0, len(PROMPT) :]]


def stock_tokens(model: MPlus, count: int) -> list[int]:
    ids = torch.tensor([PROMPT])
    with model.backbone.adapters.bypassed():
        output = model.generate(ids, None, max_new_tokens=count, eos_token_id=None)
    return [int(token) for token in output[0, len(PROMPT) :]]


def stepped(
    reader: JointReader,
    reads: dict[Memory | None, MemoryRead],
    found: dict[Memory | None, list[int]] | None,
) -> dict[Memory | None, torch.Tensor]:
    """One pass over all reads: their prompts, or the last token of each."""
    pieces = [
        read.piece(99) if found is None else ReadPiece(read, (found[one][-1],))
        for one, read in reads.items()
    ]
    return {
        one: row for one, row in zip(reads, reader.step(pieces), strict=True) if row is not None
    }


def test_greedy_answers_are_those_of_generate() -> None:
    model = make_mplus()
    reader = JointReader(model.core)
    for memory in several(model):
        assert greedy(reader, memory, 12) == generated(model, memory, 12)


def test_without_a_memory_the_stock_model_answers() -> None:
    """The read adapter has learned to read memories, and to say where they hold nothing."""
    model = make_mplus(config=replace(CONFIG, adapters=ADAPTERS))
    reader, memory = JointReader(model.core), told(model)
    stock = stock_tokens(model, 12)
    assert stock != generated(model, None, 12)
    assert greedy(reader, None, 12) == stock
    expected = {None: stock, memory: generated(model, memory, 12)}
    reads = {one: reader.begin(one, PROMPT, 12) for one in expected}
    found = {one: [int(row.argmax())] for one, row in stepped(reader, reads, None).items()}
    for _ in range(11):
        for one, row in stepped(reader, reads, found).items():
            found[one].append(int(row.argmax()))
    assert found == expected


def test_a_read_sees_the_memory_as_it_was_when_it_began() -> None:
    model = make_mplus()
    memory = told(model)
    expected = generated(model, memory, 12)
    reader = JointReader(model.core)
    read = reader.begin(memory, PROMPT, 12)
    found: list[int] = []
    while len(found) < 12:
        model.write(memory, some_ids(23, seed=len(found)).tolist(), source="b")
        greedy(reader, memory, 1)  # another read of it, which turns the keys of its new state
        piece = read.piece(99) if read.unread else ReadPiece(read, (found[-1],))
        logits = reader.step([piece])[0]
        assert logits is not None
        found.append(int(logits.argmax()))
    assert found == expected
    assert greedy(reader, memory, 12) == generated(model, memory, 12) != expected


def test_a_prompt_may_be_read_in_pieces() -> None:
    model = make_mplus()
    memory = model.new_memory()
    model.write(memory, some_ids(20, seed=1).tolist())  # nothing in the long-term memory yet
    reader = JointReader(model.core)
    assert greedy(reader, memory, 8, most=2) == generated(model, memory, 8)
    assert greedy(reader, None, 8, most=2) == generated(model, None, 8)


def test_rows_are_retrieved_by_the_whole_prompt() -> None:
    model = make_mplus()
    read = JointReader(model.core).begin(told(model), PROMPT, 8)
    assert len(read.piece(2).ids) == len(read.prompt)


@pytest.mark.parametrize("asking", [1, 3])
def test_the_last_tokens_may_ask_alone(asking: int) -> None:
    model = make_mplus()
    memory = told(model, 160)
    ids = torch.tensor([PROMPT])
    output = model.generate(ids, memory, max_new_tokens=1, asking_tokens=asking)
    reader = JointReader(model.core)
    read = reader.begin(memory, PROMPT, 1, asking=asking)
    logits = reader.step([read.piece(99)])[0]
    assert logits is not None
    assert int(logits.argmax()) == int(output[0, -1])


def test_what_does_not_fit_is_refused() -> None:
    model = make_mplus()
    memory = told(model)
    reader = JointReader(model.core)
    with pytest.raises(PositionsError):
        reader.begin(memory, PROMPT, 256)
    with pytest.raises(UsageError, match="no token"):
        reader.begin(memory, [], 4)
    with pytest.raises(UsageError, match="token ids"):
        reader.begin(memory, [260], 4)
    with pytest.raises(ConfigError):
        reader.begin(memory, PROMPT, 0)
    with pytest.raises(ConfigError):
        reader.begin(memory, PROMPT, 4, asking=0)
    with pytest.raises(MemoryMismatchError):
        reader.begin(told(make_mplus(seed=4)), PROMPT, 4)


@pytest.mark.parametrize("most", [2, 99])
def test_evidence_is_that_of_ask(most: int) -> None:
    model = make_mplus()
    reader = JointReader(model.core)
    for memory in several(model):
        question = "where is it?"
        answer = model.ask(memory, question, max_new_tokens=2)
        read = reader.begin(memory, model.asker.encode(question), 2, watch=True)
        while read.unread:
            reader.step([read.piece(most)])
        assert read.watched is not None
        assert read.watched.sharpest(0) == pytest.approx(answer.confidence, abs=1e-5)
        found = reader.evidence(read, memory)
        assert [one.write_id for one in found] == [one.write_id for one in answer.evidence]
        for one, expected in zip(found, answer.evidence, strict=True):
            assert one.share == pytest.approx(expected.share, abs=1e-4)
            assert one.text == expected.text

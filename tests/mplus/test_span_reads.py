"""Reads of memories of spans in every way that a read is made: turns, drafts, beams, questions."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from tests.fakes import ADAPTERS, CONFIG, LAYERS, distance, make_model, make_mplus, some_ids
from tests.mplus.test_span_memories import told
from tests.passes.test_span_queries import SPANS, TOLERANCE

from memplus import MPlus
from memplus.config import MemoryConfig
from memplus.errors import PositionsError
from memplus.mplus import reader as reading

QUESTIONS = ["Who?", "What is it that was told?", "Where did they go, and why?"]


@pytest.fixture(scope="module")
def model() -> MPlus:
    return make_mplus(config=SPANS)


def test_a_later_turn_goes_on_with_the_spans_of_the_first(model: MPlus) -> None:
    memory = told(model, model.new_memory(seed=1))
    prompt, more = some_ids(2, seed=4), some_ids(20, seed=4)
    with torch.no_grad():
        first = model(prompt, memory=memory)
        second = model(more, memory=memory, past_key_values=first.past_key_values).logits
        whole = torch.cat([prompt, more])
        prefix = model.asker.reader.prefill(prompt[None], memory)
        again = model.asker.reader.prefill(whole[None], memory)
    assert not torch.equal(prefix.retrieved[0, 0], again.retrieved[0, 0])
    slow = memory.fork()
    assert slow.long_term is not None
    assert memory.long_term is not None
    chosen = prefix.retrieved[0, 0]
    keep = torch.zeros(len(slow.long_term.tables[0]), dtype=torch.bool)
    keep[chosen] = True
    for table in slow.long_term.tables:
        table.keep(keep)
    with torch.no_grad():  # the memory that holds the first turn's spans alone
        expected = model(whole, memory=slow).logits
    assert distance(second, expected[:, 2:]) <= TOLERANCE


def test_generated_text_is_the_same_with_drafts_and_without(model: MPlus) -> None:
    memory = told(model, model.new_memory(seed=1))
    prompt = some_ids(6, seed=5).repeat(3)
    plain = model.generate(prompt, memory=memory, max_new_tokens=12)
    drafts = model.generate(prompt, memory=memory, max_new_tokens=12, prompt_lookup_num_tokens=3)
    assert torch.equal(plain, drafts)


def test_questions_asked_together_get_the_answers_of_single_ones(model: MPlus) -> None:
    memories = [told(model, model.new_memory(seed=n), (70, 3, 20 + n)) for n in range(3)]
    for given in (memories[0], memories):
        together = model.ask(given, QUESTIONS, max_new_tokens=4)
        for row, question in enumerate(QUESTIONS):
            own = given[row] if isinstance(given, list) else given
            alone = model.ask(own, question, max_new_tokens=4)
            assert together[row].text == alone.text
            assert together[row].confidence == pytest.approx(alone.confidence, abs=1e-4)
            found, expected = (
                {(e.write_id, e.start): (e.tokens, e.share, e.score) for e in one.evidence}
                for one in (together[row], alone)
            )
            assert found.keys() == expected.keys()
            for place, numbers in found.items():
                assert numbers == pytest.approx(expected[place], abs=1e-4)


def test_reads_in_inference_mode_leave_nothing_that_a_later_one_cannot_use(model: MPlus) -> None:
    memory = told(model, model.new_memory(seed=1))
    prompt = some_ids(5)
    with torch.inference_mode():
        first = model(prompt, memory=memory).logits
    assert distance(model(prompt, memory=memory).logits, first) <= TOLERANCE
    with torch.inference_mode():
        assert model.ask(memory, "Who?", max_new_tokens=2).text == (
            model.ask(memory, "Who?", max_new_tokens=2).text
        )


def test_a_loss_reaches_the_reader_through_spans() -> None:
    learning = make_mplus(config=replace(SPANS, adapters=ADAPTERS))
    memory = told(learning, learning.new_memory(seed=1))
    ids = some_ids(1, 7)
    learning(ids, memory=memory, labels=ids).loss.backward()
    reader = [w for n, w in learning.model.named_parameters() if "lora_B.decoder_adapter" in n]
    assert reader
    assert all(w.grad is not None and bool(w.grad.any()) for w in reader)
    assert learning.weights.retriever is not None
    assert all(w.grad is None for w in learning.weights.retriever.parameters())


def test_a_prompt_without_room_is_refused_before_anything_is_asked(
    model: MPlus, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = told(model, model.new_memory(seed=1))

    def never(*given: object) -> None:
        raise AssertionError("it asked")

    monkeypatch.setattr(reading, "span_queries", never)
    for ask in (
        lambda: model(some_ids(300), memory=memory),
        lambda: model.generate(some_ids(200), memory=memory, max_new_tokens=90),
    ):
        with pytest.raises(PositionsError):
            ask()
    empty = model.new_memory()  # nothing is stored that could be asked for
    assert model(some_ids(5), memory=empty).logits.shape[1] == 5


def test_the_stock_model_is_read_as_ever_without_a_memory(model: MPlus) -> None:
    stock = make_model("llama")
    ids = some_ids(1, 6)
    assert distance(model(ids).logits, stock(ids).logits) <= TOLERANCE


def test_rows_that_are_not_yet_written_stand_after_the_spans(model: MPlus) -> None:
    memory = told(model, model.new_memory(seed=1))
    chunk = some_ids(8, seed=6)
    with torch.no_grad():
        new = model.compress(memory, chunk)
        found = model(some_ids(4), memory=memory, new_rows=new).logits
    assert new.shape[:2] == (LAYERS, 8)
    assert bool(found.isfinite().all())
    assert not torch.allclose(found, model(some_ids(4), memory=memory).logits)


@pytest.mark.parametrize("config", [CONFIG, SPANS])
def test_memories_are_read_under_autocast(config: MemoryConfig) -> None:
    model = make_mplus(config=config)
    memory = told(model, model.new_memory(seed=1))
    usual = model.ask(memory, QUESTIONS, max_new_tokens=2)
    spans = model.retrieve(memory, QUESTIONS[0])
    with torch.autocast("cpu", torch.bfloat16):
        cast = model.ask(memory, QUESTIONS, max_new_tokens=2)
        found = model.retrieve(memory, QUESTIONS[0])
    assert [a.confidence for a in cast] == pytest.approx([a.confidence for a in usual], abs=0.02)
    assert found[0].write_id == spans[0].write_id

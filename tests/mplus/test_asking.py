"""Answers and their evidence: attention as measured by the stock model itself."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from tests.fakes import CONFIG, make_model, make_mplus, make_tokenizer, slow_pass, some_ids
from tests.mplus.test_writer import assert_equal, contents
from torch import Tensor

from memplus import Memory, MPlus
from memplus.config import PromptConfig
from memplus.errors import ConfigError, EmptyTextError, PositionsError, UsageError
from memplus.mplus.evidence import Watch


def test_evidence_is_the_attention_beyond_the_idle_one_as_the_stock_model_pays_it() -> None:
    model = make_mplus()
    memory = model.new_memory()
    rows = [model.weights.bos_embedding.detach()]  # type: ignore[union-attr]
    for seed, source in enumerate(("a", "b", "c")):
        chunk = some_ids(10, seed=seed)
        with torch.no_grad():
            rows.append(model.compress(memory, chunk))
        model.write(memory, chunk.tolist(), source=source)
    question = "Where?"

    answer = model.ask(memory, question, max_new_tokens=1)

    stock = make_model(attention="eager")
    weights: list[Tensor] = []
    for layer in stock.get_decoder().layers:
        layer.self_attn.register_forward_hook(lambda m, a, out: weights.append(out[1][0]))
    prompt = torch.tensor(model.encode(model.prompt.template.format(question=question)))
    slow_pass(stock, torch.cat(rows, dim=1), prompt)
    paid, most = torch.zeros(3), torch.zeros(())
    for layer_weights in weights:
        prefix = layer_weights[:, :, :19]
        prefix = prefix / prefix.sum(dim=2, keepdim=True)
        # What the prompt's first token pays is paid whatever is asked.
        beyond = (prefix[:, -1] - prefix[:, 19]).clamp(min=0)
        by_head = beyond[:, 1:].view(-1, 3, 6).sum(dim=2)
        paid, most = paid + by_head.pow(4).sum(dim=0), torch.maximum(most, by_head.max())
    shares = {item.write_id: item.share for item in answer.evidence}
    expected = (paid / paid.sum()).tolist()
    assert [shares[i] for i in (1, 2, 3)] == pytest.approx(expected, abs=1e-4)
    assert answer.confidence == pytest.approx(float(most), abs=1e-4)
    found = [item.share for item in answer.evidence]
    assert found == sorted(found, reverse=True)
    places = {item.write_id: (item.source, item.start, item.tokens) for item in answer.evidence}
    assert places == {1: ("a", 0, 10), 2: ("b", 0, 10), 3: ("c", 0, 10)}


def test_text_that_waits_to_be_written_is_evidence_too() -> None:
    model = make_mplus()
    memory = model.new_memory()
    chunk, waiting = some_ids(10, seed=1), some_ids(4, seed=2)
    with torch.no_grad():
        rows = [model.weights.bos_embedding.detach(), model.compress(memory, chunk)]  # type: ignore[union-attr]
    model.write(memory, torch.cat([chunk, waiting]).tolist(), source="a")
    assert len(memory.tail) == 4

    answer = model.ask(memory, "Where?", max_new_tokens=1)

    stock = make_model(attention="eager")
    weights: list[Tensor] = []
    for layer in stock.get_decoder().layers:
        layer.self_attn.register_forward_hook(lambda m, a, out: weights.append(out[1][0]))
    question = torch.tensor(model.encode(model.prompt.template.format(question="Where?")))
    slow_pass(stock, torch.cat(rows, dim=1), torch.cat([waiting, question]))
    paid, most = torch.zeros(2), torch.zeros(())
    for layer_weights in weights:
        seen = layer_weights[:, :, :11]  # bos, six rows and four tokens
        seen = seen / seen.sum(dim=2, keepdim=True)
        beyond = (seen[:, -1] - seen[:, 11]).clamp(min=0)
        both = torch.stack([beyond[:, 1:7].sum(dim=1), beyond[:, 7:].sum(dim=1)], dim=1)
        paid, most = paid + both.pow(4).sum(dim=0), torch.maximum(most, both.max())
    found = {item.write_id: item for item in answer.evidence}
    assert [found[i].share for i in (1, None)] == pytest.approx(
        (paid / paid.sum()).tolist(), abs=1e-4
    )
    assert answer.confidence == pytest.approx(float(most), abs=1e-4)
    tail = found[None]
    assert (tail.source, tail.start, tail.tokens) == ("a", 10, 4)
    assert tail.text == model.decode(waiting.tolist())


@pytest.mark.parametrize("tokens", [0, 7, 26, 95])
def test_an_answer_is_the_greedy_text_cut_at_the_stop(tokens: int) -> None:
    model = make_mplus()
    memory = model.new_memory()
    if tokens:
        model.write(memory, some_ids(tokens).tolist())
    before = contents(memory)
    answer = model.ask(memory, "  Who came?\n", max_new_tokens=8)
    assert_equal(contents(memory), before)

    prompt = torch.tensor(model.encode("Question: Who came?\nAnswer:"))
    ids = model.generate(prompt, memory=memory, max_new_tokens=8)[0, len(prompt) :]
    text = model.tokenizer.decode(ids.tolist(), skip_special_tokens=True)
    assert answer.text == text.split("\n")[0].strip() or "\n" in text
    assert str(answer) == answer.text
    assert "\n" not in answer.text
    assert sum(item.share for item in answer.evidence) <= 1 + 1e-5
    assert all(0 < item.share <= 1 for item in answer.evidence)
    assert bool(answer.evidence) == (tokens > 0)
    assert answer.seconds > 0


def test_long_term_rows_count_as_evidence() -> None:
    model = make_mplus()
    memory = model.new_memory()
    for seed in range(12):
        model.write(memory, some_ids(10, seed=seed).tolist(), source=f"text {seed}")
    answer = model.ask(memory, "Which?", max_new_tokens=3)
    assert memory.pool is not None
    assert len(answer.evidence) == 5
    for item in answer.evidence:
        record = memory.writes[item.write_id - 1]
        assert (record.id, record.source, record.start, record.tokens) == (
            item.write_id, item.source, item.start, item.tokens,
        )  # fmt: skip


def test_the_template_is_the_models_own_and_braces_are_plain_text() -> None:
    prompt = PromptConfig(template='{"q": "{question}"} {x}', stop=("}",), max_new_tokens=3)
    model = MPlus.from_backbone(make_model(), CONFIG, tokenizer=make_tokenizer(), prompt=prompt)
    memory = model.new_memory()
    seen: list[Tensor] = []
    model.backbone.decoder.register_forward_pre_hook(
        lambda m, a, k: seen.append(k.get("input_ids", a[0] if a else None)), with_kwargs=True
    )
    answer = model.ask(memory, "{what}?")
    assert model.tokenizer.decode(seen[0][0].tolist()) == '{"q": "{what}?"} {x}'
    assert "}" not in answer.text


def test_questions_that_cannot_be_asked() -> None:
    model = make_mplus(changes={"max_position_embeddings": 70})
    memory = model.new_memory()
    with pytest.raises(EmptyTextError, match="question"):
        model.ask(memory, "   ")
    with pytest.raises(PositionsError):
        model.ask(memory, "long " * 20)


def test_an_answer_without_enough_confidence_is_withheld() -> None:
    model = make_mplus()
    memory = model.new_memory()
    model.write(memory, some_ids(40).tolist(), source="a", flush=True)
    given = model.ask(memory, "Which?", max_new_tokens=3)
    assert 0 < given.confidence < 1
    assert given.withheld == ""
    sure = model.ask(memory, "Which?", max_new_tokens=3, min_confidence=given.confidence)
    assert (sure.text, sure.withheld) == (given.text, "")
    unsure = model.ask(
        memory, "Which?", max_new_tokens=3, min_confidence=min(1.0, given.confidence + 1e-3)
    )
    assert (unsure.text, unsure.withheld) == (model.prompt.abstention, given.text)
    assert unsure.evidence == given.evidence
    with pytest.raises(ConfigError, match="min_confidence"):
        model.ask(memory, "Which?", min_confidence=2.0)


def test_nothing_is_known_with_confidence_by_an_empty_memory() -> None:
    model = make_mplus()
    answer = model.ask(model.new_memory(), "Which?", max_new_tokens=3, min_confidence=0.1)
    assert (answer.confidence, answer.text) == (0.0, model.prompt.abstention)


def test_questions_put_together_are_answered_as_each_by_itself() -> None:
    model = make_mplus()
    memory = model.new_memory(seed=1)
    model.write(memory, some_ids(93, seed=4).tolist(), source="text")
    assert memory.long_term_rows
    assert memory.tail
    questions = ["Where?", "What is it that was told a while ago?", "Who was it?"]
    together = model.asker.ask_together(memory, questions, 6)
    for row, question in enumerate(questions):
        alone = model.ask(memory, question, max_new_tokens=6)
        assert together.texts[row] == alone.text
        assert together.texts[row] in together.generated[row]
        called = model.retrieve(memory, question)
        found = {}
        for layer in range(4):
            assert memory.long_term is not None
            ids = memory.long_term.books(layer)["write_id"][together.prefix.retrieved[row, layer]]
            for write in ids.tolist():
                found[write] = found.get(write, 0) + 1
        assert found == {one.write_id: one.rows for one in called}


def test_what_is_generated_is_kept_whole_beside_the_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    model = make_mplus()
    model.prompt = PromptConfig(stop=("|",))
    monkeypatch.setattr(model.tokenizer, "batch_decode", lambda ids, **named: [" one | two"])
    made = model.asker.ask_together(model.new_memory(), ["Where?"], 3)
    assert made.texts == ["one"]
    assert made.generated == [" one | two"]


def told(seed: int, tokens: int) -> tuple[MPlus, Memory]:
    model = make_mplus()
    memory = model.new_memory(seed=seed)
    model.write(memory, some_ids(tokens, seed=seed).tolist(), source=f"text {seed}")
    return model, memory


@pytest.mark.parametrize("tokens", [26, 93])
def test_a_list_of_questions_gives_the_answers_of_each_by_itself(tokens: int) -> None:
    model, memory = told(1, tokens)
    questions = ["Where?", "What is it that was told a while ago?", "Who was it?"]
    together = model.ask(memory, questions, max_new_tokens=5)
    for question, answer in zip(questions, together, strict=True):
        alone = model.ask(memory, question, max_new_tokens=5)
        assert answer.text == alone.text
        assert answer.confidence == pytest.approx(alone.confidence, abs=1e-4)
        ids = [one.write_id for one in alone.evidence]
        assert [one.write_id for one in answer.evidence] == ids
        shares = [one.share for one in alone.evidence]
        assert [one.share for one in answer.evidence] == pytest.approx(shares, abs=1e-3)


def test_memories_are_asked_side_by_side() -> None:
    model, first = told(1, 93)
    second, third = model.new_memory(seed=5), model.new_memory()
    model.write(second, some_ids(44, seed=7).tolist(), source="other")
    memories, questions = [first, second, third], ["Where?", "Who is it then?", "What?"]
    together = model.ask(memories, questions, max_new_tokens=4)
    for memory, question, answer in zip(memories, questions, together, strict=True):
        alone = model.ask(memory, question, max_new_tokens=4)
        assert answer.text == alone.text
        assert answer.confidence == pytest.approx(alone.confidence, abs=1e-4)
        assert [one.source for one in answer.evidence] == [one.source for one in alone.evidence]
    with pytest.raises(UsageError, match="2 memories were given for 3 questions"):
        model.ask([first, second], questions)


def test_more_questions_than_fit_one_batch_are_all_answered() -> None:
    model, memory = told(2, 30)
    questions = [f"Question number {number}?" for number in range(35)]
    answers = model.ask(memory, questions, max_new_tokens=2)
    assert len(answers) == 35
    for number in (0, 31, 32, 34):
        assert answers[number].text == model.ask(memory, questions[number], max_new_tokens=2).text


def test_what_was_seen_of_each_question_is_shown_in_their_order() -> None:
    model, memory = told(2, 30)
    seen: list[tuple[Watch, int]] = []
    questions = [f"Question number {number}?" for number in range(35)]
    answers = model.asker.ask(
        memory, questions, max_new_tokens=1, watched=lambda watch, row: seen.append((watch, row))
    )
    assert [row for _, row in seen] == [*range(32), *range(3)]
    assert [watch.sharpest(row) for watch, row in seen] == [one.confidence for one in answers]


def test_a_streamed_answer_is_the_answer_in_pieces() -> None:
    model, memory = told(3, 60)
    pieces: list[str] = []
    answer = model.ask(memory, "Where?", max_new_tokens=12, stream=pieces.append)
    assert "".join(pieces) == answer.text == model.ask(memory, "Where?", max_new_tokens=12).text
    assert len(pieces) > 1
    assert all(pieces)
    with pytest.raises(UsageError, match="single question"):
        model.ask(memory, ["Where?", "Who?"], stream=pieces.append)  # type: ignore[call-overload]


def test_nothing_behind_a_stop_is_streamed() -> None:
    model, memory = told(3, 60)
    whole = model.ask(memory, "Where?", max_new_tokens=12).text
    stop = whole[len(whole) // 2 :][:3]
    model.prompt = PromptConfig(stop=(stop,))
    pieces: list[str] = []
    answer = model.ask(memory, "Where?", max_new_tokens=12, stream=pieces.append)
    assert answer.text == whole.partition(stop)[0].strip()
    assert "".join(pieces) == answer.text


def test_a_withheld_answer_is_never_streamed() -> None:
    model, memory = told(3, 60)
    pieces: list[str] = []
    answer = model.ask(memory, "Where?", min_confidence=1.0, stream=pieces.append)
    assert answer.withheld
    assert pieces == [model.prompt.abstention]


def test_the_models_own_threshold_is_the_default() -> None:
    model, memory = told(3, 60)
    sure = model.ask(memory, "Where?", max_new_tokens=3).confidence
    model.prompt = replace(model.prompt, min_confidence=min(1.0, sure + 1e-3))
    assert model.ask(memory, "Where?", max_new_tokens=3).text == model.prompt.abstention
    assert model.ask(memory, "Where?", max_new_tokens=3, min_confidence=0.0).withheld == ""


def test_rows_that_came_with_the_model_are_no_evidence() -> None:
    model = MPlus.from_pretrained("nano")
    memory = model.new_memory()
    assert memory.short_term_rows
    model.write(memory, "Marta Velez's locker code is 4821.", source="notes.txt")
    answer = model.ask(memory, "What is Marta Velez's locker code?")
    assert answer.text == "4821"
    assert [one.source for one in answer.evidence] == ["notes.txt"]


@pytest.mark.parametrize("question", [5, None, b"Where?", ["Where?", 5]])
def test_what_is_no_question_is_refused(question: object) -> None:
    model, memory = told(1, 20)
    with pytest.raises(UsageError, match="question"):
        model.ask(memory, question)  # type: ignore[call-overload]


@pytest.mark.parametrize("memories", [None, 5, "a.memory", [None], ["a.memory"]])
def test_what_is_no_memory_is_not_asked(memories: object) -> None:
    model, _ = told(1, 20)
    with pytest.raises(UsageError, match="memory"):
        model.ask(memories, ["Where?"])  # type: ignore[call-overload]


@pytest.mark.parametrize("name", ["phi3-longrope-short", "llama-dynamic"])
def test_frequencies_that_depend_on_the_length_are_those_of_a_question_alone(name: str) -> None:
    model = make_mplus(name)
    memories = [model.new_memory() for _ in range(4)]
    for memory, length in zip(memories, (4, 60, 33, 4), strict=True):
        model.write(memory, some_ids(length, seed=length).tolist())
    questions = ["hi", "What is it that was told?", "who", "hi"]
    alone = [
        model.ask(memory, question, max_new_tokens=3)
        for memory, question in zip(memories, questions, strict=True)
    ]
    together = model.ask(memories, questions, max_new_tokens=3)
    assert [one.text for one in together] == [one.text for one in alone]
    for found, expected in zip(together, alone, strict=True):
        assert found.confidence == pytest.approx(expected.confidence, abs=2e-5)


def test_a_stream_does_not_write_what_is_being_read() -> None:
    model, memory = told(2, 30)
    usual = model.ask(memory, "Where?", max_new_tokens=6).text

    def nested(piece: str) -> None:
        model.ask(memory, "Who?", max_new_tokens=1)
        with pytest.raises(UsageError, match="being read"):
            model.write(memory, some_ids(12).tolist())

    assert model.ask(memory, "Where?", max_new_tokens=6, stream=nested).text == usual


def test_a_callback_of_a_write_reads_but_does_not_write_the_same_memory() -> None:
    model = make_mplus()
    memory, other = model.new_memory(), model.new_memory()

    def nested(done: int, total: int) -> None:
        model.ask(memory, "Who?", max_new_tokens=1)
        model.write(other, some_ids(12).tolist())
        with pytest.raises(UsageError, match="being written"):
            model.write(memory, some_ids(3).tolist())

    model.write(memory, some_ids(24).tolist(), progress=nested)
    assert (len(memory.writes), len(memory.tail), len(other.writes)) == (2, 4, 2)

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest
import torch
from tests.fakes import make_mplus
from tests.systems.conftest import SHARED, SMALL
from tests.systems.ret_llm.tiny_weights import ANSWERS, TOLD, tiny_weights
from torch import Tensor

from memplus.mplus.adapter_folder import load_adapter
from memplus.mplus.core import Core
from memplus.systems.ret_llm.controller import Controller, ReadReply, Written
from memplus.systems.ret_llm.grammar import Query, query_text, result_text
from memplus.systems.ret_llm.lookups import Found
from memplus.systems.ret_llm.prompts import question_prompt
from memplus.systems.triples.decoding import Continuation, decode
from memplus.systems.triples.rows import Origin, Row, Triple

NOTHING = Found("none", (), ())


def rows(*triples: tuple[str, str, str]) -> Found:
    made = [Row(n, Triple(*one), (Origin("a", n),)) for n, one in enumerate(triples, 1)]
    return Found("exact", (), tuple(made))


def only(expected: Query, found: Found, query: Query) -> Found:
    assert query == expected
    return found


@pytest.fixture(scope="module")
def core() -> Core:
    return SHARED.mplus.core


@pytest.fixture(scope="module")
def controller(core: Core) -> Controller:
    return Controller(core, load_adapter(tiny_weights(), core.backbone), most_rows=30)


def test_sentences_become_the_triples_that_the_model_says(controller: Controller) -> None:
    told = [sentence.replace(" ", "\n  ", 1) for sentence in TOLD]
    together = [one.value() for one in controller.write(told)]
    assert together == [Written(triples) for triples in TOLD.values()]
    assert [next(controller.write([one])).value() for one in told] == together


def test_questions_become_queries_and_rows_become_answers(controller: Controller) -> None:
    for question, (query, answers) in ANSWERS.items():
        for triples, answer in answers.items():
            reply = controller.ask(question, partial(only, query, rows(*triples)), 40)
            assert (reply.query, reply.text, reply.overshot) == (query, answer, False)
            assert reply.generated == f" {answer}"  # of the table's words none are the model's


def test_a_result_that_is_spliced_in_is_a_result_typed_in_the_prompt(
    controller: Controller, core: Core
) -> None:
    (question, (query, answers)) = next(iter(ANSWERS.items()))
    for triples in answers:
        reply = controller.ask(question, lambda _: rows(*triples), 20)  # noqa: B023
        text = Continuation(core, controller.lora)
        for part in (question_prompt(question), query_text(query), result_text(triples)):
            text.extend(text.encode(part))
        typed = decode(text, limit=20, stops=("\n",), ends=[core.tokenizer.eos_token_id])
        assert typed.text.strip() == reply.text


def shown(controller: Controller, found: Found) -> str:
    """The call that the model makes behind a question, with the result that it sees."""
    text = Continuation(controller.core, controller.lora)
    text.extend(text.encode(question_prompt("What is red?")))
    start = len(text)
    assert controller.read(text, lambda _: found).called
    return text.text(start)


def test_of_many_rows_the_newest_are_shown_and_the_result_says_so(core: Core) -> None:
    lora = load_adapter(tiny_weights(), core.backbone)
    found = rows(*((f"n{n}", "is", "red") for n in range(9)))
    assert shown(Controller(core, lora, most_rows=2), found).endswith(
        "}: 7 older left out;{n7>>is>>red};{n8>>is>>red}]"
    )
    first, *others = found.rows
    again = replace(first, origins=(*first.origins, Origin("b", 10)))
    assert shown(
        Controller(core, lora, most_rows=2), replace(found, rows=(again, *others))
    ).endswith("}: 7 older left out;{n0>>is>>red};{n8>>is>>red}]")
    # The tiny model has room for 256 characters in all.
    wide = rows(*((f"{n} " + "x" * 90, "is", "red") for n in range(9)))
    cramped = shown(Controller(core, lora, most_rows=30), wide)
    assert "{8 xxx" in cramped
    assert "{1 xxx" not in cramped


def test_a_model_that_makes_no_call_stores_nothing_and_answers_by_itself(core: Core) -> None:
    untuned = Controller(core, load_adapter(tiny_weights(), core.backbone), 30)
    assert untuned.lora is not None
    for weight in untuned.lora.parameters():
        weight.zero_()
    assert next(untuned.write(["The gate is red, and nobody came."])).value() == Written(())
    reply = untuned.ask("What is red?", lambda _: NOTHING, 6)
    assert (reply.query, reply.malformed, reply.found) == (None, False, None)
    assert reply.text == reply.generated.partition("\n")[0].strip()


def test_a_long_sentence_is_read_in_halves_that_fit() -> None:
    core = make_mplus(config=SMALL, changes={"max_position_embeddings": 128}).core
    small = Controller(core, load_adapter(tiny_weights(), core.backbone), 30)
    (red, triples), *_ = TOLD.items()
    assert next(small.write([f"{red} {red}\n{red}  {red}"])).value() == Written(triples * 4)
    assert next(small.write(["x" * 200])).error is None


def test_without_weights_worked_examples_stand_before_the_prompt() -> None:
    model = make_mplus(config=SMALL, changes={"max_position_embeddings": 2048})
    plain = Controller(model.core, None, 30)
    first = plain.ask("What is red?", lambda _: NOTHING, 5)
    told = ["The gate is red.", "Ada Moss is employed by Larkspur, and nobody else is."]
    assert [one.error for one in plain.write(told)] == [None, None]
    again = plain.ask("What is red?", lambda _: NOTHING, 5)
    assert again == first
    assert first.evidence is None


def answer_of(monkeypatch: pytest.MonkeyPatch, core: Core, says: str, most: int) -> ReadReply:
    """What becomes of it where the model says this to a question."""
    lora = load_adapter(tiny_weights(), core.backbone)
    ids = [*core.encode(says), core.tokenizer.eos_token_id]

    def scores(self: Continuation) -> Tensor:
        said = len(self) - len(self.encode(question_prompt("What is red?")))
        return torch.eye(core.backbone.config.vocab_size)[ids[said]].log_softmax(dim=-1)

    monkeypatch.setattr(Continuation, "scores", scores)
    return Controller(core, lora, 30).ask("What is red?", lambda _: NOTHING, most)


@pytest.mark.parametrize(
    ("says", "text"),
    [
        ("red", "red"),
        ("red\nWhat", "red"),
        ("\nred", "red"),
        ("a long answer\nred", "a long answer"),
    ],
)
def test_without_a_call_the_first_line_that_says_something_is_the_answer(
    core: Core, monkeypatch: pytest.MonkeyPatch, says: str, text: str
) -> None:
    reply = answer_of(monkeypatch, core, says, 40)
    assert (reply.text, reply.query, reply.called) == (text, None, False)
    assert reply.generated.strip() == text


@pytest.mark.parametrize(
    ("says", "most", "text", "generated"),
    [
        ("a long answer that goes on and on", 20, "a long answer that g", "a long answer that g"),
        ("a long answer", 1, "a", "a"),
        ("red [MEM_READ{gate>>is>>}:", 40, "red", "red [MEM_READ{gate>>is>>}:"),
        ("a long answer [MEM_READ", 40, "a long answer", "a long answer [MEM_READ"),
        ("[MEM_WRITE{gate>>is>>red}]", 3, "", "[ME"),
        ("[MEM_READ(gate", 1, "", "["),
    ],
)
def test_without_a_call_an_answer_has_the_tokens_that_it_may_and_no_part_of_a_call(
    core: Core,
    monkeypatch: pytest.MonkeyPatch,
    says: str,
    most: int,
    text: str,
    generated: str,
) -> None:
    reply = answer_of(monkeypatch, core, says, most)
    assert (reply.text, reply.generated, reply.called) == (text, generated, False)

from __future__ import annotations

from types import SimpleNamespace

import pytest
from tests.fakes import EOS, make_tokenizer

from memplus.config import PromptConfig
from memplus.training.tasks.spelling import TokenizerSpelling, end_of


@pytest.mark.parametrize(("rule", "end"), [(None, None), (7, 7), ([5, 6], 5)])
def test_the_first_rule_of_where_answers_end_counts(rule: object, end: int | None) -> None:
    assert end_of(SimpleNamespace(eos_token_id=rule)) == end


def test_texts_questions_and_answers() -> None:
    tokenizer = make_tokenizer()
    spelling = TokenizerSpelling(tokenizer, PromptConfig(template="Q {question} A"), EOS)
    assert spelling.text("abc") == (tokenizer.encode("abc"), [1, 2, 3])
    assert tokenizer.decode(spelling.question(" Who? ")) == "Q Who? A"
    assert spelling.answer("Ann") == [*tokenizer.encode(" Ann"), EOS]
    assert spelling.abstention == spelling.answer(PromptConfig().abstention)


def test_an_answer_follows_a_new_line_as_it_is() -> None:
    tokenizer = make_tokenizer()
    spelling = TokenizerSpelling(tokenizer, PromptConfig(template="{question}\n"), None)
    assert spelling.answer("Ann") == tokenizer.encode("Ann")

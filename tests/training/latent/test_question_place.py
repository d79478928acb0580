from __future__ import annotations

import pytest
from tests.fakes import EOS, make_tokenizer

from memplus.config import PromptConfig
from memplus.training.latent.question_place import QuestionPlace
from memplus.training.tasks.asked import AskedRow, Kind
from memplus.training.tasks.spelling import TokenizerSpelling


@pytest.mark.parametrize(
    "template", ["Q: {question}\nA: ", "{question}", "<<{question}>>", "a{question}"]
)
def test_it_stands_between_what_every_prompt_begins_and_ends_with(template: str) -> None:
    spelling = TokenizerSpelling(make_tokenizer(), PromptConfig(template=template), EOS)
    place = QuestionPlace(spelling)
    before, behind = template.split("{question}")
    assert (place.before, place.behind) == (len(before), len(behind))
    asked = spelling.question("Which gate?")
    rows = [
        AskedRow(Kind.TOLD, (1, 2, 3), asked, (4, 5)),
        AskedRow(Kind.CONTINUED, (), (7, 8, 9), (4,)),
    ]
    length = 3 + len(asked) + 1
    (start, end), piece = place.of(rows, length).tolist()
    row = [1, 2, 3, *asked, 4]
    assert row[start:end] == list(make_tokenizer().encode("Which gate?"))
    assert piece == [length - 3, length]


def test_a_prompt_shorter_than_its_template_has_an_empty_place() -> None:
    spelling = TokenizerSpelling(make_tokenizer(), PromptConfig(template="Q: {question}\nA: "), EOS)
    rows = [AskedRow(Kind.UNTOLD, (), (1, 2), (3,))]
    ((start, end),) = QuestionPlace(spelling).of(rows, 2).tolist()
    assert start == end

from pathlib import Path
from random import Random

import pytest
from tests.data.test_answerable import squad
from tests.systems.scm.tiny import WIDE

from memplus.data.passages import article_is_held_out
from memplus.errors import ConfigError
from memplus.systems.protocol import ChatPrompt
from memplus.systems.scm.prompts import ANSWER_START, LETTERS
from memplus.training.masked.example import Example
from memplus.training.masked.packing import IGNORED, encode_example
from memplus.training.masked.scm_controller import SCMControllerExamples


def made(path: Path, count: int, **fields: float) -> list[Example]:
    maker = SCMControllerExamples(questions=str(path), **fields).maker()  # type: ignore[arg-type]
    return [maker.make(index, Random(index)) for index in range(count)]


def test_the_letter_alone_is_learned_and_it_is_the_right_one(tmp_path: Path) -> None:
    path = squad(tmp_path)
    letters = []
    for one in made(path, 200, gate=0.0):
        asked, start, answer = one.pieces
        assert (start.text, answer.learned, asked.learned, one.ends) == (
            ANSWER_START, True, False, False,
        )  # fmt: skip
        title = asked.text.split("```\n")[1].partition(" says")[0]
        question = asked.text.split("```\n")[3]
        assert not article_is_held_out(title)
        answered = question.startswith(f"{title},") and "yes" in question
        said = "A: " if answer.text == LETTERS[0] else "B: "
        assert f"{said}{'Yes' if answered else 'No'}\n" in asked.text
        letters.append((answer.text, answered))
    assert all(30 <= letters.count((one, kind)) <= 70 for one in LETTERS for kind in (True, False))


def test_what_needs_memory_and_what_does_not_are_told_apart(tmp_path: Path) -> None:
    found = made(squad(tmp_path), 60, gate=1.0)
    assert {one.label for one in found} == {"gate"}
    for one in found:
        asked, _, answer = one.pieces
        said = "A: " if answer.text == LETTERS[0] else "B: "
        yes = f"{said}Yes\n" in asked.text
        simple = any(word in asked.text for word in ("plus", "times", "Write a line", "spell"))
        assert not (yes and simple)


def test_an_example_has_the_tokens_that_the_controller_reads(tmp_path: Path) -> None:
    template = WIDE.mplus.prompt.template
    maker = SCMControllerExamples(questions=str(squad(tmp_path)), template=template).maker()
    example = maker.make(0, Random(0))
    encoded = encode_example(example, WIDE.mplus.tokenizer)
    before, after = template.split("{question}")
    user = example.pieces[0].text.removeprefix(before).removesuffix(after)
    given = WIDE.prompt_ids(ChatPrompt(user, ANSWER_START))
    assert encoded.ids[: len(given)] == given
    assert [label for label in encoded.labels[: len(given)] if label != IGNORED] == []


@pytest.mark.parametrize("fields", [{"gate": 2.0}, {"template": "no place"}])
def test_fields_that_cannot_be_are_refused(fields: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        SCMControllerExamples(questions="x", **fields)  # type: ignore[arg-type]

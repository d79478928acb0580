import pytest
from tests.evaluation.conftest import BOOKS, text_of, words, words_of

from memplus.data.stream import Texts, Told
from memplus.evaluation.engine.plan import Plan, Question, Step
from memplus.evaluation.probes.bm25 import Found, Spans, found_by_words
from memplus.evaluation.tasks.told import Item, Telling, told_plan

pytest.importorskip("bm25s", reason="an optional library that the dev requirements bring")

FIRST = ("The heron stood in a shallow pond .", " It rained all day long on our roof .")
SECOND = " Nobody in the village saw any fish today ."


def question(text: str, start: int, end: int, wanted: int = 9) -> Question:
    told = Told("text", 0, 26, value=start, value_end=end)
    return Question(f"{text}/{wanted}", "set", text, ("a",), wanted, wanted, told)


def plan(*asked: Question, early: tuple[Question, ...] = ()) -> Plan:
    first = Step(FIRST, 17, "text", early)
    return Plan("p", 0, (first, Step((SECOND,), 9, "text", asked)), ())


def found(asked: Question, retrieved: int = 1) -> bool:
    (one,) = found_by_words(plan(asked), words, Spans(4, retrieved))
    assert (one.kind, one.wanted) == ("set", 9)
    return one.found


def test_the_span_that_shares_words_with_the_question_is_found() -> None:
    assert found(question("What did the heron do?", 1, 3))
    assert not found(question("What did the heron do?", 5, 7))
    assert not found(question("Which bird?", 1, 3))
    assert found(question("Any fish near the pond?", 4, 8), retrieved=2)


def test_a_value_across_two_spans_is_found_with_either() -> None:
    assert found(question("What is in the shallow pond?", 3, 6))
    assert found(question("Where did the heron go?", 3, 6))


def test_nothing_in_common_is_nothing_found_however_much_is_retrieved() -> None:
    assert not found(question("Zzz?", 1, 3), retrieved=100)


def test_only_the_longest_distance_counts() -> None:
    asked = [question("heron?", 1, 3, 0), question("heron?", 1, 3, 9)]
    assert found_by_words(plan(*asked), words, Spans(4, 1)) == [Found("set", 9, found=True)]
    assert found_by_words(plan(), words, Spans(4, 1)) == []


def test_a_span_not_read_yet_is_not_found() -> None:
    asked = question("What did they see, any fish?", 20, 24)
    (one,) = found_by_words(plan(early=(asked,)), words, Spans(4, 2))
    assert not one.found
    assert found(asked, retrieved=2)


def test_what_was_told_in_a_stream_is_found_by_its_own_words() -> None:
    items = tuple(
        Item("set", f"{w}son keeps the {w}.", ((f"Who keeps the {w}?", (f"{w}son",)),), (0, 60))
        for w in ("lamp", "boat", "clock", "violin")
    )
    made = told_plan(Texts.of(BOOKS, words), 8, Telling(items), seed=0)
    answers = found_by_words(made, words, Spans(8, 4))
    assert [one.wanted for one in answers] == [60] * 4
    assert sum(one.found for one in answers) >= 3
    for one in made.questions:
        assert one.told is not None
        assert one.answers[0] in words_of(text_of(made), *one.told.stated)


def test_a_question_of_the_commonest_words_alone_finds_nothing() -> None:
    assert not found(question("Is it that or the other?", 1, 3), retrieved=100)
    assert not found(question("And the?", 1, 3), retrieved=100)

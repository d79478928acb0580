from tests.systems.scm.tiny import WIDE

from memplus.systems.protocol import Reply
from memplus.systems.scm.stream import Chunk
from memplus.systems.scm.summaries import Summaries
from memplus.systems.scm.voice import Voice


class Counting(Voice):
    """Says what it is told to say, and counts how often it is asked."""

    said = ""
    times = 0

    def answer(self, ids: object, most: int) -> Reply:
        self.times += 1
        return Reply(self.said, declined=False, generated=self.said)


CHUNK = Chunk("The gate is red. Nobody came.", "text", 0, 29)


def test_a_short_turn_is_its_own_summary() -> None:
    voice = Counting(WIDE, "none")
    text = CHUNK.text(1)
    assert Summaries(voice, above=len(text)).of(CHUNK, text, len(text)) == text
    assert voice.times == 0


def test_a_summary_is_made_once_and_has_the_turns_number() -> None:
    voice = Counting(WIDE, "none")
    voice.said = " A red gate.\n"
    summaries, text = Summaries(voice, above=5), CHUNK.text(4)
    assert [summaries.of(CHUNK, text, 40) for _ in range(3)] == ["[Turn 4]\nA red gate."] * 3
    assert voice.times == 1


def test_a_turn_with_an_answer_has_a_summary_of_its_own_though_it_reads_the_same() -> None:
    voice = Counting(WIDE, "none")
    voice.said = "A red gate."
    both = Chunk("The gate is red.", "text", 0, 29, response="Nobody came.")
    alone = Chunk("The gate is red.\nNobody came.", "text", 0, 29)
    assert both.text(4) == alone.text(4)
    summaries = Summaries(voice, above=5)
    for chunk in (both, alone, both):
        summaries.of(chunk, chunk.text(4), 40)
    assert voice.times == 2


def test_a_model_that_says_nothing_leaves_the_turns_beginning() -> None:
    voice = Counting(WIDE, "none")
    long = Chunk("It rained and it rained. " * 9, "text", 0, 225)
    found = Summaries(voice, above=5).of(long, long.text(1), 234)
    assert "It rained and it rained." in found
    assert len(found) < 120


def test_a_model_makes_summaries() -> None:
    summaries = Summaries(Voice(WIDE), above=5)
    found = summaries.of(CHUNK, CHUNK.text(1), 40)
    assert found.startswith("[Turn 1]\n")
    assert len(found) > len("[Turn 1]\n")

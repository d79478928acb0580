import pytest

from memplus.systems.memllm.rules import extracted
from memplus.systems.triples.rows import Triple


@pytest.mark.parametrize(
    ("sentence", "triples"),
    [
        ("Marta Velez's locker code is 4821.", [Triple("Marta Velez", "locker code", "4821")]),
        ("The home town of Ivan Morwick is Rome.", [Triple("Ivan Morwick", "home town", "Rome")]),
        ("Update: Ivan Morwick's pet is now owl.", [Triple("Ivan Morwick", "pet", "owl")]),
        ("Mary moved to the bathroom.", [Triple("Mary", "location", "bathroom")]),
        ("It rained for days.", []),
        ("What is Marta Velez's locker code?", []),
        ("", []),
    ],
)
def test_plain_sentences_say_a_triple(sentence: str, triples: list[Triple]) -> None:
    assert extracted(sentence) == triples

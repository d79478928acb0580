"""Shares of sources and places, worked out by hand."""

from memplus.data.stream import Told
from memplus.evaluation.engine.evidence_recall import PLACES, SOURCES, evidence_recall
from memplus.systems.protocol import Evidence, Reply

WANTED = [Told("monday", 10, 20), Told("monday", 30, 40), Told("tuesday", 0, 5)]


def reply(*places: tuple[str, int, int]) -> Reply:
    return Reply("x", False, evidence=tuple(Evidence(*place, share=0.1) for place in places))


def test_sources_are_found_by_name_and_places_by_their_tokens() -> None:
    found = evidence_recall(reply(("monday", 19, 25), ("friday", 0, 9)), WANTED, exact_places=True)
    assert found == {SOURCES: 0.5, PLACES: round(1 / 3, 6)}


def test_a_piece_of_evidence_may_hold_several_places() -> None:
    found = evidence_recall(reply(("monday", 0, 90)), WANTED, exact_places=True)
    assert found[PLACES] == round(2 / 3, 6)


def test_ends_are_exclusive() -> None:
    found = evidence_recall(reply(("monday", 20, 30)), WANTED, exact_places=True)
    assert found == {SOURCES: 0.5, PLACES: 0.0}


def test_places_are_not_compared_where_tokens_are_counted_otherwise() -> None:
    assert evidence_recall(reply(("tuesday", 0, 5)), WANTED, exact_places=False) == {SOURCES: 0.5}


def test_a_reply_that_stands_on_nothing_written_has_found_nothing() -> None:
    assert evidence_recall(reply(), WANTED, exact_places=True) == {SOURCES: 0.0, PLACES: 0.0}


def test_nothing_is_said_where_no_evidence_is_measured_or_wanted() -> None:
    assert evidence_recall(Reply("x", False), WANTED, exact_places=True) == {}
    assert evidence_recall(reply(("monday", 0, 9)), [], exact_places=True) == {}

"""What holds in the end is found again by reading the facts, without the maker's own notes."""

import re

import pytest

from memplus.data.conflicts import (
    ONE_HOP,
    PREAMBLE,
    TWO_HOPS,
    ConflictQuestion,
    Conflicts,
    make_conflicts,
)


def words(texts: list[str]) -> list[list[int]]:
    return [[found.end() for found in re.finditer(r"\s*\S+\s*", text)] for text in texts]


@pytest.fixture(scope="module")
def made() -> Conflicts:
    return make_conflicts(3_000, 60, 0, words)


STATEMENTS = [
    re.compile(pattern)
    for pattern in (
        r"(?P<s>.+) works for (?P<o>.+)\.",
        r"The company (?P<s>.+) has its seat in (?P<o>.+)\.",
        r"The mayor of the town of (?P<s>.+) is (?P<o>.+)\.",
        r"(?P<s>.+) lives in (?P<o>.+)\.",
        r"(?P<s>.+) is married to (?P<o>.+)\.",
        r"The book (?P<s>.+) was written by (?P<o>.+)\.",
        r"The club (?P<s>.+) is coached by (?P<o>.+)\.",
        r"(?P<s>.+) works as a (?P<o>.+)\.",
        r"(?P<s>.+) plays the (?P<o>.+)\.",
    )
]

Said = dict[tuple[int, str], list[tuple[int, str]]]


def read(made: Conflicts) -> Said:
    """Statement and subject -> the values given in turn, with the place of each."""
    said: Said = {}
    for at, line in enumerate(made.lines):
        text = line.split(". ", 1)[1].rstrip("\n")
        ((which, found),) = [
            (which, match)
            for which, match in enumerate(one.fullmatch(text) for one in STATEMENTS)
            if match
        ]
        said.setdefault((which, found["s"]), []).append((at, found["o"]))
    return said


def asked_of(one: ConflictQuestion, said: Said) -> tuple[int, str]:
    """The statement about what the question names."""
    named = [key for key in said if re.search(rf"\b{key[1]}\b", one.text)]
    return max(named, key=lambda key: len(key[1]))


def of_kind(made: Conflicts, kind: str) -> list[ConflictQuestion]:
    return [one for one in made.questions if one.kind == kind]


def test_facts_are_numbered_from_one(made: Conflicts) -> None:
    assert [int(line.split(".")[0]) for line in made.lines] == list(range(1, len(made.lines) + 1))


def test_the_list_fills_its_length_and_no_more(made: Conflicts) -> None:
    tokens = sum(len(ends) for ends in words([PREAMBLE, *made.lines]))
    assert 2_900 < tokens <= 3_000
    assert len(make_conflicts(1, 9, 0, words).lines) == 5


def test_one_hop_asks_for_the_newest_of_two_values(made: Conflicts) -> None:
    said = read(made)
    for one in of_kind(made, ONE_HOP):
        found = said[asked_of(one, said)]
        assert [value for _, value in found] == [one.outdated, one.answer]
        assert found[-1][0] == one.stated_by


def test_two_hops_ask_for_the_newest_value_of_the_newest_value(made: Conflicts) -> None:
    said = read(made)
    changed_by_the_first = 0
    for one in of_kind(made, TWO_HOPS):
        (_, old), (changed, new) = said[asked_of(one, said)]
        ((which, found),) = [(key[0], found) for key, found in said.items() if key[1] == new]
        assert found[-1] == (one.stated_by, one.answer)
        before = said[which, old] if changed > one.stated_by else found[:1]
        assert [value for _, value in before] == [one.outdated]
        changed_by_the_first += changed > one.stated_by
    assert 0 < changed_by_the_first < len(of_kind(made, TWO_HOPS))


def test_questions_of_both_kinds_are_as_many_as_asked_for_or_as_there_are_chains() -> None:
    some = make_conflicts(3_000, 4, 0, words)
    assert [len(of_kind(some, kind)) for kind in (ONE_HOP, TWO_HOPS)] == [4, 4]
    few = make_conflicts(300, 1_000, 0, words)
    assert len(of_kind(few, ONE_HOP)) == len(of_kind(few, TWO_HOPS)) == len(few.lines) // 5


def test_questions_do_not_hold_their_answers(made: Conflicts) -> None:
    for one in made.questions:
        assert one.answer not in one.text
        assert one.outdated != one.answer


def test_all_of_it_follows_from_the_seed() -> None:
    assert make_conflicts(500, 5, 1, words) == make_conflicts(500, 5, 1, words)
    assert make_conflicts(500, 5, 1, words) != make_conflicts(500, 5, 2, words)

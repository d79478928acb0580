from tests.systems.conftest import SHARED

from memplus.data.stream import Reference
from memplus.systems.passages import Passage, Passages

REFERENCE = SHARED.reference


def add(passages: Passages, pieces: list[str], source: str, reference: Reference) -> int:
    place, items = passages.more(pieces, source, reference)
    passages.put(place, items)
    return place


def test_a_text_is_cut_into_passages_with_their_places() -> None:
    passages = Passages(4)
    assert add(passages, ["abc", "defg", "hi"], "a", REFERENCE) == 0
    expected = [Passage("a", 0, 4, "abcd"), Passage("a", 4, 4, "efgh"), Passage("a", 8, 1, "i")]
    assert passages.items == expected
    assert (passages.tokens, expected[2].end) == (9, 9)


def test_the_last_passage_grows_and_what_has_changed_is_said() -> None:
    passages = Passages(4)
    add(passages, ["abcdef"], "a", REFERENCE)
    assert add(passages, ["g"], "a", REFERENCE) == 1
    assert add(passages, ["hij"], "a", REFERENCE) == 1
    assert add(passages, ["kl"], "a", REFERENCE) == 2
    assert add(passages, ["m"], "a", REFERENCE) == 3
    together = Passages(4)
    add(together, ["abcdef", "g", "hij", "kl", "m"], "a", REFERENCE)
    assert passages.items == together.items


def test_no_passage_is_of_two_sources_and_each_source_counts_from_its_beginning() -> None:
    passages = Passages(4)
    for text, source in (("ab", "a"), ("cd", "b"), ("ef", "a")):
        add(passages, [text], source, REFERENCE)
    assert passages.items == [
        Passage("a", 0, 2, "ab"), Passage("b", 0, 2, "cd"), Passage("a", 2, 2, "ef"),
    ]  # fmt: skip
    assert passages.tokens == 6
    again = Passages(4, passages.items)
    assert again.tokens == 6
    add(again, ["gh"], "b", REFERENCE)
    assert again.items[-1] == Passage("b", 2, 2, "gh")


def test_a_copy_goes_its_own_way() -> None:
    passages = Passages(4)
    add(passages, ["ab"], "a", REFERENCE)
    other = passages.copy()
    add(other, ["c"], "a", REFERENCE)
    assert passages.items == [Passage("a", 0, 2, "ab")]
    assert other.items == [Passage("a", 0, 3, "abc")]

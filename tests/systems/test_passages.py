from tests.systems.conftest import SHARED

from memplus.systems.passages import Passage, Passages

REFERENCE = SHARED.reference


def test_a_text_is_cut_into_passages_with_their_places() -> None:
    passages = Passages(4)
    assert passages.add(["abc", "defg", "hi"], "a", REFERENCE) == 0
    expected = [Passage("a", 0, 4, "abcd"), Passage("a", 4, 4, "efgh"), Passage("a", 8, 1, "i")]
    assert passages.items == expected
    assert (passages.tokens, expected[2].end) == (9, 9)


def test_the_last_passage_grows_and_what_has_changed_is_said() -> None:
    passages = Passages(4)
    passages.add(["abcdef"], "a", REFERENCE)
    assert passages.add(["g"], "a", REFERENCE) == 1
    assert passages.add(["hij"], "a", REFERENCE) == 1
    assert passages.add(["kl"], "a", REFERENCE) == 2
    assert passages.add(["m"], "a", REFERENCE) == 3
    together = Passages(4)
    together.add(["abcdef", "g", "hij", "kl", "m"], "a", REFERENCE)
    assert passages.items == together.items


def test_no_passage_is_of_two_sources_and_each_source_counts_from_its_beginning() -> None:
    passages = Passages(4)
    for text, source in (("ab", "a"), ("cd", "b"), ("ef", "a")):
        passages.add([text], source, REFERENCE)
    assert passages.items == [
        Passage("a", 0, 2, "ab"), Passage("b", 0, 2, "cd"), Passage("a", 2, 2, "ef"),
    ]  # fmt: skip
    assert passages.tokens == 6
    again = Passages(4, passages.items)
    assert again.tokens == 6
    again.add(["gh"], "b", REFERENCE)
    assert again.items[-1] == Passage("b", 2, 2, "gh")


def test_a_copy_goes_its_own_way() -> None:
    passages = Passages(4)
    passages.add(["ab"], "a", REFERENCE)
    other = passages.copy()
    other.add(["c"], "a", REFERENCE)
    assert passages.items == [Passage("a", 0, 2, "ab")]
    assert other.items == [Passage("a", 0, 3, "abc")]

from tests.systems.conftest import SHARED

from memplus.systems.kept_text import KeptText, token_texts

REFERENCE = SHARED.reference


def told(most: int, *pieces: str, source: str = "a") -> KeptText:
    text = KeptText(most)
    text.add(pieces, source, REFERENCE)
    return text


def test_tokens_put_together_are_the_pieces() -> None:
    pieces = ["The gate", " is grün", "", "."]
    found = list(token_texts(pieces, REFERENCE))
    assert "".join(found) == "The gate is grün."
    assert len(found) == len(SHARED.encode(pieces))


def test_only_the_end_is_kept_and_all_is_counted() -> None:
    text = told(5, "abc", "defg")
    assert (text.tokens, text.last(5), text.last(2), text.last(0)) == (7, "cdefg", "fg", "")
    text.add(["h"], "a", REFERENCE)
    assert (text.tokens, text.last(5)) == (8, "defgh")


def test_pieces_told_in_turn_are_pieces_told_together() -> None:
    together, in_turn = told(6, "abc", "de", "fgh"), told(6, "abc")
    in_turn.add(["de"], "a", REFERENCE)
    in_turn.add(["fgh"], "a", REFERENCE)
    assert in_turn.slices == together.slices


def test_another_source_begins_a_line() -> None:
    text = told(20, "abc")
    text.add(["def"], "b", REFERENCE)
    text.add(["g"], "b", REFERENCE)
    assert (text.last(7), text.tokens) == ("abc\ndefg", 7)


def test_a_copy_goes_its_own_way() -> None:
    text = told(9, "abc")
    other = text.copy()
    other.add(["d"], "a", REFERENCE)
    assert (text.last(3), text.tokens, other.last(4), other.tokens) == ("abc", 3, "abcd", 4)

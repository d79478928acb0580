import torch
from hypothesis import given
from hypothesis import strategies as st

from memplus.mplus.streaming import Pieces, until_stop


def pieces_of(text: str, stops: tuple[str, ...]) -> list[str]:
    """What is handed on of a text whose characters come one by one, after a prompt."""
    found: list[str] = []
    streamer = Pieces(lambda ids: "".join(map(chr, ids)), stops, found.append)
    streamer.put(torch.tensor([[1, 2, 3]]))
    for char in text:
        streamer.put(torch.tensor([ord(char)]))
    streamer.end()
    return found


def test_what_follows_a_stop_is_cut_off_and_a_stop_before_any_word_is_none() -> None:
    assert until_stop(" red\ngreen", ("\n",)) == "red"
    assert until_stop("red", ()) == "red"
    assert until_stop(" \t ", ("\t",)) == ""


def test_pieces_put_together_are_the_answer() -> None:
    for text, stops in ((" the red gate", ()), ("red.\nMore", ("\n",)), ("a<end>b", ("<end>",))):
        assert "".join(pieces_of(text, stops)) == until_stop(text, stops)


def test_the_beginning_of_a_stop_waits_until_it_is_none() -> None:
    assert pieces_of("a<e.b", ("<end>",)) == ["a", "<e.", "b"]
    assert pieces_of("a<end>b", ("<end>",)) == ["a"]


def test_a_blank_before_a_stop_is_not_handed_on() -> None:
    assert pieces_of("Paris Question: x", ("\n", "Question:")) == ["P", "a", "r", "i", "s"]
    assert pieces_of("Paris Quest", ("\n", "Question:"))[-2:] == ["s", " Quest"]


@given(
    st.text(alphabet="ab \n", max_size=20),
    st.lists(st.text(alphabet="ab \n", min_size=1, max_size=4), max_size=3),
)
def test_pieces_of_any_text_are_the_answer(text: str, stops: list[str]) -> None:
    assert "".join(pieces_of(text, tuple(stops))) == until_stop(text, stops)


def test_half_a_character_waits() -> None:
    assert "".join(pieces_of("a\ufffd", ())) == "a\ufffd"
    assert pieces_of("a\ufffd", ())[0] == "a"


def test_nothing_is_handed_on_that_is_not_wanted() -> None:
    found: list[str] = []
    streamer = Pieces(lambda ids: "".join(map(chr, ids)), (), found.append, lambda: False)
    for _ in range(3):
        streamer.put(torch.tensor([65]))
    streamer.end()
    assert found == []

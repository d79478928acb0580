from __future__ import annotations

from tests.systems.conftest import SHARED

from memplus.systems.in_weights.options import InWeightsOptions
from memplus.systems.in_weights.pieces import pieces_to_learn
from memplus.systems.protocol import ChatPrompt

TEXT = "The gate is red, and nobody came. It rained for days on end."


def pieces(text: str, **options: object) -> list[list[int]]:
    return pieces_to_learn(text, SHARED, InWeightsOptions(**options))  # type: ignore[arg-type]


def test_every_token_but_the_first_is_predicted_once() -> None:
    ids = SHARED.encode([TEXT])
    found = pieces(TEXT, piece_tokens=25)
    assert [one[0] for one in found[1:]] == [one[-1] for one in found[:-1]]
    assert [ids[0], *(token for one in found for token in one[1:])] == ids


def test_pieces_are_about_as_long_and_no_longer_than_asked_for() -> None:
    for size in (2, 7, 25, 60, 61):
        lengths = [len(one) for one in pieces(TEXT, piece_tokens=size)]
        assert max(lengths) <= size
        assert max(lengths) - min(lengths) <= 2
    assert len(pieces(TEXT, piece_tokens=25)) == 3


def test_no_piece_has_more_tokens_than_the_model_has_positions() -> None:
    positions = SHARED.mplus.positions
    for framing in ("plain", "message"):
        found = pieces("x" * 3 * positions, piece_tokens=10 * positions, framing=framing)
        assert positions // 2 < max(len(one) for one in found) <= positions


def test_a_message_is_the_models_template_around_a_request_and_the_piece() -> None:
    asked = "Read this part of a text.\n\n"
    found = pieces(TEXT, framing="message", piece_tokens=len(TEXT) // 2)
    halves = [TEXT[: len(TEXT) // 2], TEXT[len(TEXT) // 2 :]]
    assert found == [SHARED.prompt_ids(ChatPrompt(asked + half)) for half in halves]


def test_of_one_token_there_is_nothing_to_predict() -> None:
    assert pieces("x") == []
    assert len(pieces("xy")) == 1

"""The bundled model against what is promised of it, on books that it was never trained on."""

from pathlib import Path

import pytest

from memplus import MPlus
from memplus.training.corpus import read_texts
from memplus.training.measure import measure

BOOKS = sorted((Path(__file__).parents[3] / "shared/data/booksort/books").glob("*.gz"))


@pytest.mark.slow
@pytest.mark.skipif(not BOOKS, reason="the held-out books are not here (../shared)")
def test_notes_are_kept_for_50_000_tokens_by_the_long_term_store() -> None:
    texts = list(read_texts(BOOKS))
    kept = measure(MPlus.from_pretrained("nano"), texts, 100, 50_000, seed=1)
    assert kept.further_tokens >= 50_000
    assert kept.at_once >= 0.9
    assert kept.later >= 0.6
    short = MPlus.from_pretrained("nano", retrieved_tokens=0)
    assert measure(short, texts, 100, 50_000, seed=1).later < 0.2

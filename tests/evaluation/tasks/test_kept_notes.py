"""The bundled model against what is promised of it."""

from pathlib import Path

import pytest
from tests.evaluation.conftest import silent

from memplus import MPlus
from memplus.data.documents import read_document
from memplus.data.stream import Texts
from memplus.evaluation.engine.judging import Judge
from memplus.evaluation.engine.run import InMemory, run_plans
from memplus.evaluation.engine.summary import Cell, cells_of
from memplus.evaluation.tasks.retention import NOTE, UNKNOWN, UNTOLD, RetentionSizes, retention_plan
from memplus.systems.registry import usual_systems
from memplus.systems.shared import Shared

LONG_TERM, SHORT_TERM, WITHOUT = "mplus", "memoryllm", "nothing"

BOOKS = sorted((Path(__file__).parents[4] / "shared/data/booksort/books").glob("*.gz"))
SENTENCES = (
    "The road went down to the sea. Nobody had walked there since the spring! "
    'A lantern stood by the gate. "Who is there?" asked the keeper. The wind gave no answer. '
)


def kept(texts: list[str], sizes: RetentionSizes) -> dict[tuple[str, str, int | None], Cell]:
    """What the bundled model kept, by kind, system and distance."""
    shared = Shared(lambda: MPlus.from_pretrained("nano").eval())
    known = Texts.of(texts, shared.reference)
    plan = retention_plan(known, shared.mplus.memory_config.chunk_tokens, sizes, seed=1)
    recorder = InMemory()
    run_plans(usual_systems(shared), [plan], Judge(), recorder, silent)
    cells = cells_of(recorder.lines)
    return {(cell.kind, cell.system, cell.wanted): cell for cell in cells}


@pytest.mark.long
def test_the_bundled_model_keeps_notes_that_it_was_told() -> None:
    cells = kept([SENTENCES * 20], RetentionSizes(24, (0, 3_000)))
    assert cells[NOTE, LONG_TERM, 0].accuracy >= 0.9
    assert cells[NOTE, LONG_TERM, 3_000].accuracy >= 0.9
    assert cells[NOTE, SHORT_TERM, 3_000].accuracy <= 0.2
    assert cells[NOTE, WITHOUT, None].accuracy <= 0.1


@pytest.mark.slow
@pytest.mark.skipif(not BOOKS, reason="the held-out books are not here (../shared)")
def test_notes_are_kept_for_50_000_tokens_by_the_long_term_store() -> None:
    texts = [read_document(path).text for path in BOOKS]
    cells = kept(texts, RetentionSizes(100, (0, 50_000)))
    assert cells[NOTE, LONG_TERM, 0].accuracy >= 0.9
    assert cells[NOTE, LONG_TERM, 50_000].accuracy >= 0.9
    assert cells[NOTE, SHORT_TERM, 50_000].accuracy < 0.2
    assert cells[NOTE, WITHOUT, None].accuracy < 0.02
    assert cells[UNKNOWN, LONG_TERM, 0].accuracy >= 0.9
    # What was never told of somebody who has just been spoken of is the hardest to decline: 89%
    # over 150 questions, of which these are 25.
    assert cells[UNTOLD, LONG_TERM, 0].accuracy >= 0.8
    assert cells[UNTOLD, LONG_TERM, 50_000].accuracy >= 0.9

import pytest
from tests.evaluation.conftest import silent
from tests.systems.conftest import SHARED

from memplus import MPlus
from memplus.data.stream import Texts
from memplus.errors import ConfigError
from memplus.evaluation.engine.bench import Bench
from memplus.evaluation.engine.run import Report
from memplus.evaluation.tasks.demonstration import (
    Demonstration,
    demonstrate,
    language_documentation,
)
from memplus.evaluation.tasks.demonstration_plans import notes_to_tell, statements_to_tell
from memplus.evaluation.tasks.held_out import STATEMENT
from memplus.evaluation.tasks.note_layouts import ALONE
from memplus.evaluation.tasks.outside_names import ONE_ATTRIBUTE, OUTSIDE
from memplus.evaluation.tasks.retention import NOTE, RetentionSizes
from memplus.evaluation.tasks.told import NEVER_TOLD
from memplus.systems.registry import make_systems, usual_systems
from memplus.systems.shared import Shared

TEXT = "The sun rose. A dog barked! Nobody came. " * 30


def show_notes(
    bench: Bench, text: str, sizes: RetentionSizes, seed: int, report: Report = silent
) -> Demonstration:
    texts = Texts.of([text], bench.reference)
    return demonstrate(bench, texts, notes_to_tell(texts, bench.chunk, sizes, seed), report)


def test_the_documentation_is_long() -> None:
    assert len(language_documentation().split()) > 50_000


@pytest.mark.long
def test_every_note_is_asked_at_the_distances_that_fit_and_shown_with_evidence(
    bench: Bench,
) -> None:
    seen: set[str] = set()
    sizes = RetentionSizes(3, (0, 200, 100_000))
    shown = show_notes(bench, TEXT, sizes, 3, lambda what, done, total: seen.add(what))
    asked = {(one.system, one.wanted): one.asked for one in shown.cells if one.kind == NOTE}
    assert asked == {
        ("nothing", None): 3,
        ("mplus", 0): 3,
        ("memoryllm", 0): 3,
        ("mplus", 200): 3,
        ("memoryllm", 200): 3,
    }
    assert seen == {
        "reading",
        "asking",
        "asking with evidence",
        "reading about others",
        "asking about others",
    }
    outside = {(one.kind, one.system, one.wanted): one.asked for one in shown.outside}
    assert outside == {
        (kind, "mplus", wanted): 3
        for kind in (ALONE, OUTSIDE, ONE_ATTRIBUTE)
        for wanted in (0, 200)
    }
    assert len(shown.shown) == 3
    distances = [one.distance for one in shown.shown]
    assert distances == sorted(distances, reverse=True)
    assert distances[-1] >= 200
    # A random model is never right, but what it attends to is quoted as it was told.
    assert shown.told_first == 0
    chunk = SHARED.mplus.memory_config.chunk_tokens
    assert all(len(one.quote.encode()) == chunk for one in shown.shown)
    told = TEXT + " ".join(one.quote for one in shown.shown)
    assert all(one.quote in told for one in shown.shown)


@pytest.mark.long
def test_right_answers_of_the_bundled_model_stand_on_the_notes_themselves() -> None:
    shared = Shared(lambda: MPlus.from_pretrained("nano").eval())
    bench = Bench(usual_systems(shared), shared.reference)
    sizes = RetentionSizes(6, (0, 500))
    shown = show_notes(bench, TEXT * 4, sizes, 0)
    assert shown.accuracy["mplus"] >= 0.9
    assert shown.told_first >= 0.8
    for one in shown.shown:
        assert one.right == (one.said == one.right_answer)
        assert one.quotes_told == (one.right_answer in one.quote)
        assert 0 < one.share <= 1


@pytest.mark.long
def test_statements_are_told_once_and_asked_at_every_distance_beside_what_was_never_told(
    bench: Bench,
) -> None:
    texts = Texts.of([TEXT * 4], bench.reference)
    telling = statements_to_tell(texts, bench.chunk, RetentionSizes(4, (0, 300)), 1)
    shown = demonstrate(bench, texts, telling, silent)
    assert (shown.kind, shown.told, shown.outside) == (STATEMENT, 4, [])
    asked = {(one.system, one.wanted): one.asked for one in shown.cells if one.kind == STATEMENT}
    assert asked == {
        ("nothing", None): 4,
        ("mplus", 0): 4,
        ("memoryllm", 0): 4,
        ("mplus", 300): 4,
        ("memoryllm", 300): 4,
    }
    untold = [one for one in shown.cells if one.kind == NEVER_TOLD and one.system == "mplus"]
    assert sum(one.asked for one in untold) == 2
    assert all(one.distance >= 300 for one in shown.shown)


def test_what_keeps_nothing_cannot_be_shown(bench: Bench) -> None:
    nothing = Bench(make_systems(["nothing"], SHARED), bench.reference)
    with pytest.raises(ConfigError, match="'nothing': it does not say what"):
        show_notes(nothing, TEXT, RetentionSizes(3, (0,)), 0)

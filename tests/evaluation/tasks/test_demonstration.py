import pytest
from tests.evaluation.conftest import silent
from tests.systems.conftest import SHARED

from memplus import MPlus
from memplus.errors import ConfigError
from memplus.evaluation.engine.bench import Bench
from memplus.evaluation.tasks.demonstration import demonstrate, language_documentation
from memplus.evaluation.tasks.note_layouts import ALONE
from memplus.evaluation.tasks.outside_names import ONE_ATTRIBUTE, OUTSIDE
from memplus.evaluation.tasks.retention import NOTE, RetentionSizes
from memplus.systems.registry import make_systems, usual_systems
from memplus.systems.shared import Shared

TEXT = "The sun rose. A dog barked! Nobody came. " * 30


def test_the_documentation_is_long() -> None:
    assert len(language_documentation().split()) > 50_000


def test_every_note_is_asked_at_the_distances_that_fit_and_shown_with_evidence(
    bench: Bench,
) -> None:
    seen: set[str] = set()
    shown = demonstrate(
        bench,
        TEXT,
        RetentionSizes(3, (0, 200, 100_000)),
        seed=3,
        report=lambda what, done, total: seen.add(what),
    )
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
    assert shown.note_first == 0
    chunk = SHARED.mplus.memory_config.chunk_tokens
    assert all(len(one.quote.encode()) == chunk for one in shown.shown)
    told = TEXT + " ".join(one.quote for one in shown.shown)
    assert all(one.quote in told for one in shown.shown)


def test_right_answers_of_the_bundled_model_stand_on_the_notes_themselves() -> None:
    shared = Shared(lambda: MPlus.from_pretrained("nano").eval())
    bench = Bench(usual_systems(shared), shared.reference)
    sizes = RetentionSizes(6, (0, 500))
    shown = demonstrate(bench, TEXT * 4, sizes, seed=0, report=silent)
    assert shown.accuracy["mplus"] >= 0.9
    assert shown.note_first >= 0.8
    for one in shown.shown:
        assert one.right == (one.said == one.right_answer)
        assert one.quotes_note == (one.right_answer in one.quote)
        assert 0 < one.share <= 1


def test_a_text_too_short_for_any_distance_is_refused(bench: Bench) -> None:
    with pytest.raises(ConfigError, match="too short to ask"):
        demonstrate(bench, TEXT[:60], RetentionSizes(3, (0, 200)), seed=0, report=silent)


def test_what_keeps_nothing_cannot_be_shown(bench: Bench) -> None:
    nothing = Bench(make_systems(["nothing"], SHARED), bench.reference)
    with pytest.raises(ConfigError, match="'nothing': it does not say what"):
        demonstrate(nothing, TEXT, RetentionSizes(3, (0,)), seed=0, report=silent)

import pytest
from tests.fakes import make_mplus
from tests.systems.conftest import SMALL

from memplus.errors import ConfigError
from memplus.evaluation.engine.run import LONG_TERM, SHORT_TERM, WITHOUT
from memplus.evaluation.tasks import demonstration as demo
from memplus.evaluation.tasks.demonstration import demonstrate, language_documentation
from memplus.evaluation.tasks.retention import NOTE

TEXT = "The sun rose. A dog barked! Nobody came. " * 30


def test_the_documentation_is_long() -> None:
    assert len(language_documentation().split()) > 50_000


def test_every_note_is_asked_at_the_distances_that_fit_and_shown_with_evidence(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(demo, "_DISTANCES", (0, 200, 100_000))
    model = make_mplus(config=SMALL)
    seen: set[str] = set()
    shown = demonstrate(
        model, TEXT, notes=3, seed=3, report=lambda what, done, total: seen.add(what)
    )
    asked = {(one.method, one.wanted): one.asked for one in shown.cells if one.kind == NOTE}
    assert asked == {
        (WITHOUT, None): 3,
        (LONG_TERM, 0): 3,
        (SHORT_TERM, 0): 3,
        (LONG_TERM, 200): 3,
        (SHORT_TERM, 200): 3,
    }
    assert seen == {"reading", "asking", "asking with evidence"}
    assert len(shown.shown) == 3
    distances = [one.distance for one in shown.shown]
    assert distances == sorted(distances, reverse=True)
    assert distances[-1] >= 200
    assert all(one.quote for one in shown.shown)
    assert 0 <= shown.note_first <= 1


def test_a_text_too_short_for_any_distance_is_refused() -> None:
    with pytest.raises(ConfigError, match="too short to ask"):
        demonstrate(make_mplus(config=SMALL), TEXT[:60], notes=3, seed=0, report=lambda *what: None)

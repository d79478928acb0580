from tests.fakes import make_mplus

from memplus.evaluation.demo import (
    LONG_TERM,
    SHORT_TERM,
    WITHOUT,
    demonstrate,
    language_documentation,
    tokenize_with,
)

TEXT = "The sun rose. A dog barked at the gate! Nobody came by that day. " * 12


def test_the_documentation_is_long() -> None:
    assert len(language_documentation().split()) > 50_000


def test_offsets_cover_the_text() -> None:
    ids, offsets = tokenize_with(make_mplus())(TEXT)
    assert len(ids) == len(offsets)
    assert offsets[0][0] == 0
    assert offsets[-1][1] == len(TEXT)


def test_every_note_is_asked_of_all_three_and_the_memory_is_read_once() -> None:
    model = make_mplus()
    seen: list[tuple[str, int, int]] = []
    shown = demonstrate(
        model,
        TEXT,
        notes=4,
        seed=3,
        report=lambda what, done, total: seen.append((what, done, total)),
    )
    assert set(shown.curves) == {LONG_TERM, SHORT_TERM, WITHOUT}
    assert all(sum(one.asked for one in bins) == 4 for bins in shown.curves.values())
    assert shown.notes == 4
    assert shown.tokens > len(model.encode(TEXT))
    assert len(shown.shown) == 3
    assert [one.distance for one in shown.shown] == sorted(
        (one.distance for one in shown.shown), reverse=True
    )
    assert {what for what, _, _ in seen} == {
        "reading",
        *(f"asking {name}" for name in shown.curves),
    }
    assert 0 <= shown.accuracy(LONG_TERM) <= 1

from __future__ import annotations

from memplus.training.notes.ahead import made_ahead
from memplus.training.notes.episodes import EpisodeMaker
from memplus.training.notes.jobs import JobSource, NotesJob


def drawn(source: JobSource) -> list[NotesJob]:
    """Steps of which the third begins the next stage, as a resumed run would draw them too."""
    return [source.draw(5, step, 0, int(step > 8)) for step in (7, 8, 9, 10)]


def test_episodes_made_ahead_are_those_made_there_and_then(maker: EpisodeMaker) -> None:
    with made_ahead(maker, 0) as source:
        assert source is maker
    with made_ahead(maker, 1) as source:
        made = drawn(source)
    for one, other in zip(made, drawn(maker), strict=True):
        assert (one.stage, one.seed, one.counts) == (other.stage, other.seed, other.counts)
        for name, part in vars(other.episode).items():
            assert part.equal(getattr(one.episode, name)), name
            assert part.dtype == getattr(one.episode, name).dtype

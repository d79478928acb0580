from __future__ import annotations

from tests.training.conftest import SMALL

from memplus.training.notes.episodes import EpisodeMaker


def test_a_job_counts_what_is_written_and_read_and_is_named_by_its_stage(
    maker: EpisodeMaker,
) -> None:
    job = maker.draw(seed=1, step=2, part=0, stage=0)
    assert job.label == SMALL.stages[0].name
    assert job.tokens == job.episode.chunks.numel() + job.episode.ids.numel()
    assert job.stage is SMALL.stages[0]


def test_a_job_follows_from_seed_step_and_part(maker: EpisodeMaker) -> None:
    def ids(seed: int, step: int, part: int) -> list[int]:
        return maker.draw(seed, step, part, 0).episode.chunks.flatten().tolist()

    assert ids(1, 2, 0) == ids(1, 2, 0)
    assert len({tuple(ids(*key)) for key in ((1, 2, 0), (1, 2, 1), (1, 3, 0), (2, 2, 0))}) == 4

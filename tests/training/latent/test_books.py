from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tests.training.latent.surroundings import SEGMENT, around

from memplus.errors import ConfigError
from memplus.training.engine.schedules import Schedule
from memplus.training.latent.books import Books, BooksSource
from memplus.training.tasks.asked import IGNORED


def source(
    folder: Path, segments: object = 5, share: range = range(2), **task: object
) -> BooksSource:
    given = Books(segments=Schedule.parse(segments), **task)  # type: ignore[arg-type]
    return given.open(around(folder, share))


def test_a_window_is_read_on_from_step_to_step_and_begins_afresh_behind_its_end(
    tmp_path: Path,
) -> None:
    whole = source(tmp_path).draw(0, 0)
    assert whole.fresh
    assert whole.ids.shape == (2, 5 * SEGMENT)
    assert whole.labels is not None
    one = source(tmp_path, per_step=2)
    jobs = [one.draw(step, 0) for step in range(4)]
    assert [job.fresh for job in jobs] == [True, False, False, True]
    assert [job.ids.shape[1] // SEGMENT for job in jobs] == [2, 2, 1, 2]
    assert torch.cat([job.ids for job in jobs[:3]], dim=1).equal(whole.ids)
    labels = [job.labels for job in jobs[:3] if job.labels is not None]
    assert torch.cat(labels, dim=1).equal(whole.labels)
    assert jobs[0].tokens == 2 * 2 * SEGMENT


def test_every_token_predicts_the_next_one_across_segments(tmp_path: Path) -> None:
    job = source(tmp_path).draw(0, 0)
    assert job.labels is not None
    assert job.labels[:, :-1].equal(job.ids[:, 1:])


def test_only_the_last_segment_is_scored_where_it_says_so(tmp_path: Path) -> None:
    job = source(tmp_path, scored="last").draw(0, 0)
    assert job.labels is not None
    assert bool((job.labels[:, :-SEGMENT] == IGNORED).all())
    assert bool((job.labels[:, -SEGMENT:] != IGNORED).all())


def test_windows_grow_with_the_steps(tmp_path: Path) -> None:
    one = source(tmp_path, segments={0: 2, 10: 6})
    assert one.draw(0, 0).ids.shape[1] == 2 * SEGMENT
    assert one.draw(10, 0).ids.shape[1] == 6 * SEGMENT


def test_processes_read_their_own_documents_of_one_batch(tmp_path: Path) -> None:
    whole = source(tmp_path, segments=[2, 5])
    parts = [source(tmp_path, segments=[2, 5], share=range(i, i + 1)) for i in range(2)]
    for step in range(5):
        drawn = [one.draw(step, 0) for one in parts]
        assert whole.draw(step, 0).ids.equal(torch.cat([job.ids for job in drawn]))


def test_where_it_stands_is_taken_up_again(tmp_path: Path) -> None:
    one, two = source(tmp_path, per_step=2), source(tmp_path, per_step=2)
    one.draw(0, 0)
    two.around.order.restore(one.around.order.state())
    two.restore(one.tensors(), one.state())
    for step in range(1, 5):
        assert one.draw(step, 0).ids.equal(two.draw(step, 0).ids)


def test_steps_that_would_learn_nothing_are_refused() -> None:
    with pytest.raises(ConfigError, match="learn nothing"):
        Books(per_step=1, scored="last")

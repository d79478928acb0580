from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tests.fakes import make_tokenizer
from tests.training.latent.settings import QUESTIONS
from tests.training.latent.surroundings import SEGMENT, around

from memplus.errors import ConfigError
from memplus.training.latent.questions import LatentQuestions, QuestionsSource
from memplus.training.latent.registry import task_from
from memplus.training.latent.task import LatentJob
from memplus.training.tasks.asked import IGNORED, Asked, Kind


def source(folder: Path, share: range = range(2), **changes: Any) -> QuestionsSource:
    task = task_from(QUESTIONS | changes)
    assert isinstance(task, LatentQuestions)
    return task.open(around(folder, share))


def rows_of(job: LatentJob) -> Asked:
    assert job.asked is not None
    return job.asked


def test_equal_seeds_draw_equal_passes_and_processes_their_own_documents(tmp_path: Path) -> None:
    whole = source(tmp_path)
    parts = [source(tmp_path, range(index, index + 1)) for index in range(2)]
    for step in range(4):
        job, drawn = whole.draw(step, 0), [one.draw(step, 0) for one in parts]
        assert job.ids.equal(torch.cat([one.ids for one in drawn]))
        assert {one.fresh for one in drawn} == {job.fresh}
        kinds = torch.cat([rows_of(one).kinds for one in drawn])
        assert rows_of(job).kinds.equal(kinds)
        answers = torch.cat([rows_of(one).labels[rows_of(one).labels != IGNORED] for one in drawn])
        assert rows_of(job).labels[rows_of(job).labels != IGNORED].equal(answers)


def test_pieces_stand_where_it_is_said_in_all_that_was_told(tmp_path: Path) -> None:
    one = source(tmp_path, tails=0.0, forgets=0.0, segments=4)
    told = torch.empty(2, 0, dtype=torch.int64)
    for step in range(4):
        job = one.draw(step, 0)
        asked = rows_of(job)
        for place in (asked.kinds == Kind.CONTINUED).nonzero()[:, 0].tolist():
            first, last = asked.rows[place].tolist()
            labels = asked.labels[place]
            own = job.ids[place // QUESTIONS["asked"], first : last + 1]
            assert labels[labels != IGNORED].equal(own)
        told = torch.cat([told, job.ids], dim=1)
    assert one.state()["clock"] == told.shape[1] == 4 * 4 * SEGMENT


def test_what_earlier_passes_told_is_asked_for_while_it_is_remembered(tmp_path: Path) -> None:
    given = {"earlier": 1.0, "untold": 0.0, "forgets": 0.0, "continued": 0, "segments": 12}
    one = source(tmp_path, remembered=100_000, **given)
    kinds = torch.cat([rows_of(one.draw(step, 0)).kinds for step in range(3)])
    assert bool((kinds == Kind.EARLIER).any())
    forgetful = source(tmp_path, remembered=1, **given)
    kinds = torch.cat([rows_of(forgetful.draw(step, 0)).kinds for step in range(3)])
    assert not bool((kinds == Kind.EARLIER).any())


def test_no_answer_is_learned_that_lies_further_back_than_is_remembered(tmp_path: Path) -> None:
    job = source(tmp_path, remembered=60, earlier=0.0, segments=8, asked=12).draw(0, 0)
    assert job.seen is not None
    told = rows_of(job).rows[:, 1] >= rows_of(job).rows[:, 0]
    back = 8 * SEGMENT - rows_of(job).rows[:, 0]
    assert job.seen.equal(~told | (back <= 60))
    assert bool((told & ~job.seen).any())
    assert bool((told & job.seen).any())
    endless = source(tmp_path, remembered=0, earlier=0.0, segments=8).draw(0, 0)
    assert endless.seen is not None
    assert bool(endless.seen.all())


def test_the_question_s_place_leaves_the_template_out(tmp_path: Path) -> None:
    job = source(tmp_path, continued=1, untold=1.0).draw(0, 0)
    asked, tokenizer = rows_of(job), make_tokenizer()
    assert job.about is not None
    for place in (asked.kinds == Kind.UNTOLD).nonzero()[:, 0].tolist():
        start, end = job.about[place].tolist()
        question = tokenizer.decode(asked.ids[place, start:end])
        row = tokenizer.decode(asked.ids[place][asked.prompt[place]])
        assert row == f"<q> {question} <a>\n"


def test_where_it_stands_is_taken_up_again(tmp_path: Path) -> None:
    one, two = source(tmp_path), source(tmp_path)
    for step in range(2):
        one.draw(step, 0)
    two.around.order.restore(one.around.order.state())
    two.restore(one.tensors(), one.state())
    for step in range(2, 5):
        first, second = one.draw(step, 0), two.draw(step, 0)
        assert first.ids.equal(second.ids)
        assert rows_of(first).ids.equal(rows_of(second).ids)
        assert first.fresh == second.fresh


def test_tokens_count_what_is_told_and_what_is_asked(tmp_path: Path) -> None:
    job = source(tmp_path, tails=0.0).draw(0, 0)
    asked = rows_of(job)
    assert asked.pad is not None
    read = asked.ids.numel() - int(asked.pad.sum())
    assert job.tokens == job.ids.numel() + read


def test_what_the_system_cannot_read_or_nothing_remembers_is_refused(tmp_path: Path) -> None:
    task = task_from(QUESTIONS)
    with pytest.raises(ConfigError, match=r"tasks\.questions\.tail_tokens"):
        task.open(around(tmp_path, longest=60))
    with pytest.raises(ConfigError, match="remembered is 0"):
        task_from(QUESTIONS | {"remembered": 0})
    with pytest.raises(ConfigError, match="nothing to ask"):
        task_from(QUESTIONS | {"sources": []})

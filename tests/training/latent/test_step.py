"""A step against the same sums taken slowly: no checkpointing, no padding, row by row."""

from __future__ import annotations

import pytest
import torch
from tests.fakes import make_model, some_ids
from tests.training.latent.toy import Learner, LearnerOptions, Stepwise
from torch import Tensor
from torch.nn import functional

from memplus.backbone.access import Backbone
from memplus.training.latent.step import LatentStep
from memplus.training.latent.task import LatentJob
from memplus.training.tasks.asked import IGNORED, AskedRow, Kind, asked_of

SEGMENT = 8


def learner(kind: type[Learner] = Learner, family: str = "llama") -> Learner:
    backbone = Backbone(make_model(family, attention="eager"))
    backbone.model.requires_grad_(requires_grad=False)
    torch.manual_seed(0)
    made = kind(backbone, LearnerOptions(segment=SEGMENT))
    with torch.no_grad():
        for weight in made.parameters():
            weight.add_(torch.randn(weight.shape) * 0.1)
    return made


def text_job(segments: int, *, last: bool = False, fresh: bool = True) -> LatentJob:
    ids = some_ids(2, segments * SEGMENT + 1)
    labels = ids[:, 1:].clone()
    if last:
        labels[:, :-SEGMENT] = IGNORED
    return LatentJob("books", 3, ids[:, :-1], fresh, ids.numel(), labels)


def gradients(mechanism: Learner, loss: Tensor) -> dict[str, Tensor]:
    mechanism.zero_grad()
    loss.backward()
    return {n: w.grad.clone() for n, w in mechanism.named_parameters() if w.grad is not None}


def expect_equal(one: dict[str, Tensor], two: dict[str, Tensor]) -> None:
    assert one.keys() == two.keys()
    for name, value in one.items():
        assert value.allclose(two[name], atol=1e-6, rtol=1e-4), name


@pytest.mark.parametrize("kind", [Learner, Stepwise])
@pytest.mark.parametrize("last", [True, False])
def test_losses_and_gradients_are_those_of_one_graph(kind: type[Learner], *, last: bool) -> None:
    mechanism = learner(kind)
    job = text_job(3, last=last)
    loss, figures = LatentStep(mechanism)(job)
    found = gradients(mechanism, loss)
    state, hidden = mechanism.empty(2), []
    for ids in job.ids.split(SEGMENT, dim=1):
        part, state = mechanism.read_and_write(state, ids)
        hidden.append(part)
    head = mechanism.backbone.model.get_output_embeddings()
    assert job.labels is not None
    logits = head(torch.cat(hidden, dim=1)).flatten(0, 1)
    slow = functional.cross_entropy(logits, job.labels.flatten(), ignore_index=IGNORED)
    assert loss.item() == pytest.approx(slow.item(), rel=1e-5)
    assert figures["loss.books"] == figures["loss"] == loss.detach()
    expect_equal(found, gradients(mechanism, slow))
    assert mechanism.steps == [3]


def test_gradients_reach_the_first_segment_only_where_they_go_through_time() -> None:
    for kind, reaches in ((Learner, True), (Stepwise, False)):
        mechanism = learner(kind)
        loss, _ = LatentStep(mechanism)(text_job(3, last=True))
        # The matrix maps what earlier segments left; ``first`` alone is added in every segment.
        whole = gradients(mechanism, loss)["into"]
        state = mechanism.empty(2)
        job = text_job(3, last=True)
        for ids in job.ids[:, :-SEGMENT].split(SEGMENT, dim=1):
            state = mechanism.read_and_write(state, ids)[1].detached()
        hidden, _ = mechanism.read_and_write(state, job.ids[:, -SEGMENT:])
        logits = mechanism.backbone.model.get_output_embeddings()(hidden)
        assert job.labels is not None
        alone = functional.cross_entropy(logits.flatten(0, 1), job.labels[:, -SEGMENT:].flatten())
        assert whole.allclose(gradients(mechanism, alone)["into"], atol=1e-6) != reaches


def test_a_state_is_carried_on_unless_a_pass_begins_afresh() -> None:
    mechanism = learner(Stepwise)
    step = LatentStep(mechanism)
    both, first, second = text_job(4), text_job(4), text_job(4, fresh=False)
    assert both.labels is not None
    half = 2 * SEGMENT
    first = LatentJob("books", 0, both.ids[:, :half], True, 0, both.labels[:, :half])
    second = LatentJob("books", 1, both.ids[:, half:], False, 0, both.labels[:, half:])
    whole = step(both)[0].item()
    parts = [step(job)[0].item() for job in (first, second)]
    assert sum(parts) / 2 == pytest.approx(whole, rel=1e-5)
    afresh = LatentJob("books", 1, second.ids, True, 0, second.labels)
    assert abs(step(afresh)[0].item() - parts[1]) > 1e-4


ROWS = [
    AskedRow(Kind.TOLD, (), (1, 2, 3, 4), (5, 6)),
    AskedRow(Kind.CONTINUED, (), (9, 8), (7, 6, 5)),
    AskedRow(Kind.TOLD, (11, 12, 13), (1, 2), (6,)),
    AskedRow(Kind.UNTOLD, (), (4, 2, 1), (5, 5, 5)),
]


def question_job(fresh: bool = True) -> LatentJob:
    asked = asked_of(ROWS, torch.device("cpu"), left=True)
    about = torch.zeros(len(ROWS), 2, dtype=torch.int64)
    seen = torch.ones(len(ROWS), dtype=torch.bool)
    ids = some_ids(2, 3 * SEGMENT)
    return LatentJob("questions", 0, ids, fresh, 0, asked=asked, about=about, seen=seen)


@pytest.mark.parametrize("family", ["llama", "qwen3"])
@pytest.mark.parametrize("kind", [Learner, Stepwise])
def test_questions_cost_what_each_costs_by_itself(kind: type[Learner], family: str) -> None:
    mechanism = learner(kind, family)
    job = question_job()
    loss, figures = LatentStep(mechanism)(job)
    found = gradients(mechanism, loss)
    head = mechanism.backbone.model.get_output_embeddings()
    documents = []
    for index in range(2):
        state = mechanism.empty(1)
        for ids in job.ids[index : index + 1].split(SEGMENT, dim=1):
            state = mechanism.read_and_write(state, ids)[1]
            state = state if mechanism.through_time else state.detached()
        sums = {True: [], False: []}  # type: ignore[var-annotated]
        for row in ROWS[2 * index : 2 * index + 2]:
            ids = torch.tensor([[*row.tail, *row.prompt, *row.answer]])
            logits = head(mechanism.read(state, ids[:, :-1]))[0, -len(row.answer) :]
            each = functional.cross_entropy(logits, ids[0, -len(row.answer) :], reduction="none")
            sums[row.kind == Kind.CONTINUED].append(each)
        parts = {piece: torch.cat(each).mean() for piece, each in sums.items() if each}
        documents.append(parts[False] + 0.3 * parts.get(True, torch.zeros(())))
    slow = torch.stack(documents).mean()
    assert loss.item() == pytest.approx(slow.item(), rel=1e-5)
    expect_equal(found, gradients(mechanism, slow))
    asked = sum(len(row.prompt) + len(row.answer) for row in ROWS)
    assert figures["question_tokens"].item() * 2 == asked


def test_states_survive_a_checkpoint() -> None:
    mechanism = learner()
    one, two = LatentStep(mechanism), LatentStep(mechanism)
    one(text_job(2))
    one(question_job())
    two.restore(one.tensors())
    assert {label: len(state.mean) for label, state in two.states.items()} == {
        "books": 2, "questions": 2
    }  # fmt: skip
    for job in (text_job(2, fresh=False), question_job(fresh=False)):
        assert one(job)[0].equal(two(job)[0])

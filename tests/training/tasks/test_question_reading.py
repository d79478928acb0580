"""Questions read side by side against the same rows read one question at a time."""

from __future__ import annotations

import pytest
import torch
from tests.mplus.test_long_term_layers import Gapped
from tests.training.tasks.question_lanes import (
    DOCUMENTS,
    EACH,
    FAMILIES,
    NEVER,
    QUIET,
    SPAN,
    asked,
    model_of,
    written,
)
from torch import Tensor

from memplus.memory.superseding import FEATURES
from memplus.mplus.model import MPlus
from memplus.passes.read import HiddenPrefix
from memplus.training.engine.optimizers import choose_trainable
from memplus.training.superseding.runs import with_rule
from memplus.training.tasks.asked import IGNORED, Asked
from memplus.training.tasks.lanes import LaneMemory
from memplus.training.tasks.protocol import Job
from memplus.training.tasks.question_reading import read_questions
from memplus.training.tasks.question_spans import Found, find_spans
from memplus.training.tasks.retriever_config import RetrieverConfig


@pytest.fixture(params=FAMILIES)
def model(request: pytest.FixtureRequest) -> MPlus:
    return model_of(request.param)


def job_of(questions: Asked) -> Job:
    return Job(None, questions.ids, questions.ids, seeds=(1, 2), asked=questions)  # type: ignore[arg-type]


def rows_of(model: MPlus, memory: LaneMemory, spans: Tensor, document: int) -> Tensor:
    """[1, L, m + n, d] of one question, taken span by span."""
    assert memory.long_term is not None
    held = memory.long_term.held.vectors[document]
    found = [held[:, int(span) * SPAN : (int(span) + 1) * SPAN] for span in spans]
    pool = torch.stack(
        [memory.rows(layer)[document] for layer in range(len(model.backbone.layers))]
    )
    return torch.cat([*found, pool], dim=1)[None]


def slow_losses(model: MPlus, memory: LaneMemory, questions: Asked, found: Found | None) -> Tensor:
    """[Q] sum of each question's losses, read alone without padding."""
    sums = []
    for index, (ids, labels) in enumerate(zip(questions.ids, questions.labels, strict=True)):
        spans = torch.empty(0) if found is None else found.spans[index]
        rows = rows_of(model, memory, spans, index // EACH)
        length = int((labels != IGNORED).nonzero().max()) + 1
        prefix = HiddenPrefix(model.backbone, model.weights, rows)
        logits = model.core.logits(model.core.read_rows(ids[None, :length], prefix))[0]
        own = labels[:length]
        losses = torch.nn.functional.cross_entropy(logits, own, reduction="none")
        sums.append(losses.sum())
    return torch.stack(sums)


@pytest.mark.parametrize("chunks", [1, 2, 5])
@torch.no_grad()
def test_questions_side_by_side_have_the_losses_of_single_reads(model: MPlus, chunks: int) -> None:
    memory, questions = written(model, chunks), asked(None)
    assert memory.long_term is not None
    loss, _ = read_questions(model, memory, job_of(questions), 0, QUIET)
    found = None
    if memory.long_term.filled:
        found = find_spans(model, memory, questions, 0, QUIET, NEVER)
        loss = loss - QUIET.weight * found.loss
    sums = slow_losses(model, memory, questions, found).view(DOCUMENTS, EACH).sum(dim=1)
    counts = (questions.labels != IGNORED).sum(dim=1).view(DOCUMENTS, EACH).sum(dim=1)
    torch.testing.assert_close(loss, sums / counts, atol=2e-5, rtol=1e-5)


@torch.no_grad()
def test_scores_weigh_only_what_a_layer_reads() -> None:
    model = model_of("llama", weighs=True, layers="1-2")
    loss, _ = read_questions(model, written(model, 5), job_of(asked(None)), 0, QUIET)
    assert bool(loss.isfinite().all())


@torch.no_grad()
def test_layers_that_keep_no_rows_read_short_term_ones_at_their_places() -> None:
    """The read of a real memory, which keeps rows in these layers only, gives the same losses."""
    model = model_of("llama", layers="1-2")
    everywhere = model_of("llama")
    memory, questions = written(model, 5), asked(None)
    assert memory.long_term is not None
    assert memory.long_term.filled
    found = find_spans(model, memory, questions, 0, QUIET, NEVER)
    loss, _ = read_questions(model, memory, job_of(questions), 0, QUIET)
    whole, _ = read_questions(everywhere, memory, job_of(questions), 0, QUIET)
    assert bool((loss != whole).all())
    sums = []
    for index, (ids, labels) in enumerate(zip(questions.ids, questions.labels, strict=True)):
        rows = rows_of(model, memory, found.spans[index], index // EACH)
        length = int((labels != IGNORED).nonzero().max()) + 1
        prefix = Gapped(model.backbone, model.weights, rows)
        prefix.retrieved = found.spans.shape[1] * SPAN
        prefix.stored = model.memory_config.stored_layers(len(model.backbone.layers))
        logits = model.core.logits(model.core.read_rows(ids[None, :length], prefix))[0]
        own = labels[:length]
        sums.append(torch.nn.functional.cross_entropy(logits, own, reduction="sum"))
    counts = (questions.labels != IGNORED).sum(dim=1).view(DOCUMENTS, EACH).sum(dim=1)
    expected = torch.stack(sums).view(DOCUMENTS, EACH).sum(dim=1) / counts
    torch.testing.assert_close(loss - QUIET.weight * found.loss, expected, atol=2e-5, rtol=1e-5)


def test_what_is_not_read_teaches_nothing(model: MPlus) -> None:
    memory = written(model, 1)
    seen, unseen = asked((0, 3)), asked((2000, 2003))
    full = read_questions(model, memory, job_of(seen), 0, QUIET)
    none = read_questions(model, memory, job_of(unseen), 0, QUIET)
    assert (full[0] > 0).all()
    assert none[0].tolist() == [0.0] * DOCUMENTS
    assert float(none[1]["seen"]) == 0.0


@torch.no_grad()
def test_rows_of_spans_far_below_the_best_count_for_less() -> None:
    """With a weight so large that only the best span is left, the others may as well be absent."""
    model = model_of("llama", weighs=True)
    memory, questions = written(model, 5), asked(None)
    assert model.weights.span_weights is not None
    model.weights.span_weights.fill_(1e4)
    heavy, _ = read_questions(model, memory, job_of(questions), 0, QUIET)
    found = find_spans(model, memory, questions, 0, QUIET, NEVER)
    heavy = heavy - QUIET.weight * found.loss
    sums = []
    for index, best in enumerate(found.scores.argmax(dim=1).tolist()):
        labels = questions.labels[index]
        length = int((labels != IGNORED).nonzero().max()) + 1
        rows = rows_of(model, memory, found.spans[index], index // EACH)
        mask = torch.zeros((1, rows.shape[2]), dtype=torch.bool)
        mask[:, best * SPAN : (best + 1) * SPAN] = True
        prefix = HiddenPrefix(model.backbone, model.weights, rows, mask=mask)
        ids = questions.ids[index][None, :length]
        logits = model.core.logits(model.core.read_rows(ids, prefix))[0]
        sums.append(torch.nn.functional.cross_entropy(logits, labels[:length], reduction="sum"))
    expected = torch.stack(sums).view(DOCUMENTS, EACH).sum(dim=1)
    counts = (questions.labels != IGNORED).sum(dim=1).view(DOCUMENTS, EACH).sum(dim=1)
    torch.testing.assert_close(heavy, expected / counts, atol=2e-5, rtol=1e-5)


def test_a_rule_for_spans_that_are_replaced_is_neither_used_nor_learned() -> None:
    plain = model_of("llama")
    rule = torch.full((len(FEATURES) + 1,), 5.0)  # would replace most that it is asked about
    ruled = with_rule(plain, rule)
    choose_trainable(ruled, "adapters")
    assert [n for n, w in ruled.weights.named_parameters() if not w.requires_grad] == [
        "superseding", "retriever.0.center", "retriever.0.scale",
    ]  # fmt: skip
    found = []
    for model in (plain, ruled):
        memory, questions = written(model, 5), asked(None)
        found.append(read_questions(model, memory, job_of(questions), 0, QUIET)[0])
    assert torch.equal(*found)
    found[1].sum().backward()
    assert ruled.weights.superseding is not None
    assert ruled.weights.superseding.grad is None


def test_reading_teaches_the_retriever_where_its_scores_weigh() -> None:
    model = model_of("llama", weighs=True)
    memory, questions = written(model, 5), asked(None)
    loss, _ = read_questions(model, memory, job_of(questions), 0, RetrieverConfig(weight=0.0))
    loss.sum().backward()
    assert model.weights.span_weights is not None
    weights = [model.weights.span_weights, *model.weights.layer_retriever(1).parameters()]
    for weight in weights:
        assert weight.grad is not None
        assert float(weight.grad.abs().sum()) > 0

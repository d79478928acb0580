"""Which spans questions retrieve, against scores worked out token by token."""

from __future__ import annotations

import pytest
import torch
from tests.training.tasks.question_lanes import (
    CONFIG,
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

from memplus.backbone.session import running
from memplus.mplus.model import MPlus
from memplus.passes.read import HiddenPrefix, ReadSession
from memplus.training.tasks.asked import Asked
from memplus.training.tasks.lanes import LaneMemory
from memplus.training.tasks.question_spans import find_spans


@pytest.fixture(params=FAMILIES)
def model(request: pytest.FixtureRequest) -> MPlus:
    return model_of(request.param)


@torch.no_grad()
def slow_matches(model: MPlus, memory: LaneMemory, questions: Asked) -> list[list[Tensor]]:
    """[Q][dropped spans, then those of the pool][T]: each token's best cosine times the query's
    length."""
    assert memory.long_term is not None
    layer = 1
    retriever, access = model.weights.layer_retriever(layer), model.backbone.layers[layer]
    found = []
    for index, ids in enumerate(questions.ids):
        prompt = ids[questions.prompt[index]][None]
        rows = torch.zeros((1, len(model.backbone.layers), 0, model.backbone.hidden_size))
        session = ReadSession(model.backbone, HiddenPrefix(model.backbone, model.weights, rows))
        with running(model.backbone, session, model.backbone.adapters.reading):
            states = model.backbone.decoder(input_ids=prompt, output_hidden_states=True)
        asking = access.norm(states.hidden_states[layer][0])
        queries = retriever.query_proj((asking - retriever.center) * retriever.scale)
        lane = index // EACH
        stored = torch.cat([memory.long_term.held.vectors[lane, layer], memory.rows(layer)[lane]])
        keys = retriever.key_proj((access.norm(stored) - retriever.center) * retriever.scale)
        keys = keys / keys.norm(dim=-1, keepdim=True)
        own = []
        for span in range(len(keys) // SPAN):
            matches = queries @ keys[span * SPAN : (span + 1) * SPAN].T
            own.append(matches.max(dim=1).values)
        found.append(own)
    return found


def slow_scores(model: MPlus, memory: LaneMemory, questions: Asked) -> list[list[float]]:
    """[Q][dropped spans, then those of the pool]: the mean over tokens."""
    matches = slow_matches(model, memory, questions)
    return [[float(one.mean()) for one in spans] for spans in matches]


def slow_choice(scores: list[float], births: list[int], *, neighbours: bool) -> list[int]:
    """Births of what is retrieved, oldest first."""
    taken: list[int] = []
    left = sorted(zip(births, scores, strict=True), key=lambda one: -one[1])
    while left:
        best = left.pop(0)[0]
        taken.append(best)
        beside = [one for one in left if abs(one[0] - best) == SPAN][: int(neighbours)]
        taken += [birth for birth, _ in beside]
        left = [one for one in left if one not in beside]
    return sorted(taken[: CONFIG.retrieved_tokens // SPAN])


@torch.no_grad()
def test_the_best_spans_by_late_interaction_are_retrieved_oldest_first(model: MPlus) -> None:
    memory, questions = written(model, 6), asked()
    assert memory.long_term is not None
    found = find_spans(model, memory, questions, 0, QUIET, NEVER)
    slow = slow_scores(model, memory, questions)
    count = memory.long_term.filled // SPAN
    losses = []
    for index, scores in enumerate(slow):
        best = sorted(range(count), key=lambda place: -scores[place])[
            : CONFIG.retrieved_tokens // SPAN
        ]
        births = memory.long_term.held.birth[index // EACH, 0]
        assert found.spans[index].tolist() == sorted(
            best, key=lambda place: int(births[place * SPAN])
        )
        pool = memory.births()[index // EACH, 0]
        born = torch.cat([births, pool])[::SPAN]
        right = (born == 1).nonzero()[0, 0]  # rows 0..3 of the pass, which began at clock 0
        losses.append(-torch.log_softmax(torch.tensor(scores) / QUIET.temperature, 0)[right])
    expected = torch.stack(losses).view(DOCUMENTS, EACH).mean(dim=1)
    torch.testing.assert_close(found.loss, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("sharpens", [False, True])
@torch.no_grad()
def test_neighbours_and_sharpened_matches_choose_as_in_a_read(sharpens: bool) -> None:
    model = model_of("llama", neighbours=True, sharpens=sharpens)
    alone = 0
    for chunks in (6, 8, 10):
        memory, questions = written(model, chunks), asked()
        assert memory.long_term is not None
        found = find_spans(model, memory, questions, 0, QUIET, NEVER)
        count = memory.long_term.filled // SPAN
        for index, spans in enumerate(slow_matches(model, memory, questions)):
            old = torch.stack(spans[:count], dim=1)
            scores = old.mean(dim=0)
            if sharpens:
                scores = (old - old.mean(dim=1, keepdim=True)).clamp(min=0).pow(1.5).mean(dim=0)
            births = memory.long_term.held.birth[index // EACH, 0, ::SPAN]
            chosen = slow_choice(scores.tolist(), births.tolist(), neighbours=True)
            assert births[found.spans[index]].tolist() == chosen
            alone += chosen != slow_choice(scores.tolist(), births.tolist(), neighbours=False)
    assert alone


@torch.no_grad()
def test_right_spans_can_be_forced(model: MPlus) -> None:
    memory, questions = written(model, 8), asked()
    assert memory.long_term is not None
    always = torch.ones_like(NEVER)
    found = find_spans(model, memory, questions, 0, QUIET, always)
    for index, spans in enumerate(found.spans):
        births = memory.long_term.held.birth[index // EACH, 0, ::SPAN]
        if (births == 1).any():
            assert 1 in births[spans].tolist()


def test_the_retriever_learns_from_its_own_loss_and_nothing_else_does(model: MPlus) -> None:
    memory, questions = written(model, 5), asked()
    found = find_spans(model, memory, questions, 0, QUIET, NEVER)
    found.loss.sum().backward()
    retriever = model.weights.layer_retriever(1)
    assert all(weight.grad is not None for weight in retriever.parameters())
    # The retriever looks at rows and inputs through its layer's own norm.
    norm = {id(weight) for weight in model.backbone.layers[1].norm_module.parameters()}
    others = [w for n, w in model.named_parameters() if "retriever" not in n and id(w) not in norm]
    assert all(weight.grad is None for weight in others)

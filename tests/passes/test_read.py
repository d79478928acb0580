"""The read pass: what stands before the text, in which pass it is prepared, what comes back."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tests.fakes import (
    CONFIG,
    HIDDEN,
    LAYERS,
    distance,
    eager_for,
    make_model,
    make_mplus,
    several,
    slow_pass,
    some_ids,
)
from torch import Tensor

from memplus import MPlus
from memplus.backbone.attention import AttentionCall, Segment
from memplus.backbone.session import running
from memplus.passes.memory_prefix import MemoryPrefix
from memplus.passes.prompt import assemble
from memplus.passes.read import HiddenPrefix, Prefix, ReadSession
from memplus.passes.tails import Tails

TOLERANCE = 2e-5


class Counted(Prefix):
    """Nothing before the text, at positions from 5 on; counts what a session asks of it."""

    def __init__(self, rows: int = 0) -> None:
        self.rows = rows
        self.prepared: list[int] = []
        self.times: list[int] = []

    def shift(self, device: torch.device) -> Tensor:
        return torch.tensor([5], device=device)

    def expand(self, times: int) -> None:
        self.times.append(times)
        self.rows *= times

    def prepare(self, layer: int, hidden: Tensor, length: int) -> None:
        self.prepared.append(layer)


def rows(count: int, batch: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(batch, LAYERS, count, HIDDEN, generator=generator)


def test_positions_follow_the_prefix_the_cache_and_the_padding() -> None:
    model = make_mplus()
    seen: list[list[list[int]]] = []
    session = ReadSession(model.backbone, Counted())
    mask = torch.tensor([[0, 0, 1, 1], [1, 1, 1, 1]])
    with running(model.backbone, session, None), torch.no_grad():
        model.backbone.decoder.register_forward_pre_hook(
            lambda module, args, kwargs: seen.append(kwargs["position_ids"].tolist()),
            with_kwargs=True,
        )
        cache: Any = model.model(some_ids(2, 4), attention_mask=mask).past_key_values
        more = torch.cat([mask, torch.ones(2, 2, dtype=torch.long)], dim=1)
        model.model(some_ids(2, 2), attention_mask=more, past_key_values=cache)
        model.model(some_ids(2, 1), past_key_values=cache)
        model.model(some_ids(2, 1), past_key_values=cache, position_ids=torch.tensor([[1], [2]]))
    assert seen == [
        [[5, 5, 5, 6], [5, 6, 7, 8]],
        [[7, 8], [9, 10]],
        [[11]],
        [[6], [7]],
    ]


def test_a_prefix_is_prepared_once_layer_by_layer() -> None:
    model = make_mplus()
    prefix = Counted()
    session = ReadSession(model.backbone, prefix)
    with running(model.backbone, session, None), torch.no_grad():
        cache: Any = model.model(some_ids(1, 4)).past_key_values
        model.model(some_ids(1, 2), past_key_values=cache)
        model.model(some_ids(1, 6), use_cache=False)
    assert prefix.prepared == [0, 1, 2, 3]


def test_a_prefix_of_fewer_rows_serves_beams() -> None:
    model = make_mplus()
    prefix = Counted(rows=2)
    session = ReadSession(model.backbone, prefix)
    with running(model.backbone, session, None), torch.no_grad():
        cache: Any = model.model(some_ids(6, 4)).past_key_values
        model.model(some_ids(6, 1), past_key_values=cache)
    assert prefix.times == [3]


@pytest.mark.parametrize("grad", [False, True])
@pytest.mark.parametrize("name", ["llama", "gemma2", "gpt_neox", "smollm3"])
def test_rows_given_as_hidden_vectors_stand_before_the_text_in_every_layer(
    name: str, grad: bool
) -> None:
    model = make_mplus(name, attention=eager_for(name))
    bos = model.weights.bos_embedding
    assert bos is not None
    before = torch.cat([bos.reshape(LAYERS, 1, HIDDEN), rows(7)[0]], dim=1)
    with torch.no_grad():
        expected = slow_pass(make_model(name, attention="eager"), before, some_ids(6))[0]
    given: list[int] = []

    def source(layer: int, hidden: Tensor) -> Tensor:
        given.append(hidden.shape[1])
        return rows(7)[:, layer]

    prefixes = [
        HiddenPrefix(model.backbone, model.weights, rows(7)),
        HiddenPrefix(model.backbone, model.weights, source, count=7),
        HiddenPrefix(model.backbone, model.weights, before[None].detach(), bos=False),
    ]
    for prefix in prefixes:
        with torch.set_grad_enabled(grad):
            found = model.core.logits(model.core.read_rows(some_ids(1, 6), prefix))[0]
        assert distance(found, expected) <= 5e-5
    assert given == [6] * LAYERS


def eager_read(model: MPlus, which: list[int], ids: Tensor) -> tuple[list[Tensor], MemoryPrefix]:
    memories = [several(model)[index] for index in which]
    prompt = assemble(ids, None, [[] for _ in memories])
    prefix = MemoryPrefix(model.backbone, model.weights, memories, prompt.asked)
    session = ReadSession(model.backbone, prefix)
    with running(model.backbone, session, None), torch.no_grad():
        return list(model.model(ids, output_attentions=True).attentions), prefix


@pytest.mark.long
def test_eager_weights_cover_prefix_and_text_whatever_the_batch_holds() -> None:
    model = make_mplus(attention="eager")
    ids = some_ids(3, 5)
    together, prefix = eager_read(model, [2, 4, 0], ids)
    lengths = prefix.shift(torch.device("cpu")).tolist()
    assert len(set(lengths)) == 3
    for layer, weights in enumerate(together):
        assert weights.shape == (3, 4, 5, max(lengths) + 5)
        for row, (which, length) in enumerate(zip([2, 4, 0], lengths, strict=True)):
            alone = eager_read(model, [which], ids[row : row + 1])[0][layer][0]
            assert alone.shape[2] == length + 5
            assert distance(weights[row, :, :, -alone.shape[2] :], alone) <= TOLERANCE
            assert not bool(weights[row, :, :, : -alone.shape[2]].any())


def test_a_watch_sees_every_attention_and_the_prefix_it_saw() -> None:
    model = make_mplus()
    memory = several(model)[4]
    ids = some_ids(1, 5)
    prefix = MemoryPrefix(model.backbone, model.weights, [memory], torch.ones(1, 5).bool())
    session = ReadSession(model.backbone, prefix)
    seen: list[tuple[int, int]] = []

    def watch(call: AttentionCall, groups: list[tuple[slice, list[Segment]]]) -> None:
        seen.append((call.layer, sum(one.key.shape[2] for one in groups[0][1])))

    session.watch = watch
    with running(model.backbone, session, None), torch.no_grad():
        model.model(ids)
    full = 1 + CONFIG.retrieved_tokens + CONFIG.short_term_tokens
    assert seen == [(layer, full) for layer in range(LAYERS)]


def test_the_model_sees_tails_and_the_caller_does_not() -> None:
    model = make_mplus()
    ids, waiting = some_ids(1, 5), some_ids(3, seed=2)
    prompt = assemble(ids, None, [waiting.tolist()])
    session = ReadSession(model.backbone, Counted(), Tails(prompt, model.backbone.embedding))
    with running(model.backbone, session, None), torch.no_grad():
        found: Any = model.model(ids, output_hidden_states=True)
        plain = ReadSession(model.backbone, Counted())
    with running(model.backbone, plain, None), torch.no_grad():
        whole: Any = model.model(torch.cat([waiting[None], ids], dim=1), output_hidden_states=True)
    assert found.logits.shape[1] == 5
    assert distance(found.logits, whole.logits[:, 3:]) <= TOLERANCE
    assert found.past_key_values.get_seq_length() == 8
    for left, right in zip(found.hidden_states, whole.hidden_states, strict=True):
        assert distance(left, right[:, 3:]) <= TOLERANCE

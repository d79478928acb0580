"""The slow reference against what can be said without it: a stock Llama, and rules by hand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.reference import Reference, Row, Shape, State, random_checkpoint
from tests.reference.shapes import LINEAR, LLAMA3
from tests.reference.state import written
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

PLAIN = Shape(ltm_blocks=0, lora=0, bos=False)
IDS = torch.randint(0, PLAIN.vocab, (37,), generator=torch.Generator().manual_seed(5))


def stock(raw: dict[str, Any], tensors: dict[str, Tensor]) -> LlamaForCausalLM:
    known = set(LlamaConfig().to_dict()) | {"rope_scaling", "rope_theta"}
    model = LlamaForCausalLM(LlamaConfig(**{k: v for k, v in raw.items() if k in known}))
    names = set(model.state_dict())
    model.load_state_dict({name: tensor for name, tensor in tensors.items() if name in names})
    model.eval()
    return model


@pytest.mark.parametrize("scaling", [None, LINEAR, LLAMA3], ids=["default", "linear", "llama3"])
@torch.no_grad()
def test_without_memory_it_is_a_stock_llama(
    tmp_path: Path, scaling: Mapping[str, Any] | None
) -> None:
    shape = replace(PLAIN, rope_scaling=scaling, initialized=False)
    raw, tensors = random_checkpoint(tmp_path, shape)
    reference = Reference(raw, tensors)
    found = reference.read(reference.initial_state(), IDS).logits
    torch.testing.assert_close(found, stock(raw, tensors)(IDS[None]).logits[0], rtol=0, atol=2e-5)


@torch.no_grad()
def test_memory_of_its_own_layer_inputs_is_the_text_itself(tmp_path: Path) -> None:
    raw, tensors = random_checkpoint(tmp_path, PLAIN)
    output = stock(raw, tensors)(IDS[None], output_hidden_states=True)
    rows = torch.stack(output.hidden_states[: PLAIN.layers])[:, 0, : PLAIN.blocks * PLAIN.rows]
    reference = Reference(raw, tensors | {"memory": rows})
    found = reference.read(reference.initial_state(), IDS[rows.shape[1] :]).logits
    expected = output.logits[0, rows.shape[1] :]
    torch.testing.assert_close(found, expected, rtol=0, atol=2e-5)


@torch.no_grad()
def test_a_write_without_embedding_is_a_forward_over_the_context(tmp_path: Path) -> None:
    raw, tensors = random_checkpoint(tmp_path, PLAIN)
    tensors["new_memory_positional_emb"].zero_()
    hidden = stock(raw, tensors)(IDS[None], output_hidden_states=True).hidden_states
    context = torch.stack(hidden[: PLAIN.layers])[:, 0, : PLAIN.rows]
    delta = Reference(raw, tensors).write_pass(context, IDS[PLAIN.rows :]).delta
    # The stock model shows its last layer's output only after the final norm.
    for layer in range(PLAIN.layers - 1):
        expected = hidden[layer + 1][0, -PLAIN.rows :]
        torch.testing.assert_close(delta[layer], expected, rtol=0, atol=2e-5)


def counters_after_a_merge(folder: Path, counters: list[float], waiting: int) -> list[float]:
    """Counters of one layer after a write that drops one row and merges; M is 2."""
    shape = Shape(layers=1, rows=1, blocks=3, ltm_blocks=2, merge_every=1, first_counter=3)
    config = Reference(*random_checkpoint(folder, shape)).config
    row = Row(torch.zeros(1), age=4, key=torch.zeros(1))
    long = [replace(row, counter=counter) for counter in counters]
    state = State([[row] * 3], [long], [[row] * waiting])
    after = written(config, state, torch.zeros(1, 1, 1), [[0]], lambda layer, hidden: hidden)
    assert [one.age for one in after.short[0]] == [5, 5, 0]
    assert {one.age for one in after.long[0]} == {5}
    return [one.counter for one in after.long[0]]


def test_counters_fall_and_spent_rows_leave(tmp_path: Path) -> None:
    assert counters_after_a_merge(tmp_path, [5.0, 1.0, 2.0], waiting=1) == [4.0, 1.0, 2.0, 2.0]


def test_nothing_leaves_where_no_more_than_m_would_stay(tmp_path: Path) -> None:
    assert counters_after_a_merge(tmp_path, [1.0, 1.0, 2.0], waiting=0) == [1.0, 1.0, 2.0, 3.0]

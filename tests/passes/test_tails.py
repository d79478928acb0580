"""Tails put among the caller's tokens, and taken out of what comes back."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers.modeling_outputs import BaseModelOutputWithPast

from memplus.passes.prompt import assemble
from memplus.passes.tails import Tails

EMBEDDING = nn.Embedding(20, 4)
IDS = torch.tensor([[0, 0, 5], [7, 8, 9]])
MASK = torch.tensor([[0, 0, 1], [1, 1, 1]])


def tails(waiting: list[list[int]], mask: Tensor | None = MASK) -> Tails:
    return Tails(assemble(IDS, mask, waiting), EMBEDDING)


def put(made: Tails, start: int = 0, **arguments: Any) -> dict[str, Any]:
    made.put_in(arguments, start)
    return arguments


def test_ids_positions_and_mask_of_a_prompt_get_the_tails() -> None:
    found = put(
        tails([[1, 2], [3]]),
        input_ids=IDS,
        attention_mask=MASK,
        position_ids=torch.tensor([[0, 0, 0], [0, 1, 2]]),
    )
    assert found["input_ids"].tolist() == [[0, 1, 2, 5], [3, 7, 8, 9]]
    assert found["attention_mask"].tolist() == [[0, 1, 1, 1], [1, 1, 1, 1]]
    there = found["attention_mask"].bool()
    assert found["position_ids"][there].tolist() == [0, 1, 2, 0, 1, 2, 3]
    assert IDS.tolist() == [[0, 0, 5], [7, 8, 9]]


def test_embeddings_get_those_of_the_tails() -> None:
    with torch.no_grad():
        found = put(tails([[1, 2], [3]]), inputs_embeds=EMBEDDING(IDS), attention_mask=MASK)
        expected = EMBEDDING(torch.tensor([[0, 1, 2, 5], [3, 7, 8, 9]]))
    there = found["attention_mask"].bool()
    assert torch.equal(found["inputs_embeds"][there], expected[there])


def test_gradients_reach_the_callers_embeddings_through_the_tails() -> None:
    given = EMBEDDING(IDS).detach().requires_grad_()
    put(tails([[1, 2], [3]]), inputs_embeds=given)["inputs_embeds"].sum().backward()
    assert given.grad is not None
    # Where the first row's padding was, a tail of its memory stands.
    assert given.grad.sum(dim=2).tolist() == [[0, 0, 4], [4, 4, 4]]


def test_a_mask_is_dropped_where_nothing_is_hidden() -> None:
    made = tails([[1, 2, 3], [4]])
    assert put(made, input_ids=IDS, attention_mask=MASK)["attention_mask"] is None
    assert put(made, input_ids=IDS, attention_mask=None)["attention_mask"] is None
    assert put(made, 4, input_ids=IDS[:, :1])["attention_mask"] is None


@pytest.mark.parametrize("mask", ["the caller's", "none", "prepared for a static cache"])
def test_later_tokens_have_the_padding_of_the_prompt_before_them(mask: str) -> None:
    made = tails([[1], []])
    given = {
        "the caller's": torch.tensor([[0, 0, 1, 1], [1, 1, 1, 1]]),
        "none": None,
        "prepared for a static cache": torch.ones(2, 1, 1, 9, dtype=torch.bool),
    }[mask]
    found = put(
        made, 3, input_ids=IDS[:, 2:], attention_mask=given, position_ids=torch.tensor([[1], [3]])
    )
    assert found["attention_mask"].tolist() == [[0, 1, 1, 1], [1, 1, 1, 1]]
    assert found["position_ids"].tolist() == [[2], [3]]
    assert found["input_ids"].tolist() == [[5], [9]]


def test_a_prompt_in_parts_gets_its_tails_where_they_belong() -> None:
    made = tails([[1, 2], [3]])
    whole = put(tails([[1, 2], [3]]), input_ids=IDS, position_ids=torch.arange(3)[None])
    parts, start = [], 0
    for length in (1, 2):
        end = start + length + (0 if start else made.extra)
        own = slice(max(0, start - made.extra), end - made.extra)
        part = put(
            made,
            start,
            input_ids=IDS[:, own],
            position_ids=torch.arange(3)[None, own],
            attention_mask=MASK[:, : end - made.extra],
        )
        assert part["attention_mask"].shape == (2, end)
        parts.append(part)
        start = end
    for name in ("input_ids", "position_ids"):
        assert torch.equal(torch.cat([part[name] for part in parts], dim=1), whole[name])


def test_beams_get_the_tail_of_their_row() -> None:
    found = put(tails([[1, 2], [3]]), input_ids=IDS.repeat_interleave(2, dim=0))
    assert found["input_ids"].tolist() == [[0, 1, 2, 5]] * 2 + [[3, 7, 8, 9]] * 2
    assert found["attention_mask"].tolist() == [[0, 1, 1, 1]] * 2 + [[1, 1, 1, 1]] * 2


def test_a_conversation_goes_on_after_what_the_cache_holds_of_it() -> None:
    """Stock generation hands out too few tokens: it takes the tail for the caller's."""
    longer = torch.cat([IDS, torch.tensor([[11, 12], [13, 14]])], dim=1)
    mask = torch.cat([MASK, torch.ones_like(MASK[:, :2])], dim=1)
    made = Tails(assemble(longer, mask, [[1, 2], [3]]), EMBEDDING)
    made.resume(longer)
    found = put(made, 4, input_ids=longer[:, -1:], position_ids=torch.tensor([[2], [4]]))
    assert found["input_ids"].tolist() == [[11, 12], [13, 14]]
    assert found["position_ids"] is None
    assert put(made, 6, input_ids=IDS[:, :1])["input_ids"].tolist() == [[0], [7]]


def test_outputs_are_cut_to_the_callers_tokens_once() -> None:
    made = tails([[1, 2], [3]])
    put(made, input_ids=IDS)
    hidden = torch.arange(2 * 4 * 1).reshape(2, 4, 1).float()
    attention = torch.rand(2, 1, 4, 6)
    output = BaseModelOutputWithPast(
        last_hidden_state=hidden,  # type: ignore[arg-type]
        hidden_states=(None, hidden),  # type: ignore[arg-type]
        attentions=(attention,),  # type: ignore[arg-type]
    )
    cut = made.cut_out(output)
    assert torch.equal(cut.last_hidden_state, hidden[:, 1:])
    assert cut.hidden_states[0] is None
    assert torch.equal(cut.hidden_states[1], hidden[:, 1:])
    assert torch.equal(cut.attentions[0], attention[:, :, 1:])
    put(made, 4, input_ids=IDS[:, :1])
    later = BaseModelOutputWithPast(last_hidden_state=hidden[:, :1])  # type: ignore[arg-type]
    assert made.cut_out(later).last_hidden_state.shape == (2, 1, 1)

"""Reads in bfloat16, through products of their own, beside the same reads in float32.

Both have the same weights and the same rows, so what differs is the arithmetic of the read.
Tolerance: logits 0.1, where they are around 1, as the fused kernel has.
"""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from tests.fakes import CONFIGS, eager_for, holding, layer_inputs, make_model, some_ids
from torch import Tensor

from memplus import Memory, MPlus
from memplus.backbone import products
from memplus.data.notes import make_notes
from memplus.data.statements import read_statements
from memplus.memory.rows import RowTable
from memplus.mplus.base_cache import cached_base
from memplus.mplus.bases import find_base

HALF = torch.bfloat16
TOLERANCE = 0.1
FAMILIES = [name for name in CONFIGS if eager_for(name) == "sdpa"]


@pytest.fixture(params=[True, False], ids=["own products", "products in float32"])
def in_products(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Every read of rows goes through products; counts how many did."""
    monkeypatch.setattr(products, "multiplies_fast", lambda dtype: request.param)
    monkeypatch.setattr(products, "bfloat16_unit", lambda: None)  # with AMX the kernel is quicker
    monkeypatch.setattr(products, "_SMALL", 0)
    monkeypatch.setattr(products, "_FEW", 0)
    done: list[int] = []
    whole = products._online

    def counted(*args: Tensor | int) -> tuple[Tensor, Tensor]:
        done.append(1)
        return whole(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(products, "_online", counted)
    return done


@pytest.mark.long
@pytest.mark.parametrize("stored", [0, 5])
@pytest.mark.parametrize("name", FAMILIES)
@torch.no_grad()
def test_logits_are_those_of_float32(name: str, stored: int, in_products: list[int]) -> None:
    half, full = make_model(name, dtype=HALF), make_model(name)
    full.load_state_dict({key: weight.float() for key, weight in half.state_dict().items()})
    rows = layer_inputs(half, some_ids(1, 33), 20)
    text = some_ids(2, 9, seed=4)
    model, exact = holding(half, rows, stored), holding(full, rows.float(), stored)
    found = model(text, memory=model.new_memory()).logits
    assert in_products
    expected = exact(text, memory=exact.new_memory()).logits
    assert float((found.float() - expected).abs().max()) <= TOLERANCE


@pytest.mark.parametrize("heads", [(4, 4), (6, 2), (8, 1)])
@torch.no_grad()
def test_heads_may_share_keys_in_any_number(heads: tuple[int, int], in_products: list[int]) -> None:
    changes = {"num_attention_heads": heads[0], "num_key_value_heads": heads[1], "head_dim": 8}
    half, full = (
        make_model("llama", dtype=dtype, changes=changes) for dtype in (HALF, torch.float32)
    )
    full.load_state_dict({key: weight.float() for key, weight in half.state_dict().items()})
    rows = layer_inputs(half, some_ids(1, 33), 20)
    model, exact = holding(half, rows), holding(full, rows.float())
    text = some_ids(3, 1, seed=4)
    found = model(text, memory=model.new_memory()).logits
    assert in_products
    expected = exact(text, memory=exact.new_memory()).logits
    assert float((found.float() - expected).abs().max()) <= TOLERANCE


@pytest.mark.long
@torch.no_grad()
def test_the_nano_retrieves_the_same_rows_and_answers_alike(in_products: list[int]) -> None:
    """At least 99% of the rows, and 38 of 40 answers to the letter."""
    half, full = MPlus.from_pretrained("nano", dtype=HALF), MPlus.from_pretrained("nano")
    notes = make_notes(3, 40, "held_out")
    told = [f"{note.statement} " for note in notes]
    answers, share = alike(half, full, told, [note.question for note in notes])
    assert in_products
    assert answers >= 38
    assert share >= 0.99


@pytest.mark.long
@pytest.mark.parametrize("name", ["smollm2", "qwen-0.5b"])
@torch.no_grad()
def test_bundles_retrieve_the_same_spans_and_answer_alike(name: str) -> None:
    """Nearly all of what is retrieved, and 36 of 40 answers to the letter.

    Of 80 spans at most three may be others, since processors round differently.
    """
    if cached_base(find_base(name)) is None:
        pytest.skip(f"the cache does not hold {name}; `memplus pull {name}` fetches it")
    half = MPlus.from_pretrained(name, dtype=HALF, local_files_only=True)
    full = MPlus.from_pretrained(name, dtype=torch.float32, local_files_only=True)
    statements = read_statements()[:60]
    told = [" ".join(one.text for one in statements)]
    answers, share = alike(half, full, told, [one.questions[0].question for one in statements[:40]])
    assert answers >= 36
    assert share >= 0.96


def alike(
    half: MPlus, full: MPlus, told: Sequence[str], questions: Sequence[str]
) -> tuple[int, float]:
    """How many answers are the same, and what share of what is retrieved.

    Both models are told the same, and read the weights and rows of the one in bfloat16.
    """
    for ours, theirs in ((full.model, half.model), (full.weights, half.weights)):
        ours.load_state_dict({key: one.float() for key, one in theirs.state_dict().items()})
    memories = [model.new_memory(rows="exact") for model in (half, full)]
    for model, memory in zip((half, full), memories, strict=True):
        for text in told:
            model.write(memory, text)
    copy_rows(*memories)
    found, expected = (
        model.asker.ask_together(memory, questions)
        for model, memory in zip((half, full), memories, strict=True)
    )
    shared = total = 0
    for place, rows in expected.prefix.retrieved.items():
        shared += len(set(rows.tolist()) & set(found.prefix.retrieved[place].tolist()))
        total += len(rows)
    assert total
    return sum(a == b for a, b in zip(found.texts, expected.texts, strict=True)), shared / total


def copy_rows(source: Memory, target: Memory) -> None:
    """Give one memory the rows of another, number by number, in float32."""
    assert source.pool is not None
    assert target.pool is not None
    assert source.long_term is not None
    assert target.long_term is not None
    for name, column in source.pool.columns.items():
        target.pool.columns[name].copy_(column)
    assert torch.equal(source.pool.position, target.pool.position)
    target.long_term.tables = [
        RowTable({n: c.float() if c.is_floating_point() else c for n, c in table.columns().items()})
        for table in source.long_term.tables
    ]

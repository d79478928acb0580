"""Which writes are named as evidence, and in what order."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from tests.fakes import CONFIG, make_mplus, some_ids
from tests.passes.test_span_queries import SPANS

from memplus.backbone.attention import AttentionCall, Segment
from memplus.config import MemoryConfig
from memplus.mplus.evidence import Watch, ranked, retrieved_writes
from memplus.mplus.evidence_parts import parts_of


def test_most_paid_comes_first_and_the_models_own_rows_are_never_named() -> None:
    model = make_mplus()
    memory = model.new_memory()
    for source in ("a", "b", "c"):
        model.write(memory, some_ids(10).tolist(), source=source)
    found = ranked(memory, torch.tensor([5.0, 1.0, 0.0, 3.0, 0.0]), model.decode)
    assert [(one.write_id, one.source) for one in found] == [(3, "c"), (1, "a")]
    assert [one.share for one in found] == pytest.approx([3 / 9, 1 / 9])


def test_five_writes_are_named_at_most_and_the_tail_is_quoted() -> None:
    model = make_mplus()
    memory = model.new_memory()
    model.write(memory, [*some_ids(80).tolist(), *model.encode("wait")], source="a")
    assert len(memory.tail) == 4
    paid = torch.tensor([0.0, 1, 2, 3, 4, 5, 6, 7, 8, 9])
    found = ranked(memory, paid, model.decode)
    assert [one.write_id for one in found] == [None, 8, 7, 6, 5]
    assert (found[0].text, found[0].start, found[0].tokens) == ("wait", 80, 4)


def test_nothing_paid_is_no_evidence() -> None:
    model = make_mplus()
    assert ranked(model.new_memory(), torch.zeros(2), model.decode) == []


def test_a_read_without_memory_pays_nothing() -> None:
    model = make_mplus()
    memory = model.new_memory()
    watch = Watch([memory])
    ids = some_ids(6)[None]
    model.asker.reader.generate(ids, memory, None, {"max_new_tokens": 1}, watch)
    assert watch.sharpest(0) == 0.0


def test_many_heads_outweigh_one_and_layers_below_the_one_that_retrieves_do_not_count() -> None:
    model = make_mplus(config=SPANS)
    memory = model.new_memory()
    model.write(memory, [*some_ids(64).tolist(), *model.encode("wait")], source="a")
    assert len(memory.tail) == 4
    prefix = model.asker.reader.prefill(some_ids(6)[None], memory)
    parts = parts_of(memory, prefix, 0)
    of_rows = parts.of_rows(2)
    rows, wanted = 1 + len(of_rows), parts[int(of_rows[-1])]
    keys = torch.eye(rows + 4 + 6)[None, None]  # of bos and rows, of the tail, of the question
    row, tail = rows - 1, rows

    def looking(layer: int, places: list[int]) -> AttentionCall:
        """The question's last token looks at these, a head at each."""
        query = torch.zeros(1, len(places), 10, keys.shape[-1])
        for head, place in enumerate(places):
            query[0, head, -1, place] = 9.0
        module = SimpleNamespace(layer_idx=layer)
        return AttentionCall(module, query, keys[:, :, rows:], keys, None, {"scaling": 1.0})

    watch = Watch([memory]).on(prefix)
    for call in (looking(1, [tail] * 4), looking(2, [row, row, tail])):
        watch(call, [(slice(0, 1), [Segment(keys[:, :, :rows], keys)])])
    best, other = ranked(memory, watch.paid[0], model.decode, watch.parts[0])
    assert (best.write_id, other.write_id) == (wanted.write_id, None)
    assert best.start == memory.writes[wanted.write_id - 1].start + wanted.start
    assert (best.share, other.share) == pytest.approx((2 / 3, 1 / 3), abs=1e-3)
    assert watch.sharpest(0) > 0.95


def test_retrieved_rows_are_counted_by_write() -> None:
    model = make_mplus()
    memory = model.new_memory()
    model.write(memory, some_ids(120).tolist(), source="a")
    prefix = model.asker.reader.prefill(some_ids(6)[None], memory)
    found = retrieved_writes(memory, prefix)
    layers = len(model.backbone.layers)
    assert sum(one.rows for one in found) == layers * memory.config.retrieved_tokens
    assert [one.rows for one in found] == sorted((one.rows for one in found), reverse=True)
    assert all(0 < one.score < 1 for one in found)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
@pytest.mark.parametrize("config", [CONFIG, SPANS])
def test_evidence_is_the_same_whatever_the_default_dtype(
    config: MemoryConfig, dtype: torch.dtype
) -> None:
    model = make_mplus(config=config)

    def told() -> list[object]:
        memory = model.new_memory(seed=7)
        model.write(memory, some_ids(105).tolist(), source="a")
        answer = model.ask(memory, "who?", max_new_tokens=2)
        return [replace(answer, seconds=0.0), model.retrieve(memory, "who?")]

    usual = told()
    torch.set_default_dtype(dtype)
    try:
        assert told() == usual
    finally:
        torch.set_default_dtype(torch.float32)

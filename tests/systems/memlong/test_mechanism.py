"""The fast path is the slow one, and what MemLong must be whatever its weights are."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from tests.fakes import some_ids
from tests.systems.memlong.slow import FAMILIES, OPTIONS, SlowMemLong, gated, tiny, trained
from torch import Tensor

from memplus.data.word_search import installed
from memplus.errors import ConfigError
from memplus.systems.memlong.embedders import TextVectors, Words
from memplus.systems.memlong.mechanism import MemLong
from memplus.systems.memlong.state import MemLongState

CLOSE = 1e-5
GATES = ["none", "outputs"]
"""The paper's second stage, and the default."""


def close(left: Tensor, right: Tensor, most: float = CLOSE) -> bool:
    return left.shape == right.shape and bool((left - right).abs().max() <= most)


@torch.no_grad()
def told(mechanism: MemLong, tokens: int = 24, seed: int = 1) -> MemLongState:
    state = mechanism.empty(1)
    for segment in some_ids(1, tokens, seed=seed).split(mechanism.segment_tokens, dim=1):
        state = mechanism.write(state, segment)
    return state


@torch.no_grad()
def plain(mechanism: MemLong, ids: Tensor) -> Tensor:
    hidden: Tensor = mechanism.backbone.decoder(input_ids=ids, use_cache=False).last_hidden_state
    return hidden


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("gate", GATES)
@torch.no_grad()
def test_the_fast_path_is_the_slow_one(name: str, gate: Any) -> None:
    fast = gated(tiny(name, replace(OPTIONS, bank=24, gate=gate)))
    slow, state = SlowMemLong(fast), fast.empty(1)
    for length, seed in ((8, 1), (8, 2), (8, 3), (5, 4), (8, 5), (7, 6)):
        ids = some_ids(1, length, seed=seed)
        expected, chosen = slow.read(ids[0], slow.before)
        found, both = fast.read_and_write(state, ids)
        state = fast.write(state, ids)
        slow.write(ids[0])
        assert close(found[0], expected)
        for one in (state, both):
            check_bank(one, slow)
        asked = some_ids(1, 6, seed=seed + 40)
        expected, chosen = slow.read(asked[0], slow.query(asked[0]))
        assert close(fast.read(state, asked)[0], expected)
        assert fast.retrieved(state, asked, torch.tensor([[0, 6]])) == [chosen]
    assert slow.written == 44
    assert sum(slow_chunk.counter for slow_chunk in slow.chunks) > 0
    assert len(slow.chunks) < 11


def check_bank(state: MemLongState, slow: SlowMemLong) -> None:
    (bank,) = state.banks
    assert bank.chunks["starts"].tolist() == [one.start for one in slow.chunks]
    assert bank.lengths == [len(one.keys) for one in slow.chunks]
    assert bank.counters.tolist() == [one.counter for one in slow.chunks]
    assert close(bank.rows["keys"], torch.cat([one.keys for one in slow.chunks]))
    assert close(bank.rows["values"], torch.cat([one.values for one in slow.chunks]))


@pytest.mark.parametrize("name", FAMILIES)
@torch.no_grad()
def test_an_empty_bank_or_no_chunk_to_read_is_the_plain_decoder(name: str) -> None:
    ids = some_ids(2, 9)
    empty, none = tiny(name), tiny(name, replace(OPTIONS, top_k=0))
    assert close(empty.read(empty.empty(2), ids), plain(empty, ids))
    assert empty.read(empty.empty(2), ids).equal(none.read(none.empty(2), ids))
    full = told(none).repeated(2)
    assert none.read(full, ids).equal(empty.read(empty.empty(2), ids))


@pytest.mark.parametrize("name", FAMILIES)
@torch.no_grad()
def test_from_which_position_a_text_begins_makes_no_difference(name: str) -> None:
    mechanism = tiny(name)
    empty, ids = mechanism.empty(1), some_ids(1, 9, seed=3)
    mask, place = mechanism._layout(empty, ids, None)
    assert place.tolist() == [[*range(9)]]
    assert mechanism._layout(told(mechanism), ids, None)[1].equal(place + 1)
    reading = mechanism._reading(empty, ids, [(0, 9)], None)
    shifted = mechanism._pass(reading, ids, mask, place + 1)
    assert close(shifted, mechanism.read(empty, ids))


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("gate", GATES)
@pytest.mark.parametrize("positions", ["zero", "continual"])
@torch.no_grad()
def test_one_softmax_is_the_merge_of_two(name: str, gate: Any, positions: Any) -> None:
    """A gate's two softmaxes are never merged; they are the same with a graph and without."""
    mechanism = trained(tiny(name, replace(OPTIONS, gate=gate, positions=positions)))
    state, ids = told(mechanism), some_ids(1, 9, seed=3)
    merged = mechanism.read(state, ids)
    with torch.enable_grad():
        together = mechanism.read(state, ids)
    assert together.requires_grad
    assert close(merged, together, 5e-5)  # of numbers up to 6, through four layers
    assert not close(merged, mechanism.read(mechanism.empty(1), ids), 1e-2)


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("gate", GATES)
@torch.no_grad()
def test_the_order_of_what_is_read_makes_no_difference(name: str, gate: Any) -> None:
    mechanism = gated(tiny(name, replace(OPTIONS, gate=gate)))
    state, ids = told(mechanism), some_ids(1, 9, seed=3)
    expected = mechanism.read(state, ids)
    reading = mechanism._reading(state, ids, [(0, 9)], None)
    find, order = reading._find, torch.randperm(8, generator=torch.Generator().manual_seed(1))

    def shuffled(hidden: Tensor) -> Any:
        found = find(hidden)
        assert found is not None
        assert found.rows == len(order)
        return replace(found, keys=found.keys[:, :, order], values=found.values[:, :, order])

    reading._find = shuffled
    assert close(mechanism._pass(reading, ids, *mechanism._layout(state, ids, None)), expected)


@pytest.mark.parametrize("name", FAMILIES)
@torch.no_grad()
def test_where_everything_is_read_it_does_not_matter_how_it_is_found(name: str) -> None:
    ids, options = some_ids(1, 9, seed=3), replace(OPTIONS, top_k=6)

    def noise(texts: Any) -> Tensor:
        return torch.tensor([[float(sum(ids) % 7), float(ids[0])] for ids in texts])

    one, other = tiny(name, options), tiny(name, options, embedder=TextVectors(noise, 2))
    assert one.read(told(one), ids).equal(other.read(told(other), ids))
    few = tiny(name, OPTIONS, embedder=TextVectors(noise, 2))
    assert not close(few.read(told(few), ids), one.read(told(one), ids), 1e-3)


@pytest.mark.parametrize("name", FAMILIES)
@torch.no_grad()
def test_one_layer_that_reads_everything_in_order_is_the_plain_decoder_on_all_of_it(
    name: str,
) -> None:
    options = replace(
        OPTIONS, memory_layer=0, retrieval_layers=(0,), top_k=9, positions="continual"
    )
    mechanism = tiny(name, options, changes={"num_hidden_layers": 1})
    whole = some_ids(1, 31, seed=6)
    state = mechanism.empty(1)
    for start, end in ((0, 8), (8, 16), (16, 22)):
        state = mechanism.write(state, whole[:, start:end])
    expected = plain(mechanism, whole)[:, 22:]
    assert close(mechanism.read(state, whole[:, 22:]), expected)
    together = mechanism.read_and_write(state, whole[:, 22:])[0]
    assert close(together, expected)
    pad = torch.tensor([0, 3])
    both = torch.stack([whole[0, 22:], whole[0, 19:28]])
    both[1, 3:] = whole[0, 22:28]
    found = mechanism.read(state.repeated(2), both, pad)
    assert close(found[0], expected[0])
    assert close(found[1, 3:], expected[0, :6])


@pytest.mark.parametrize("name", FAMILIES)
def test_training_changes_reads_and_no_bit_of_what_is_written(name: str) -> None:
    mechanism = tiny(name)
    segments = some_ids(2, 16, seed=2).split(8, dim=1)
    _, state = mechanism.read_and_write(mechanism.empty(2), segments[0])
    _, before = mechanism.read_and_write(state, segments[1])
    written = told(mechanism)
    read = mechanism.read(state, segments[1])
    optimizer = torch.optim.SGD(mechanism.parameters(), lr=0.1)
    for _ in range(2):
        optimizer.zero_grad()
        hidden, _ = mechanism.read_and_write(state, segments[1])
        hidden.square().sum().backward()
        optimizer.step()
    assert not close(mechanism.read(state, segments[1]), read, 1e-2)
    _, after = mechanism.read_and_write(state, segments[1])
    for one, other in ((before, after), (written, told(mechanism))):
        assert one.tensors.keys() == other.tensors.keys()
        assert all(one.tensors[name].equal(other.tensors[name]) for name in one.tensors)


@pytest.mark.parametrize("name", FAMILIES)
def test_gradients_reach_what_is_trained_above_the_memory_layer_and_nothing_else(
    name: str,
) -> None:
    mechanism = tiny(name)
    state = told(mechanism).repeated(2)
    mechanism.backbone.model.requires_grad_(requires_grad=True)
    hidden, after = mechanism.read_and_write(state, some_ids(2, 8, seed=2))
    hidden.square().sum().backward()
    assert {name.split(".")[0] for name, _ in mechanism.named_parameters()} == {"lora", "norms"}
    assert mechanism.lora is not None
    assert {name.split(".")[1] for name in mechanism.lora.names} == {"2", "3"}
    assert all(one.grad is not None for one in mechanism.norms.parameters())
    # Half of an update begins at zero, so its other half has no gradient at the first step.
    assert all(one.grad is not None and one.grad.abs().max() > 0 for one in mechanism.lora.up)
    assert mechanism.backbone.embedding.weight.grad is None
    layers = mechanism.backbone.layers
    assert all(w.grad is None for w in layers[0].module.parameters())
    assert not any(one.requires_grad for one in after.tensors.values())


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("gate", GATES)
def test_weights_in_float32_are_trained_on_a_decoder_in_bfloat16(name: str, gate: Any) -> None:
    mechanism = tiny(name, replace(OPTIONS, gate=gate), dtype=torch.bfloat16).float()
    state = told(mechanism)
    hidden, after = mechanism.read_and_write(state, some_ids(1, 8, seed=2))
    hidden.float().square().sum().backward()
    assert hidden.dtype == after.banks[0].rows.dtype("keys") == torch.bfloat16
    assert all(one.grad is not None for one in mechanism.parameters())


@pytest.mark.parametrize("name", FAMILIES)
@torch.no_grad()
def test_a_fresh_update_reads_as_the_plain_weights_do_and_a_trained_one_does_not(
    name: str,
) -> None:
    one, other = tiny(name), tiny(name)
    state, ids = told(one), some_ids(1, 9, seed=3)
    other.lora = None
    assert close(one.read(state, ids), other.read(state, ids))
    assert not close(trained(one).read(state, ids), other.read(state, ids), 1e-2)


@torch.no_grad()
def test_writing_runs_the_layers_below_the_memory_layer_alone() -> None:
    mechanism = tiny()
    ran: list[int] = []
    for layer in mechanism.backbone.layers:
        layer.attention.register_forward_hook(
            lambda module, args, output: ran.append(module.layer_idx)
        )
    mechanism.write(mechanism.empty(1), some_ids(1, 8))
    assert ran == [0]


@torch.no_grad()
def test_running_text_is_looked_up_by_what_stands_before_it() -> None:
    mechanism, published = tiny(), tiny(options=replace(OPTIONS, query="own"))
    state, ids = told(mechanism, 40), some_ids(2, 8, seed=5)
    ids[1, :4] = ids[0, :4]
    both = mechanism.read_and_write(state.repeated(2), ids)[0]
    assert close(both[0, :4], both[1, :4])
    states = told(published, 40).repeated(2)
    differ = [
        not close(*published.read_and_write(states, pair)[0][:, :4], 1e-4)
        for pair in (ids, *(torch.cat([ids[:1], some_ids(1, 8, seed=s)]) for s in (6, 7)))
    ]
    assert any(differ)


@torch.no_grad()
def test_what_is_asked_alone_decides_what_is_read() -> None:
    mechanism = tiny()
    state, ids = told(mechanism, 40).repeated(2), some_ids(2, 9, seed=5)
    ids[1, :6] = ids[0, :6]
    about = torch.tensor([[2, 6], [2, 6]])
    both = mechanism.read_about(state, ids, about)
    assert close(both[0, :6], both[1, :6])
    begun = mechanism.begin_about(state, ids[:, :6], about)
    assert close(begun.hidden, both[:, 5])
    for place in range(6, 9):
        begun.step(ids[:, place])
        assert close(begun.hidden, both[:, place])
    nothing = torch.zeros(2, 2, dtype=torch.int64)
    before = mechanism.read_and_write(state, ids[:, :8])[0]
    assert close(mechanism.read_about(state, ids[:, :8], nothing), before)


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("gate", GATES)
@torch.no_grad()
def test_rows_padded_on_the_left_are_read_as_each_alone(name: str, gate: Any) -> None:
    mechanism = trained(tiny(name, replace(OPTIONS, gate=gate)))
    short, long = told(mechanism, 24), told(mechanism, 22, seed=7)
    state = MemLongState((*short.banks, *long.banks, *long.banks))
    ids = some_ids(3, 9, seed=5)
    pad = torch.tensor([3, 0, 6])
    together = mechanism.read(state, ids, pad)
    begun = mechanism.begin(state, ids, pad)
    for row, count in enumerate(pad.tolist()):
        alone = MemLongState((state.banks[row],))
        assert close(together[row, count:], mechanism.read(alone, ids[row : row + 1, count:])[0])
        assert close(begun.hidden[row], together[row, -1])
    begun.step(torch.tensor([5, 6, 7]))
    for row, count in enumerate(pad.tolist()):
        alone = mechanism.begin(MemLongState((state.banks[row],)), ids[row : row + 1, count:])
        alone.step(torch.tensor([5 + row]))
        assert close(begun.hidden[row], alone.hidden[0])


@torch.no_grad()
def test_an_eager_decoder_reads_as_the_other_does() -> None:
    usual, eager = tiny(), tiny(attention="eager")
    ids = some_ids(1, 9, seed=3)
    assert close(eager.read(told(eager), ids), usual.read(told(usual), ids))


@torch.no_grad()
def test_the_decoder_is_the_stock_one_afterwards() -> None:
    mechanism = trained(tiny())
    ids = some_ids(1, 9, seed=3)
    before = plain(mechanism, ids)
    hooks = [len(m._forward_hooks) for m in mechanism.backbone.decoder.modules()]
    mechanism.read(told(mechanism), ids)
    assert plain(mechanism, ids).equal(before)
    assert [len(m._forward_hooks) for m in mechanism.backbone.decoder.modules()] == hooks


@torch.no_grad()
def test_a_state_comes_back_from_its_tensors_and_goes_on() -> None:
    mechanism = tiny(options=replace(OPTIONS, bank=24))
    one = told(mechanism, 40)
    both = mechanism.write(mechanism.empty(2), some_ids(2, 8, seed=4))
    ids = some_ids(2, 8, seed=5)
    for state, rows in ((one, ids[:1]), (both, ids), (mechanism.empty(1), ids[:1])):
        kept = {name: tensor.clone() for name, tensor in state.tensors.items()}
        back = mechanism.restored(kept)
        assert back.tensors.keys() == kept.keys()
        expected, after = mechanism.read_and_write(state, rows)
        found, again = mechanism.read_and_write(back, rows)
        assert found.equal(expected)
        assert all(again.tensors[n].equal(after.tensors[n]) for n in after.tensors)


@pytest.mark.skipif(not installed(), reason="bm25s is not installed")
@torch.no_grad()
def test_a_state_that_the_mechanism_cannot_have_is_refused() -> None:
    tensors = told(tiny()).tensors
    with pytest.raises(ValueError, match="24 tokens, more than 16"):
        tiny(options=replace(OPTIONS, bank=16)).restored(tensors)
    by_words = tiny(embedder=Words(str))
    kept = told(by_words).tensors
    assert by_words.restored(kept).tokens == 24
    for name in ("ids", "before"):
        for wrong in (-1, 70_000):
            changed = kept[name].clone()
            changed[0] = wrong
            with pytest.raises(ValueError, match="ids hold some"):
                by_words.restored({**kept, name: changed})
    with pytest.raises(ValueError, match="before is"):
        by_words.restored({**kept, "before": kept["before"][:0]})


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"memory_layer": 4}, "memory_layer"),
        ({"retrieval_layers": (0, 3)}, "retrieval_layers"),
        ({"retrieval_layers": (1, 4)}, "retrieval_layers"),
        ({"local": 300}, "local"),
        ({"local": 250, "positions": "continual"}, "local"),
    ],
)
def test_what_the_decoder_cannot_serve_is_refused_by_name(
    changes: dict[str, Any], field: str
) -> None:
    with pytest.raises(ConfigError, match=field):
        tiny(options=replace(OPTIONS, **changes))


def test_rules_that_some_decoders_cannot_serve() -> None:
    with pytest.raises(ConfigError, match="positions"):
        tiny("llama-dynamic", replace(OPTIONS, positions="continual", local=8))
    with pytest.raises(ConfigError, match="gate"):
        tiny("gemma2", replace(OPTIONS, gate="outputs"), attention="eager")


@pytest.mark.parametrize("name", ["gemma2", "gemma3", "smollm3", "phi3-longrope-long", "olmo2"])
@torch.no_grad()
def test_other_families_read_with_a_cache_as_without_one(name: str) -> None:
    attention = "eager" if name == "gemma2" else "sdpa"
    mechanism = trained(tiny(name, attention=attention))
    state, ids = told(mechanism), some_ids(1, 9, seed=3)
    read = mechanism.read(state, ids)
    begun = mechanism.begin(state, ids[:, :7])
    assert not close(read, mechanism.read(mechanism.empty(1), ids), 1e-2)
    if name.startswith("phi3"):  # its frequencies change with the text's length
        return
    full = mechanism.read_about(state, ids, torch.tensor([[0, 7]]))
    for place in (7, 8):
        begun.step(ids[:, place])
        assert close(begun.hidden, full[:, place])


@pytest.mark.parametrize("name", FAMILIES)
@torch.no_grad()
def test_what_is_retrieved_is_what_a_read_reads(name: str) -> None:
    """Side by side with padding too; and looking it up counts nothing."""
    mechanism = tiny(name)
    state = told(mechanism)
    ids, about, pad = some_ids(2, 7, seed=4), torch.tensor([[1, 6], [3, 7]]), torch.tensor([0, 2])
    counters = state.banks[0].counters.clone()
    found = mechanism.retrieved(state.repeated(2), ids, about, pad)
    assert state.banks[0].counters.equal(counters)
    read = mechanism.begin_about(state.repeated(2), ids, about, pad)
    starts = state.banks[0].chunks["starts"].tolist()
    for chunks, shares in zip(found, read.shares, strict=True):
        assert len(chunks) == 2
        assert {starts[one] for one in chunks} == {one.start for one in shares}
    alone = mechanism.retrieved(state, ids[1:, 2:], about[1:] - 2)
    assert alone == found[1:]
    assert mechanism.retrieved(mechanism.empty(1), ids[:1], about[:1]) == [[]]

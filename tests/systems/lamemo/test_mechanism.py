"""LaMemo over stock decoders, against a slow reference and the plain model."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from tests.fakes import make_model
from tests.systems.lamemo.slow import FAMILIES, Slow, made, text, transformer_xl
from torch import Tensor

from memplus.backbone.access import Backbone
from memplus.errors import ConfigError, UnsupportedModelError
from memplus.systems.lamemo.mechanism import LaMemo
from memplus.systems.lamemo.options import LaMemoOptions
from memplus.systems.lamemo.window import Window

CLOSE = 1e-5


def apart(left: Tensor, right: Tensor) -> float:
    """Largest difference, in parts of the largest number where that is above 1."""
    assert left.shape == right.shape
    return float((left - right).detach().abs().max() / right.detach().abs().max().clamp(min=1))


def read_through(mechanism: LaMemo, ids: Tensor) -> tuple[Tensor, Window]:
    """Hidden states of a whole text, and the window behind it."""
    return mechanism.read_and_write(mechanism.empty(len(ids)), ids)


@pytest.mark.long
@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("lookahead", ["mirrored", "signed", "off"])
@torch.no_grad()
def test_the_slow_reference_agrees(name: str, lookahead: str) -> None:
    mechanism = made(name, dtype=torch.float64, lookahead=lookahead)
    ids = text(18)
    window = mechanism.empty(1)
    pieces = ids.split(mechanism.segment_tokens, dim=1)
    for piece, (slow, kept) in zip(pieces, Slow(mechanism).texts(ids[0]), strict=True):
        hidden, window = mechanism.read_and_write(window, piece)
        assert apart(hidden[0], slow) < CLOSE
        assert apart(window.embeddings[0], torch.stack(kept.embeddings)) == 0
        for layer in range(len(window.context)):
            assert apart(window.context[layer, 0], torch.stack(kept.context[layer])) < CLOSE
            assert apart(window.logs[layer, 0], torch.stack(kept.logs[layer])) < CLOSE


@pytest.mark.parametrize(("segment", "memory"), [(4, 4), (6, 4), (3, 10)])
@torch.no_grad()
def test_the_slow_reference_agrees_whatever_the_sizes(segment: int, memory: int) -> None:
    mechanism = made(dtype=torch.float64, segment=segment, memory=memory, published=True)
    ids = text(17, seed=4)
    slow = torch.cat([hidden for hidden, _ in Slow(mechanism).texts(ids[0])])
    assert apart(read_through(mechanism, ids)[0][0], slow) < CLOSE


@torch.no_grad()
def test_the_slow_reference_agrees_behind_a_segment_that_was_short() -> None:
    mechanism = made(dtype=torch.float64)
    slow, kept, window = Slow(mechanism), Slow(mechanism).empty(), mechanism.empty(1)
    for piece in text(16, seed=5).split([5, 2, 1, 4, 4], dim=1):
        found, kept = slow.read(kept, piece[0])
        hidden, window = mechanism.read_and_write(window, piece)
        assert apart(hidden[0], found) < CLOSE


@pytest.mark.parametrize("name", FAMILIES[:3])
def test_the_slow_reference_has_the_same_gradients(name: str) -> None:
    mechanism = made(name, dtype=torch.float64)
    ids = text(10, seed=2)
    weight = torch.randn(5, 32, generator=torch.Generator().manual_seed(0)).double()

    def gradients(of: Callable[[], Tensor]) -> list[Tensor]:
        return list(torch.autograd.grad((of() * weight).sum(), list(mechanism.parameters())))

    fast = gradients(lambda: read_through(mechanism, ids)[0][0, 5:])
    slow = gradients(lambda: list(Slow(mechanism).texts(ids[0]))[1][0])
    for (part, _), one, other in zip(mechanism.named_parameters(), fast, slow, strict=True):
        assert one.abs().max() > 1e-3, part
        assert apart(one, other) < CLOSE, part


@pytest.mark.parametrize("name", [*FAMILIES, "phi3", "olmo2", "smollm3"])
@torch.no_grad()
def test_without_look_ahead_a_window_of_all_the_text_is_the_plain_model(name: str) -> None:
    mechanism = made(name, random=False, lookahead="off", memory=40)
    ids = text(23, rows=2)
    plain = mechanism.backbone.decoder(ids).last_hidden_state
    assert apart(read_through(mechanism, ids)[0], plain) < CLOSE


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("memory", [3, 8])
@torch.no_grad()
def test_without_look_ahead_a_shorter_window_is_transformer_xl(name: str, memory: int) -> None:
    mechanism = made(name, dtype=torch.float64, lookahead="off", memory=memory)
    ids = text(18, rows=2)
    found, window = read_through(mechanism, ids)
    assert window.count == memory
    # Kernels of attention and linear maps sum in an order that depends on how many rows they are
    # given, and the reference asks for the remembered rows too: these are their roundings.
    assert apart(found, transformer_xl(mechanism, ids)) < 1e-12
    # Less is seen than there is: what a longer window reads is another thing.
    longer = made(name, dtype=torch.float64, lookahead="off", memory=18)
    assert apart(read_through(longer, ids)[0], found) > 1e-3


@pytest.mark.parametrize("name", FAMILIES[:3])
@pytest.mark.parametrize("memory", [4, 8])
@torch.no_grad()
def test_without_look_ahead_whole_segments_are_transformer_xl_bit_for_bit(
    name: str, memory: int
) -> None:
    """In rows by fours, which kernels take together however many there are."""
    mechanism = made(name, dtype=torch.float64, lookahead="off", segment=4, memory=memory)
    ids = text(20, rows=2)
    assert torch.equal(read_through(mechanism, ids)[0], transformer_xl(mechanism, ids))


@pytest.mark.parametrize("name", FAMILIES)
@torch.no_grad()
def test_the_first_segment_is_the_plain_models(name: str) -> None:
    mechanism = made(name, random=False)
    ids = text(5, rows=2)
    plain = mechanism.backbone.decoder(ids).last_hidden_state
    assert apart(read_through(mechanism, ids)[0], plain) < CLOSE


@torch.no_grad()
def test_the_model_is_the_stock_one_afterwards() -> None:
    mechanism = made()
    ids = text(12)
    before = mechanism.backbone.model(ids).logits
    read_through(mechanism, ids)
    assert torch.equal(mechanism.backbone.model(ids).logits, before)


@pytest.mark.parametrize("name", FAMILIES[:3])
@torch.no_grad()
def test_later_tokens_change_nothing_before_them(name: str) -> None:
    mechanism = made(name)
    ids = text(15)
    _, window = read_through(mechanism, ids[:, :10])
    whole, after = mechanism.read_and_write(window, ids[:, 10:])
    remembered = mechanism._passes.read(window, ids[:, 10:], mechanism._blend)
    for place in range(1, 5):
        changed = ids[:, 10:].clone()
        changed[0, place] += 1
        hidden, _ = mechanism.read_and_write(window, changed)
        assert apart(hidden[:, :place], whole[:, :place]) < CLOSE
        assert apart(hidden[:, place], whole[:, place]) > 1e-3
        again = mechanism._passes.read(window, changed, mechanism._blend)
        for one, other in zip(again.steps, remembered.steps, strict=True):
            count = window.count
            assert torch.equal(
                one.remembered.context[:, :count], other.remembered.context[:, :count]
            )
    assert after.tokens == 15


@pytest.mark.parametrize("name", FAMILIES[:3])
@torch.no_grad()
def test_the_first_token_of_a_segment_refreshes_what_is_remembered(name: str) -> None:
    mechanism = made(name)
    ids = text(10)
    _, window = read_through(mechanism, ids[:, :5])
    changed = ids[:, 5:].clone()
    changed[0, 0] += 1
    one, other = (
        mechanism._passes.read(window, piece, mechanism._blend).steps[1].remembered.context[:, :5]
        for piece in (ids[:, 5:], changed)
    )
    assert apart(one, other) > 1e-3


@torch.no_grad()
def test_look_ahead_changes_what_is_read_behind_it() -> None:
    ids = text(15)
    found = [
        read_through(made(random=False, lookahead=one), ids)[0]
        for one in ("mirrored", "signed", "off")
    ]
    for left, right in ((0, 1), (0, 2), (1, 2)):
        assert apart(found[left], found[right]) > 1e-3


@pytest.mark.parametrize("name", FAMILIES[:3])
@torch.no_grad()
def test_shares_of_the_past_lie_between_0_and_1_and_denominators_never_fall(name: str) -> None:
    mechanism = made(name, memory=12)
    window, ids = mechanism.empty(1), text(25)
    for piece in ids.split(5, dim=1):
        before = window
        passed = mechanism._passes.read(window, piece, mechanism._blend)
        _, window = mechanism.read_and_write(window, piece)
        for layer, step in enumerate(passed.steps):
            if step.alpha is not None:
                assert ((step.alpha > 0) & (step.alpha < 1)).all()
                refreshed = step.remembered.logs[:, : before.count]
                assert (refreshed > before.logs[layer]).all()


@pytest.mark.parametrize("name", FAMILIES[:3])
def test_the_state_is_cut_from_the_graph(name: str) -> None:
    mechanism = made(name)
    hidden, window = read_through(mechanism, text(10))
    assert hidden.requires_grad
    assert not any(one.requires_grad for one in window.tensors.values())


def test_every_trained_part_learns_from_a_second_segment() -> None:
    mechanism = made(random=False)
    names = [name for name, _ in mechanism.named_parameters() if "down" not in name]
    hidden, _ = read_through(mechanism, text(10))
    hidden[:, 5:].square().sum().backward()
    learned = dict(mechanism.named_parameters())
    assert "direction" in names
    for name in names:
        grad = learned[name].grad
        assert grad is not None, name
        # What the last layer makes of remembered positions is read by nobody.
        blocks = grad[:-1] if name == "direction" else grad
        assert blocks.abs().sum() > 0, name


@pytest.mark.parametrize("name", FAMILIES[:3])
@torch.no_grad()
def test_other_lengths_of_memory_go_on_with_the_same_state(name: str) -> None:
    """The published code crashes where lengths change between training and evaluation."""
    shorter, longer = made(name, memory=4), made(name, memory=12)
    _, window = read_through(longer, text(20))
    hidden, after = shorter.read_and_write(window, text(5, seed=1))
    assert torch.equal(hidden, longer.read(window, text(5, seed=1)))
    assert after.count == 4


@torch.no_grad()
def test_the_published_fault_is_as_small_as_it_is() -> None:
    ids = text(10)
    right, published = (read_through(made(published=one), ids)[0] for one in (False, True))
    assert 0 < apart(right, published) < 2e-5


@torch.no_grad()
def test_what_is_on_the_right_comes_in_by_and_by() -> None:
    ids = text(15)
    mechanism, shares = made(offset_steps=10), []
    untold = read_through(mechanism, ids)[0]
    _, window = read_through(mechanism, ids[:, :5])
    for step in (0, 3, 6, 9, 10):
        mechanism.at_step(step)
        alpha = mechanism._passes.read(window, ids[:, 5:10], mechanism._blend).steps[0].alpha
        assert alpha is not None
        shares.append(float((1 - alpha).mean()))
    assert shares == sorted(shares)
    assert shares[0] < 0.1 * shares[-1]
    assert torch.equal(read_through(mechanism, ids)[0], untold)


@torch.no_grad()
def test_the_offset_is_added_to_what_is_on_the_right() -> None:
    mechanism = made(offset=-5.0, offset_steps=10)
    slow, ids = Slow(mechanism), text(10)
    mechanism.at_step(5)
    _, kept = slow.read(slow.empty(), ids[0, :5])
    found, _ = slow.read(kept, ids[0, 5:], offset=-2.5)
    assert apart(read_through(mechanism, ids)[0][0, 5:], found) < CLOSE


@torch.no_grad()
def test_rows_of_a_batch_are_what_each_is_alone() -> None:
    mechanism = made()
    ids = text(15, rows=3)
    together, window = read_through(mechanism, ids)
    for row in range(3):
        alone, own = read_through(mechanism, ids[row : row + 1])
        assert apart(together[row], alone[0]) < CLOSE
        assert apart(window.context[:, row], own.context[:, 0]) < CLOSE


@pytest.mark.parametrize("name", FAMILIES)
@torch.no_grad()
def test_padding_on_the_left_is_not_there(name: str) -> None:
    mechanism = made(name)
    _, window = read_through(mechanism, text(12))
    lengths, total = [13, 4, 1, 5, 10], 13
    ids = text(total, rows=len(lengths), seed=7)
    pad = torch.tensor([total - length for length in lengths])
    together = mechanism.read(window.repeated(len(lengths)), ids, pad)
    assert together.shape == (len(lengths), total, 32)
    for row, length in enumerate(lengths):
        alone = mechanism.read(window, ids[row : row + 1, total - length :])
        assert apart(together[row, total - length :], alone[0]) < CLOSE


@torch.no_grad()
def test_reading_is_reading_and_writing_without_the_writing() -> None:
    mechanism = made()
    _, window = read_through(mechanism, text(12))
    ids = text(13, seed=3)
    hidden, _ = mechanism.read_and_write(window, ids)
    assert apart(mechanism.read(window, ids), hidden) < CLOSE


def test_reading_gives_gradients() -> None:
    mechanism = made()
    with torch.no_grad():
        _, window = read_through(mechanism, text(10))
    mechanism.read(window, text(8), torch.tensor([2])).sum().backward()
    assert all(one.grad is not None for one in mechanism.parameters())


@torch.no_grad()
def test_a_state_is_restored_from_its_tensors() -> None:
    mechanism = made()
    _, window = read_through(mechanism, text(12, rows=2))
    again = mechanism.restored(dict(window.tensors))
    ids = text(5, rows=2, seed=9)
    assert torch.equal(mechanism.read(again, ids), mechanism.read(window, ids))
    assert (again.tokens, again.last) == (12, 2)


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("qwen2-window", {"memory": 61}, "look back 64"),
        ("mistral-window", {"segment": 32, "memory": 33}, "look back 64"),
        ("llama-dynamic", {}, "change with the length"),
    ],
)
def test_decoders_whose_attention_cannot_be_merged_are_refused(
    name: str, options: dict[str, int], said: str
) -> None:
    backbone = Backbone(make_model(name), adapted=False)
    with pytest.raises(UnsupportedModelError, match=said):
        LaMemo(backbone, LaMemoOptions(**{"segment": 4, "memory": 4} | options))


def test_a_decoder_that_caps_its_scores_is_refused() -> None:
    backbone = Backbone(make_model("gemma2", attention="eager"), adapted=False)
    with pytest.raises(UnsupportedModelError, match="caps scores"):
        LaMemo(backbone, LaMemoOptions(segment=4, memory=4))


def test_more_positions_than_the_decoder_has_are_refused() -> None:
    with pytest.raises(ConfigError, match="memory"):
        made(segment=128, memory=129)


@torch.no_grad()
def test_other_precision_is_read_to_its_rounding() -> None:
    exact = made()
    rough = LaMemo(Backbone(make_model(dtype=torch.bfloat16), adapted=False), exact.options)
    rough.take_weights(exact.trained())
    ids = text(15)
    hidden, window = read_through(rough, ids)
    assert hidden.dtype == window.context.dtype == torch.bfloat16
    assert window.logs.dtype == torch.float32
    assert apart(hidden.float(), read_through(exact, ids)[0]) < 0.25

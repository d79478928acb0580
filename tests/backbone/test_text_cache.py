import torch
from tests.fakes import make_model, some_ids

from memplus.backbone.text_cache import TextCache, in_common


def kept(count: int = 9) -> tuple[torch.Tensor, TextCache]:
    """Some ids and what a pass left of them."""
    ids = some_ids(1, count)
    cache = TextCache().begun(0)
    with torch.no_grad():
        make_model()(ids, past_key_values=cache)
    return ids, TextCache.of(ids[0].tolist(), cache)


def test_a_text_goes_on_from_what_it_shares() -> None:
    ids, known = kept()
    other = torch.cat([ids[:, :5], some_ids(1, 4) % 200 + 1], dim=1)
    count = known.shared(other[0].tolist())
    assert count == in_common(ids[0].tolist(), other[0].tolist()) >= 5
    model = make_model()
    with torch.no_grad():
        whole = model(other).logits[:, count:]
        rest = model(other[:, count:], past_key_values=known.begun(count)).logits
    assert torch.allclose(rest, whole, atol=1e-5)


def test_going_on_changes_nothing_of_what_is_kept() -> None:
    ids, known = kept()
    before = [(keys.clone(), values.clone()) for keys, values in known.layers]
    cache = known.begun(9)
    with torch.no_grad():
        make_model()(ids, past_key_values=cache)
    assert cache.get_seq_length() == 18
    for (keys, values), (old_keys, old_values) in zip(known.layers, before, strict=True):
        assert torch.equal(keys, old_keys)
        assert torch.equal(values, old_values)


def test_the_last_token_is_always_read_anew() -> None:
    ids, known = kept()
    assert known.shared(ids[0].tolist()) == 8
    assert known.shared(ids[0].tolist()[:3]) == 2
    assert known.shared([]) == 0
    assert TextCache().shared([1, 2]) == 0


def test_bytes_are_those_of_keys_and_values() -> None:
    _, known = kept(5)
    assert known.nbytes == 4 * 2 * 5 * 2 * 8 * 4  # layers, both, tokens, heads, width, float32
    assert TextCache().nbytes == 0

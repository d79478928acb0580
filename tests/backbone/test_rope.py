import torch
from tests.fakes import make_mplus


def test_rounded_frequencies_are_those_of_a_model_cast_as_a_whole() -> None:
    model, kept = make_mplus(), make_mplus()
    ids = torch.arange(1, 9)
    memory = model.new_memory()
    model.write_chunk(memory, ids)
    exact = model(ids, memory=memory).logits
    model.backbone.rope.round_frequencies(torch.bfloat16)
    frequencies = model.backbone.decoder.rotary_emb.inv_freq
    cast = kept.backbone.decoder.rotary_emb.inv_freq.to(torch.bfloat16).float()
    assert torch.equal(frequencies, cast)
    changed = model.new_memory()
    model.write_chunk(changed, ids)
    assert not torch.equal(model(ids, memory=changed).logits, exact)


def test_frequencies_stay_in_float32_when_weights_do_not() -> None:
    model = make_mplus(dtype=torch.bfloat16)
    angles = model.backbone.rope.angles(None, 5, torch.zeros(1))
    expected = make_mplus().backbone.rope.angles(None, 5, torch.zeros(1))
    assert angles[0].dtype == torch.float32
    assert expected[0].shape == angles[0].shape

from __future__ import annotations

import pytest
import torch
from tests.backbone.test_lora import drawn
from tests.fakes import make_model
from torch.nn import functional

from memplus.backbone.access import Backbone
from memplus.backbone.lora import under
from memplus.training.masked.packing import IGNORED, Encoded, pack_examples
from memplus.training.masked.step import MaskedJob, MaskedStep


def encoded(label: str, size: int, given: int, seed: int) -> Encoded:
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(0, 256, (size,), generator=generator).tolist()
    return Encoded(label, ids, [IGNORED] * given + ids[given:])


EXAMPLES = [encoded("a", 9, 4, 1), encoded("b", 6, 2, 2), encoded("a", 7, 6, 3)]


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_the_loss_of_packed_examples_is_that_of_each_alone(attention: str) -> None:
    backbone = Backbone(make_model(attention=attention))
    step = MaskedStep(backbone, drawn(backbone))
    loss, figures = step(MaskedJob(pack_examples(EXAMPLES, 16)))
    sums: dict[str, list[torch.Tensor]] = {}
    with under(backbone, step.lora), torch.no_grad():
        for one in EXAMPLES:
            logits = backbone.model(input_ids=torch.tensor([one.ids]), use_cache=False).logits
            labels = torch.tensor(one.labels[1:])
            alone = functional.cross_entropy(
                logits[0, :-1], labels, ignore_index=IGNORED, reduction="none"
            )
            sums.setdefault(one.label, []).append(alone[labels != IGNORED])
    every = torch.cat([one for group in sums.values() for one in group])
    assert torch.allclose(loss, every.mean(), atol=1e-5)
    for label, group in sums.items():
        assert torch.allclose(figures[f"loss.{label}"], torch.cat(group).mean(), atol=1e-5)


def test_what_is_given_does_not_change_the_loss_directly() -> None:
    backbone = Backbone(make_model())
    backbone.model.requires_grad_(False)
    step = MaskedStep(backbone, drawn(backbone))
    job = MaskedJob(pack_examples(EXAMPLES, 16))
    loss, figures = step(job)
    loss.backward()
    assert all(bool(weight.grad is not None) for weight in step.parameters())
    assert [name for name, _ in step.named_parameters() if not name.startswith("lora.")] == []
    assert not figures["loss"].requires_grad
    assert job.tokens == 22
    assert job.label == "examples"

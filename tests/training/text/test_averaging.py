"""The mean of models: every weight of theirs, and none of models that do not go together."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tests.fakes import CONFIG, make_mplus, make_tokenizer, some_ids
from tests.training.superseding.spans import SPANS, spans_model

from memplus import MPlus
from memplus.errors import ConfigError, UsageError
from memplus.memory.superseding import FEATURES
from memplus.training.superseding.runs import with_rule
from memplus.training.text.averaging import averaged


def moved(model: MPlus, seed: int) -> MPlus:
    """Every weight a little elsewhere, as after some training."""
    draws = torch.Generator().manual_seed(seed)
    for weight in (*model.model.parameters(), *model.weights.parameters()):
        weight.data += 0.02 * torch.randn(weight.shape, generator=draws)
    return model


def everything(model: MPlus) -> dict[str, torch.Tensor]:
    named = [*model.model.named_parameters(), *model.weights.named_parameters()]
    return {name: weight.detach().clone() for name, weight in named}


def test_every_weight_is_the_mean_and_the_last_model_gives_the_rest() -> None:
    first, last = moved(spans_model(), 1), moved(spans_model(), 2)
    ruled = with_rule(last, torch.arange(len(FEATURES) + 1.0))
    one, other = everything(first), everything(ruled)
    mean = averaged([first, ruled])
    assert mean is ruled
    found = everything(mean)
    assert torch.equal(found.pop("superseding"), other.pop("superseding"))
    assert set(found) == set(one)
    for name, weight in found.items():
        assert torch.allclose(weight, (one[name] + other[name]) / 2, atol=1e-7), name
    memory = mean.new_memory(0)
    mean.write(memory, some_ids(600).tolist())
    assert mean(some_ids(4), memory=memory).logits.isfinite().all()


def test_of_three_models_each_has_a_third() -> None:
    models = [moved(spans_model(), seed) for seed in (1, 2, 3)]
    before = [everything(model) for model in models]
    found = everything(averaged(models))
    for name, weight in found.items():
        wanted = (before[0][name] + before[1][name] + before[2][name]) / 3
        assert torch.allclose(weight, wanted, atol=1e-6), name


def test_the_mean_of_a_model_with_itself_is_itself_bit_for_bit() -> None:
    one = moved(spans_model(), 1)
    before = everything(one)
    found = everything(averaged([moved(spans_model(), 1)] * 2 + [one]))
    assert all(torch.equal(found[name], before[name]) for name in before)


def test_tied_weights_are_averaged_once() -> None:
    first, last = (moved(spans_model(tie_word_embeddings=True), seed) for seed in (1, 2))
    one, other = everything(first), everything(last)
    name = "model.embed_tokens.weight"
    assert last.model.get_output_embeddings().weight is last.model.get_parameter(name)
    found = everything(averaged([first, last]))
    assert torch.allclose(found[name], (one[name] + other[name]) / 2, atol=1e-7)


def test_how_many_rows_are_read_may_differ_and_is_the_last_models() -> None:
    wider = replace(SPANS, retrieved_tokens=384)
    mean = averaged(
        [make_mplus(config=wider, changes={"max_position_embeddings": 2048}), spans_model()]
    )
    assert mean.memory_config.retrieved_tokens == SPANS.retrieved_tokens


def test_one_model_has_no_mean() -> None:
    with pytest.raises(UsageError, match="two models"):
        averaged([spans_model()])


@pytest.mark.parametrize(
    ("other", "why"),
    [
        (lambda: make_mplus(config=CONFIG), "memory is another"),
        (lambda: spans_model(num_hidden_layers=2), "weights are others"),
    ],
)
def test_models_that_do_not_go_together_are_refused_and_stay(other, why: str) -> None:  # type: ignore[no-untyped-def]
    last = spans_model()
    before = everything(last)
    with pytest.raises(ConfigError, match=why):
        averaged([other(), last])
    assert all(torch.equal(before[name], found) for name, found in everything(last).items())


def test_models_that_write_texts_in_other_tokens_have_no_mean() -> None:
    other = spans_model()
    other.core.optional_tokenizer = make_tokenizer()
    other.core.optional_tokenizer.add_tokens(["lantern"])
    with pytest.raises(ConfigError, match="other tokens"):
        averaged([other, spans_model()])


def test_bundles_over_two_bases_are_refused(tmp_path: Path) -> None:
    opened = []
    for seed, name in enumerate(("one", "other")):
        moved(spans_model(), seed).save_pretrained(tmp_path / name)
        model = MPlus.from_pretrained(tmp_path / name)
        model.save_pretrained(tmp_path / f"over {name}", base="reference")
        opened.append(MPlus.from_pretrained(tmp_path / f"over {name}"))
    with pytest.raises(ConfigError, match="another base"):
        averaged(opened)

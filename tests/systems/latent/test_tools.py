from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file
from tests.fakes import EOS, make_mplus
from tests.systems.conftest import SHARED
from tests.systems.latent.tiny_weights import tiny_weights
from tests.systems.latent.toy import ToyMechanism, ToyOptions, ToySystem

from memplus.errors import ConfigError, EmptyTextError, SystemWeightsError
from memplus.mplus.core import Core
from memplus.systems.latent.tools import Kind, Tools
from memplus.systems.protocol import ChatPrompt
from memplus.systems.shared import Shared


def kind(name: str = "toy") -> Kind:
    def build(core: Core) -> ToyMechanism:
        return ToySystem.build(core.backbone, ToyOptions(), core.decode)

    sizes = ToySystem.sizes(ToyOptions())
    return Kind(name, ToySystem.makes, sizes, build, lambda core: sizes)


def folder() -> Path:
    return tiny_weights(ToySystem, ToyOptions())


def test_the_trained_weights_are_in_the_mechanism() -> None:
    tools = Tools(SHARED, kind(), folder())
    kept = load_file(folder() / "weights.safetensors")
    for name, weight in tools.mechanism.trained().items():
        assert torch.equal(weight, kept[name].float())
    assert tools.mechanism is tools.mechanism
    assert len(tools.weights_digest) == 64
    assert Tools(SHARED, kind(), None).weights_digest == ""


def test_loading_draws_nothing_from_the_callers_generator() -> None:
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    assert Tools(SHARED, kind(), folder()).mechanism
    assert Tools(SHARED, kind(), None).mechanism
    assert torch.equal(torch.rand(1), expected)


def test_weights_of_another_system_are_refused_at_once() -> None:
    with pytest.raises(SystemWeightsError, match="trained for toy"):
        Tools(SHARED, kind("other"), folder())


def test_weights_of_another_decoder_are_refused_when_they_are_needed() -> None:
    other = make_mplus(changes={"hidden_size": 16, "head_dim": 4})
    tools = Tools(Shared(lambda: other), kind(), folder())
    with pytest.raises(SystemWeightsError, match="configs/toy") as found:
        assert tools.mechanism
    # The hint is that of this error, not of what lies under it as well.
    assert str(found.value).count("\n") == 1


@pytest.mark.parametrize(
    ("named", "expected"), [(None, {EOS}), (7, {7, EOS}), ([7, 9], {7, 9, EOS})]
)
def test_answers_end_where_the_model_or_its_tokenizer_says(named: object, expected: object) -> None:
    made = make_mplus()
    made.core.backbone.model.generation_config = SimpleNamespace(eos_token_id=named)
    assert Tools(Shared(lambda: made), kind(), None).end_tokens == expected


def test_a_prompt_says_where_the_question_stands() -> None:
    tools = Tools(SHARED, kind(), None)
    for question in ("Who slept?", "7", "  Was it here? "):
        for start in ("", " It is"):
            found = tools.prompt(ChatPrompt(question, start))
            first, last = found.about
            assert SHARED.mplus.decode(found.ids[first:last]) == question.strip()
            assert list(found.ids) == SHARED.prompt_ids(ChatPrompt(question, start))
    assert tools.prompt("The gate").about == (0, 8)
    assert tools.prompt("").ids == ()
    with pytest.raises(EmptyTextError):
        tools.prompt(ChatPrompt(" "))


@pytest.mark.parametrize("options", [{"segment": 24, "longest": 23}, {"segment": 16, "unit": 3}])
def test_a_mechanism_that_cannot_read_a_segment_is_refused(options: dict[str, int]) -> None:
    made = ToySystem(SHARED, ToyOptions("none", **options))  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="segment"):
        assert made.mechanism

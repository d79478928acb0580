from __future__ import annotations

from tests.fakes import make_model
from tests.training.latent.toy import Learner, LearnerOptions

from memplus.backbone.access import Backbone
from memplus.training.latent.optimizer import make_optimizer
from memplus.training.latent.run_config import SystemOptimizer
from memplus.training.latent.step import LatentStep


def rates(config: SystemOptimizer, frozen: str = "") -> dict[str, tuple[float, float]]:
    """Name -> learning rate and decay, of every trained weight."""
    module = LatentStep(Learner(Backbone(make_model()), LearnerOptions()))
    for name, weight in module.named_parameters():
        weight.requires_grad_(name != frozen)
    found = {
        id(weight): (group["lr"], group["weight_decay"])
        for group in make_optimizer(module, config).param_groups
        for weight in group["params"]
    }
    return {n: found[id(w)] for n, w in module.named_parameters() if id(w) in found}


def test_what_is_new_and_what_updates_the_decoder_have_rates_of_their_own() -> None:
    found = rates(SystemOptimizer(learning_rate=1e-3, adapter_rate=1e-4, weight_decay=0.1))
    assert found.pop("mechanism.first") == (1e-3, 0.0)
    assert found.pop("mechanism.into") == (1e-3, 0.1)
    assert found
    assert all(name.startswith("mechanism.lora.") for name in found)
    assert set(found.values()) == {(1e-4, 0.1)}


def test_one_rate_serves_both_where_no_other_is_given() -> None:
    assert {rate for rate, _ in rates(SystemOptimizer(learning_rate=2e-3)).values()} == {2e-3}


def test_what_has_no_gradients_is_not_moved() -> None:
    found = rates(SystemOptimizer(), frozen="mechanism.into")
    assert "mechanism.into" not in found
    assert "mechanism.first" in found

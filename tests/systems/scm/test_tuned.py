from pathlib import Path
from typing import Any

import pytest
import torch
from tests.systems.scm.tiny import WIDE, small, told

from memplus.backbone.lora import Lora, LoraSizes
from memplus.errors import ConfigError, SystemWeightsError
from memplus.mplus.adapter_folder import ADAPTER, AdapterRecord, save_adapter
from memplus.systems.own_adapters import SHIPPED
from memplus.systems.registry import make_systems
from memplus.systems.scm.calibration import calibration_of
from memplus.systems.scm.tuned import digest_of, tuned_lora

SIZES = LoraSizes(2, 4, ("q_proj", "v_proj"))


def saved(folder: Path) -> str:
    lora = Lora(WIDE.mplus.backbone, SIZES)
    with torch.no_grad():
        for up in lora.up:
            up.fill_(0.2)
    save_adapter(folder, lora, AdapterRecord(SIZES, "tiny", "0" * 64))
    return str(folder)


@pytest.mark.parametrize("options", [{}, {"controller": "tuned"}, {"naive": True}], ids=str)
def test_without_weights_a_tuned_controller_is_refused_before_anything_runs(
    options: dict[str, Any], tmp_path: Path
) -> None:
    with pytest.raises(SystemWeightsError, match=r"memplus train --config configs/scm/"):
        small(**options, weights=str(tmp_path))


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        ("controller=plain", "controller=plain uses none"),
        ("controller=yes", "controller=yes uses none"),
        ("activation=false", "activation=false uses none"),
        ("naive=true:gate=off", "naive=true with gate=off uses none"),
    ],
)
def test_weights_that_nothing_would_use_are_refused(spec: str, why: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=why) as caught:
        make_systems([f"scm:{spec}:weights={saved(tmp_path)}"], WIDE)
    assert caught.value.fields["field"] == "scm:weights"


def test_without_a_controller_the_tuned_one_is_still_asked_question_one(tmp_path: Path) -> None:
    system = small(naive=True, weights=saved(tmp_path))
    told(system).ask(["Who slept?"], max_new_tokens=2)
    assert (system.answering, system.frame.controller.asked) == ("tuned", 1)


def test_the_tuned_controller_that_comes_along_is_refused_by_another_model() -> None:
    system = small(controller="tuned")
    with pytest.raises(SystemWeightsError, match="do not fit the model"):
        system.open(0)


def test_by_default_the_tuned_controller_answers_where_it_comes_along(tmp_path: Path) -> None:
    assert small().answering == "plain"
    own = small(weights=saved(tmp_path / "own"))
    assert own.answering == "tuned"
    assert own.calibration.answers is None
    saved(tmp_path)
    figures = SHIPPED / "scm" / "smollm2-tuned.json"
    (tmp_path / f"{WIDE.mplus.name}-tuned.json").write_bytes(figures.read_bytes())
    assert small(weights=str(tmp_path)).calibration == calibration_of("smollm2", "tuned")


def test_a_tuned_controller_judges_by_its_weights_and_answers_are_not_its_own(
    tmp_path: Path,
) -> None:
    weights = saved(tmp_path)
    tuned, plain = small(controller="tuned", weights=weights), small()
    margins = [one.frame.controller.margins for one in (tuned, plain)]
    found = [one.gate("Who slept?") for one in margins if one is not None]
    assert len(found) == 2
    assert found[0] != found[1]
    assert tuned.frame.voice.lora is tuned.frame.plain.lora is None
    assert told(tuned).ask(["Who slept?"], max_new_tokens=2)
    assert tuned.identity["weights"] == digest_of(weights)
    assert tuned.title.startswith("SCM (controller=tuned")


def test_damaged_weights_are_refused(tmp_path: Path) -> None:
    weights = saved(tmp_path)
    (tmp_path / ADAPTER).write_bytes(b"nothing")
    with pytest.raises(SystemWeightsError):
        tuned_lora(WIDE.mplus, weights)

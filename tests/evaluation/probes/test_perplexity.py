import math

import pytest
import torch
from tests.evaluation.conftest import silent
from tests.systems.conftest import SHARED

from memplus.data.stream import Stream, Texts
from memplus.errors import ConfigError
from memplus.evaluation.probes.perplexity import Windows, measure_perplexity
from memplus.systems.mplus import MPlusSystem
from memplus.systems.protocol import Session
from memplus.systems.registry import make_systems

SYSTEMS = make_systems(["mplus", "memoryllm", "nothing", "bare"], SHARED)


def test_perplexity_is_that_of_the_stock_model_and_ratios_are_to_the_last(texts: Texts) -> None:
    found = measure_perplexity(
        SYSTEMS, texts, tokens=200, windows=Windows(3, 12), seed=0, report=silent
    )
    assert list(found.perplexity) == ["mplus", "memoryllm", "nothing", "bare"]
    assert found.tokens_read >= 200
    stream = Stream(texts, 0, "text")
    losses, predicted = [], 0
    for _ in range(3):
        start = len(stream.pieces)
        stream.read_to(stream.tokens + 12)
        ids = torch.tensor([SHARED.encode([piece.text for piece in stream.pieces[start:]])])
        with torch.no_grad():
            losses.append(float(SHARED.mplus.model(ids, labels=ids).loss))
        predicted += ids.shape[1] - 1
    assert found.predicted == predicted
    assert found.perplexity["bare"] == pytest.approx(math.exp(sum(losses) / 3), rel=1e-4)
    for name, (ratio, low, high) in found.over_last.items():
        assert ratio == pytest.approx(found.perplexity[name] / found.perplexity["bare"])
        assert low <= ratio <= high
    assert found.over_last["bare"] == (1, 1, 1)
    assert found.perplexity["mplus"] != found.perplexity["nothing"]


def test_texts_too_short_for_both_are_refused(texts: Texts) -> None:
    with pytest.raises(ConfigError, match="tokens cannot be"):
        measure_perplexity(
            SYSTEMS, texts, tokens=texts.tokens, windows=Windows(1, 12), seed=0, report=silent
        )


class Mute(MPlusSystem):
    sessions = Session


def test_a_system_without_likelihoods_is_refused(texts: Texts) -> None:
    with pytest.raises(ConfigError, match="'mplus': it gives no likelihoods"):
        measure_perplexity(
            [Mute(SHARED)], texts, tokens=20, windows=Windows(1, 12), seed=0, report=silent
        )

import math

import pytest
import torch

from memplus import MPlus
from memplus.data.stream import Stream, Texts
from memplus.errors import ConfigError
from memplus.evaluation.probes.perplexity import (
    BLANK,
    FULL,
    NONE,
    SHORT,
    Windows,
    measure_perplexity,
)


def silent(what: str, done: int, total: int) -> None:
    pass


def test_perplexity_is_that_of_the_stock_model_and_ratios_are_to_it(
    model: MPlus, texts: Texts
) -> None:
    found = measure_perplexity(
        model, texts, tokens=200, windows=Windows(3, 12), seed=0, report=silent
    )
    assert set(found.perplexity) == {FULL, SHORT, BLANK, NONE}
    assert found.predicted == 33
    assert found.tokens_in_memory >= 200 - 6
    stream = Stream(texts, 0, "text")
    stream.read_to(36)
    ids = torch.tensor([stream.ids[start : start + 12] for start in (0, 12, 24)])
    with torch.no_grad():
        loss = model.model(ids, labels=ids).loss
    assert found.perplexity[NONE] == pytest.approx(math.exp(loss), rel=1e-4)
    for name, (ratio, low, high) in found.over_none.items():
        assert ratio == pytest.approx(found.perplexity[name] / found.perplexity[NONE])
        assert low <= ratio <= high
    assert found.over_none[NONE] == (1, 1, 1)
    assert found.perplexity[FULL] != found.perplexity[BLANK]


def test_texts_too_short_for_both_are_refused(model: MPlus, texts: Texts) -> None:
    with pytest.raises(ConfigError, match="tokens cannot be"):
        measure_perplexity(
            model, texts, tokens=texts.tokens, windows=Windows(1, 12), seed=0, report=silent
        )

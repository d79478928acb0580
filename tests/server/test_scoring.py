from __future__ import annotations

import pytest
import torch
from tests.fakes import make_mplus

from memplus.server import scoring
from memplus.server.engine.requests import TokenScore
from memplus.server.faults import RequestFault
from memplus.server.scoring import score_prompt


def test_tokens_are_scored_as_the_model_does_after_those_before_them() -> None:
    model = make_mplus()
    memory = model.new_memory()
    model.write(memory, "The gate is red. ")
    ids = model.encode("The gate?")
    for read in (memory, None):
        first, *scored = score_prompt(model, read, ids, 2)
        assert first == b"T"
        for place, one in enumerate(scored, start=1):
            assert isinstance(one, TokenScore)
            with torch.no_grad():
                output = model.forward(torch.tensor([ids[:place]]), memory=read)
            assert output.logits is not None
            chances = torch.log_softmax(output.logits[0, -1].float(), -1)
            assert one.logprob == pytest.approx(float(chances[ids[place]]), abs=1e-4)
            assert one.top[0][0] == int(chances.argmax())
            assert len(one.top) == 2
        spelt = [one.spelt for one in scored if isinstance(one, TokenScore)]
        assert b"".join([first, *spelt]) == b"The gate?"  # type: ignore[list-item]


def test_a_prompt_whose_scores_would_not_fit_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scoring, "_MOST_BYTES", 10_000)
    with pytest.raises(RequestFault) as error:
        score_prompt(make_mplus(), None, list(range(20)), 0)
    assert "at most 9 tokens" in error.value.fault.message

"""Questions read in pieces, several in a pass, ask for what they ask for alone."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from tests.fakes import ADAPTERS, distance, make_mplus, some_ids
from tests.passes.test_span_queries import SPANS

from memplus.config import SpanRetrieval
from memplus.passes.joint_queries import piece_queries, question_read
from memplus.passes.span_queries import span_queries


@pytest.mark.parametrize("layer", [0, 2])
@pytest.mark.parametrize("name", ["llama", "gemma3", "smollm3"])
def test_pieces_of_several_questions_are_the_questions(name: str, layer: int) -> None:
    spans = replace(SPANS, retrieval=SpanRetrieval(span_rows=4, layer=layer), adapters=ADAPTERS)
    model = make_mplus(name, spans)
    texts = [some_ids(count, seed=count) for count in (9, 1, 6)]
    reads = [question_read(model.backbone, model.weights, text.tolist()) for text in texts]
    found: list[list[torch.Tensor]] = [[] for _ in reads]
    for most in (2, 4, 99):
        going = [place for place, read in enumerate(reads) if read.unread]
        pieces = [reads[place].piece(most) for place in going]
        queries = piece_queries(model.backbone, model.weights, pieces)
        for place, some in zip(going, queries, strict=True):
            found[place].append(some)
    for text, some in zip(texts, found, strict=True):
        asked = torch.ones((1, len(text)), dtype=torch.bool)
        whole = span_queries(model.backbone, model.weights, text[None], asked)[0]
        assert distance(torch.cat(some), whole) < 1e-4

"""An adapter that makes a tiny random model write and read a few triples: learned by heart.

It lies beside this file, since learning takes half a minute; ``python -m
tests.systems.ret_llm.tiny_weights`` learns it again, after a change of the tiny model or of what is
learned.
"""

from __future__ import annotations

from pathlib import Path

import torch
from tests.fakes import make_mplus, make_tokenizer
from tests.systems.conftest import SMALL

from memplus.backbone.lora import Lora, LoraSizes
from memplus.mplus.adapter_folder import AdapterRecord, save_adapter
from memplus.systems.ret_llm.grammar import Query, Triple, query_text, result_text, write_text
from memplus.systems.ret_llm.prompts import question_prompt, text_prompt
from memplus.training.masked.example import Example, Piece
from memplus.training.masked.packing import encode_example, pack_examples
from memplus.training.masked.step import MaskedJob, MaskedStep

__all__ = ["ANSWERS", "TOLD", "tiny_weights"]

TOLD: dict[str, tuple[Triple, ...]] = {
    "The gate is red, and nobody came.": (("gate", "is", "red"),),
    "It rained for days on end; the keeper slept.": (("days", "had", "rain"), ("he", "did", "nap")),
    "A boat lay in the harbour.": (),
    "Its name was Thistle, and it never left again in winter.": (("boat", "name", "Thistle"),),
    "The gate is blue.": (("gate", "is", "blue"),),
}
"""Sentence -> its triples."""
_NOTHING = "I have no note of that."
ANSWERS: dict[str, tuple[Query, dict[tuple[Triple, ...], str]]] = {
    "What is red?": (Query(None, "is", "red"), {(): _NOTHING, (("gate", "is", "red"),): "gate"}),
    "Who slept?": (Query(None, "did", "nap"), {(): _NOTHING, (("he", "did", "nap"),): "he"}),
    "What was the boat's name?": (
        Query("boat", "name", None),
        {(): _NOTHING, (("boat", "name", "Thistle"),): "Thistle"},
    ),
    "What is the gate?": (
        Query("gate", "is", None),
        {
            (): _NOTHING,
            (("gate", "is", "red"),): "red",
            (("gate", "is", "blue"),): "blue",
            (("gate", "is", "red"), ("gate", "is", "blue")): "blue",
        },
    ),
}
"""Question -> its query, and what is answered to which rows."""
_FOLDER = Path(__file__).parent / "tiny"
_SIZES = LoraSizes(rank=16, alpha=32)
_STEPS, _RATE = 120, 1e-2


def _examples() -> list[Example]:
    made = [
        Example("write", (Piece(text_prompt(told)), Piece(write_text(triples), learned=True)))
        for told, triples in TOLD.items()
    ]
    for question, (query, answers) in ANSWERS.items():
        for rows, answer in answers.items():
            pieces = (
                Piece(question_prompt(question)),
                Piece(query_text(query), learned=True),
                Piece(result_text(rows)),
                Piece(f" {answer}", learned=True),
            )
            made.append(Example("read", pieces))
    return made


def tiny_weights() -> Path:
    """The adapter's folder, for the model of ``conftest.SHARED``."""
    return _FOLDER


def learn() -> None:
    """Write the adapter."""
    backbone = make_mplus(config=SMALL).core.backbone
    backbone.model.requires_grad_(False)
    torch.manual_seed(0)
    lora = Lora(backbone, _SIZES)
    step = MaskedStep(backbone, lora)
    tokenizer = make_tokenizer()
    job = MaskedJob(pack_examples([encode_example(one, tokenizer) for one in _examples()], 250))
    optimizer = torch.optim.AdamW(lora.parameters(), lr=_RATE, weight_decay=0.0)
    for number in range(_STEPS):
        for group in optimizer.param_groups:
            group["lr"] = _RATE * min(1.0, (number + 1) / 20) * (1 - number / _STEPS)
        loss, _ = step(job)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    save_adapter(_FOLDER, lora, AdapterRecord(_SIZES, "tiny", "0" * 64))


if __name__ == "__main__":
    learn()

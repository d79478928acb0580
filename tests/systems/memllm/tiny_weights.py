"""Adapters that make a tiny random model write and read a few triples: learned by heart.

They lie beside this file, since learning takes half a minute; ``python -m
tests.systems.memllm.tiny_weights`` learns them again, after a change of the tiny model or of what
is learned.
"""

from __future__ import annotations

from pathlib import Path

import torch
from tests.fakes import make_mplus, make_tokenizer
from tests.systems.conftest import SMALL

from memplus.backbone.lora import Lora, LoraSizes
from memplus.mplus.adapter_folder import AdapterRecord, save_adapter
from memplus.systems.memllm.calls import question_prompt
from memplus.systems.memllm.grammar import END, START, Query, write_call, write_prompt
from memplus.systems.triples.rows import Triple
from memplus.training.masked.example import Example, Piece
from memplus.training.masked.memllm_read import call_pieces
from memplus.training.masked.packing import encode_example, pack_examples
from memplus.training.masked.step import MaskedJob, MaskedStep

__all__ = ["ANSWERS", "TOLD", "tiny_weights"]

TOLD: dict[str, tuple[Triple, ...]] = {
    "The gate is red, and nobody came.": (Triple("gate", "is", "red"),),
    "It rained for days on end; the keeper slept.": (Triple("he", "did", "nap"),),
    "A boat lay in the harbour.": (),
    "Its name was Thistle, and it never left again in winter.": (Triple("boat", "name", "Tam"),),
    "The gate is blue.": (Triple("gate", "is", "blue"), Triple("gate", "has", "paint")),
}
"""Sentence -> its triples."""
ANSWERS: dict[str, tuple[Query, tuple[tuple[str, str], ...]]] = {
    "What is red?": (Query(None, "is", "red"), (("gate", "gate"),)),
    "Who slept?": (Query(None, "did", "nap"), (("he", "he"),)),
    "What was the boat's name?": (Query("boat", "name", None), (("Tam", "Tam"),)),
    "What is the gate?": (
        Query("gate", "is", None),
        (("red", "red"), ("blue", "blue"), ("red;blue", "blue")),
    ),
}
"""Question -> its query, and what is answered to which results."""
_FOLDER = Path(__file__).parent / "tiny"
_SIZES = LoraSizes(rank=16, alpha=32)
_MOST, _RATE, _LEARNED = 600, 1e-2, 0.1


def _examples() -> list[Example]:
    made = []
    for told, triples in TOLD.items():
        call = (START, write_call(triples), END)
        pieces = Piece(write_prompt("", told)), *(Piece(one, learned=True) for one in call)
        made.append(Example("write", pieces))
    for question, (query, answers) in ANSWERS.items():
        for results, answer in answers:
            call_and_results = call_pieces([query], [results])
            behind = Piece(f" {answer}", learned=True)
            pieces = Piece(question_prompt(question)), *call_and_results, behind
            made.append(Example("read", pieces))
    return made


def tiny_weights() -> Path:
    """The folder of both adapters, for the model of ``conftest.SHARED``."""
    return _FOLDER


def learn() -> None:
    """Write the adapters; one learns both kinds of calls."""
    backbone = make_mplus(config=SMALL).core.backbone
    backbone.model.requires_grad_(False)
    torch.manual_seed(0)
    lora = Lora(backbone, _SIZES)
    step = MaskedStep(backbone, lora)
    tokenizer = make_tokenizer()
    job = MaskedJob(pack_examples([encode_example(one, tokenizer) for one in _examples()], 250))
    optimizer = torch.optim.AdamW(lora.parameters(), lr=_RATE, weight_decay=0.0)
    for number in range(_MOST):
        for group in optimizer.param_groups:
            group["lr"] = _RATE * min(1.0, (number + 1) / 20) * (1 - number / _MOST)
        loss, figures = step(job)
        if float(figures["right"]) == 1 and float(figures["loss"]) < _LEARNED:
            break
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    for part in ("write", "read"):
        save_adapter(_FOLDER / part, lora, AdapterRecord(_SIZES, "tiny", "0" * 64))


if __name__ == "__main__":
    learn()

"""What the systems of one run share: a model, loaded once, and its tokenizer as a reference."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import cached_property
from typing import Any

import torch

from memplus.data.stream import Reference
from memplus.data.wording import same_wording
from memplus.errors import EmptyTextError
from memplus.memory.state import Memory
from memplus.mplus.model import MPlus
from memplus.mplus.own_tokenizer import own_tokenizer
from memplus.systems.protocol import Reply

__all__ = ["Shared", "SharedSystem", "ask_without_memory", "log_likelihood"]


class Shared:
    """A model that is loaded when it is first needed.

    Args:
        load: gives the model.
    """

    def __init__(self, load: Callable[[], MPlus]) -> None:
        self._load = load

    @cached_property
    def mplus(self) -> MPlus:
        """The model with its memory.

        Raises:
            ModelError: it cannot be loaded.
        """
        return self._load()

    @property
    def identity(self) -> Mapping[str, Any]:
        """The model's weights, sizes and prompt, as JSON values; and how rows are kept.

        Rows as computed go without saying: results of earlier releases were of no others.
        """
        model, rows = self.mplus, self.mplus.memory_config.rows
        kept = {} if rows == "exact" else {"rows": rows}
        return {"model": model.fingerprint, "prompt": asdict(model.prompt), **kept}

    @cached_property
    def reference(self) -> Reference:
        """The model's tokenizer, as plans count tokens.

        Raises:
            TokenizerMissingError: it has none.
        """
        model, tokenizer = self.mplus, own_tokenizer(self.mplus.tokenizer)

        def ends(texts: list[str]) -> list[list[int]]:
            if not tokenizer.is_fast:
                return [_slow_ends(model, text) for text in texts]
            if not texts:
                return []
            found = tokenizer(texts, add_special_tokens=False, return_offsets_mapping=True)
            places = [[int(end) for _, end in offsets] for offsets in found["offset_mapping"]]
            # What a tokenizer strips at the end belongs to the last token.
            return [[*p[:-1], len(t)] if p else [] for p, t in zip(places, texts, strict=True)]

        return ends

    def encode(self, pieces: Sequence[str]) -> list[int]:
        """Token ids of pieces, each tokenised by itself."""
        if not pieces:
            return []
        found = own_tokenizer(self.mplus.tokenizer)(list(pieces), add_special_tokens=False)
        return [int(token) for ids in found["input_ids"] for token in ids]

    def declines(self, text: str) -> bool:
        """Whether an answer is the model's way of saying that there is none."""
        return same_wording(text, self.mplus.prompt.abstention)


def _slow_ends(model: MPlus, text: str) -> list[int]:
    """Where tokens end by a tokenizer that does not say so: by what it decodes."""
    ids = model.encode(text)
    ends = [len(model.decode(ids[: count + 1])) for count in range(len(ids))]
    return [*(min(end, len(text)) for end in ends[:-1]), len(text)] if ends else []


class SharedSystem:
    """What every system of a shared model says of it; each adds its name and its sessions."""

    def __init__(self, shared: Shared) -> None:
        self.shared = shared

    @property
    def model(self) -> str:
        """See ``System.model``."""
        return self.shared.mplus.name

    @property
    def identity(self) -> Mapping[str, Any]:
        """See ``System.identity``."""
        return self.shared.identity

    def declines(self, text: str) -> bool:
        """See ``System.declines``."""
        return self.shared.declines(text)


def ask_without_memory(shared: Shared, question: str, max_new_tokens: int) -> Reply:
    """What a model answers by itself, under its read adapter.

    Args:
        shared: the model.
        question: with whatever should stand before it; the model's template is put around it.
        max_new_tokens: most tokens of the answer.

    Raises:
        EmptyTextError, PositionsError, TokenizerMissingError.
    """
    model = shared.mplus
    ids = torch.tensor([model.asker.encode(question)], device=model.device)
    output = model.generate(ids, None, max_new_tokens=max_new_tokens)[0, ids.shape[1] :]
    generated = str(model.tokenizer.decode(output.tolist(), skip_special_tokens=True))
    text = model.asker.until_stop(generated)
    return Reply(text, shared.declines(text), generated)


@torch.no_grad()
def log_likelihood(
    model: MPlus, memory: Memory | None, prompt: str, option: str
) -> tuple[float, int]:
    """Sum of the log-probabilities of an option's tokens after a prompt, and how many they are.

    Args:
        model: reads them.
        memory: what it remembers; None: the model alone.
        prompt: as it stands; where it is empty the option's first token is given.
        option: as it stands.

    Raises:
        EmptyTextError: the option has no token to predict.
    """
    given, wanted = model.encode(prompt) if prompt else [], model.encode(option)
    count = len(wanted) if given else len(wanted) - 1
    if count < 1:
        raise EmptyTextError("The option")
    ids = torch.tensor([given + wanted], device=model.device)
    logits = model(ids, memory=memory).logits[0, -count - 1 : -1].float()
    found = logits.log_softmax(dim=-1).gather(1, ids[0, -count:, None])
    return float(found.sum()), count

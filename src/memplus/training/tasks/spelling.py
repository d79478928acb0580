"""How a tokenizer writes what is told, asked and answered."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from memplus.config import PromptConfig
from memplus.mplus.encoding import encode_text, encode_within

if TYPE_CHECKING:
    from memplus.backbone.stock_types import PreTrainedTokenizerBase

__all__ = ["TokenizerSpelling", "end_of"]


def end_of(generation: Any) -> int | None:
    """The token that ends a model's answers, by its rules for generation; None: none does."""
    ends: list[int] | int | None = generation.eos_token_id
    return ends[0] if isinstance(ends, list) else ends


class TokenizerSpelling:
    """See ``question_texts.Spelling``.

    Args:
        tokenizer: of the model.
        prompt: how the model is asked, and what it says of what it was never told.
        end: the token that ends its answers; None: none does.
    """

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, prompt: PromptConfig, end: int | None
    ) -> None:
        self._tokenizer = tokenizer
        self._prompt = prompt
        self._end = end

    def text(self, text: str) -> tuple[list[int], list[int]]:
        """Token ids of a text, and where each of them ends in it."""
        ids, ends = encode_text(self._tokenizer, text)
        # A tokenizer that cannot tell: every token may hold what is looked for.
        return ids, ends if ends is not None else [len(text)] * len(ids)

    def question(self, question: str) -> list[int]:
        """A question in the model's prompt."""
        return encode_within(self._tokenizer, self._prompt.template, question.strip())

    def answer(self, answer: str) -> list[int]:
        """An answer as the model would give it, with the token that ends it.

        It follows a template that ends with a new line as it is, and any other after a space.
        """
        start = "" if self._prompt.template[-1:].isspace() else " "
        ids, _ = encode_text(self._tokenizer, start + answer)
        return [*ids, self._end] if self._end is not None else ids

    @property
    def abstention(self) -> list[int]:
        """What the model answers to what it was never told."""
        return self.answer(self._prompt.abstention)

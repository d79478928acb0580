"""A tokenizer of our own beside the caller's.

A fast tokenizer keeps truncation and padding as state that every call sets for the next ones. Where
the caller uses the same object in another thread with ``truncation=True``, a text of ours would be
cut without a word. So text is encoded by a copy that nobody else has, which cuts and fills nothing;
the caller's own object is never asked to encode, and stays as it is.
"""

from __future__ import annotations

import copy
import weakref
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from memplus.errors import UsageError

if TYPE_CHECKING:
    from memplus.backbone.stock_types import PreTrainedTokenizerBase

__all__ = ["encode_whole", "ends_of", "own_tokenizer"]

# (how many tokens it knew, the copy); made anew when the caller adds tokens.
_owned: weakref.WeakKeyDictionary[Any, tuple[int, Any]] = weakref.WeakKeyDictionary()


def own_tokenizer(tokenizer: PreTrainedTokenizerBase) -> PreTrainedTokenizerBase:
    """Our copy of a fast tokenizer, as it was when it last got tokens; slow ones keep no state.

    One whose parts are written in Python has no copy, and is given back itself.
    """
    if not tokenizer.is_fast:
        return tokenizer
    size = len(tokenizer)
    known = _owned.get(tokenizer)
    if known is None or known[0] != size:
        known = _owned[tokenizer] = (size, _copied(tokenizer))
    own: PreTrainedTokenizerBase = known[1]
    return own


def _copied(tokenizer: Any) -> Any:
    try:
        rules = copy.deepcopy(tokenizer.backend_tokenizer)
    except Exception:  # the library raises its plain Exception for parts written in Python
        return tokenizer
    rules.no_truncation()
    rules.no_padding()
    own = object.__new__(type(tokenizer))
    own.__dict__.update(tokenizer.__dict__)
    own._tokenizer = rules
    return own


def encode_whole(
    tokenizer: PreTrainedTokenizerBase, text: str
) -> tuple[list[int], list[int] | None]:
    """Token ids of a text, without special tokens, and where each ends in it.

    Args:
        tokenizer: the caller's; it is not touched.
        text: what is encoded, to its end.

    Returns:
        The ids, and the places (None where the tokenizer cannot tell).

    Raises:
        UsageError: the tokenizer cut the text, and has no copy that does not.
    """
    own = own_tokenizer(tokenizer)
    if not own.is_fast:
        ids: list[int] = own(text, add_special_tokens=False)["input_ids"]
        return ids, None
    found = own(text, add_special_tokens=False, return_offsets_mapping=True)
    if own is tokenizer:
        _check_end(own, text, [int(end) for _, end in found["offset_mapping"]])
    return list(found["input_ids"]), ends_of(found["offset_mapping"], text)


def ends_of(offsets: Sequence[tuple[int, int]], text: str) -> list[int]:
    """Where tokens end in a text, by what a tokenizer says of it.

    What it strips belongs to the token before it, and no text is lost at the end.
    """
    return [*(int(end) for _, end in offsets[:-1]), len(text)] if offsets else []


def _check_end(tokenizer: PreTrainedTokenizerBase, text: str, ends: list[int]) -> None:
    """What follows the last token must be nothing that has tokens."""
    end = max(ends, default=0)
    rest = text[end:]
    if rest.strip() and tokenizer(rest, add_special_tokens=False)["input_ids"]:
        raise UsageError(
            f"The tokenizer cut a text of {len(text)} characters after {end}: it is used with "
            "truncation elsewhere. Give memplus a tokenizer of its own."
        )

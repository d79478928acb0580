"""Text to token ids, where what users say stays text.

A tokenizer reads ``<|im_end|>`` in any text as the control token of that name. Here a text of
somebody else is cut inside every control token that it spells, and its pieces are encoded one by
one, so that none of them can be read as the token; the ids decode to the same text. Text without
control tokens, which is nearly all of it, is encoded as ever. No setting of the tokenizer is
touched, since other threads may be using it, and none that they make reaches a text of ours
(``own_tokenizer``).

What is ours (a template) may hold control tokens, and they keep their meaning.
"""

from __future__ import annotations

import re
import weakref
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from memplus.errors import ChatTemplateError
from memplus.memory.written_text import require_text
from memplus.mplus.own_tokenizer import encode_whole, ends_of, own_tokenizer

if TYPE_CHECKING:
    from memplus.backbone.stock_types import PreTrainedTokenizerBase

__all__ = ["chat_ids", "encode_each", "encode_pieces", "encode_text", "encode_within"]

_QUESTION = "{question}"
# Private characters, which mark a cut while a chat template does its work.
_MARKS = [chr(code) for code in range(0xE000, 0xF8FF)]

# (what a tokenizer knew then, its pattern); made anew when tokens or the chat template change.
_Known = tuple[tuple[int, str], re.Pattern[str] | None]
_patterns: weakref.WeakKeyDictionary[Any, _Known] = weakref.WeakKeyDictionary()


def encode_text(
    tokenizer: PreTrainedTokenizerBase, text: str, *, what: str = "The text"
) -> tuple[list[int], list[int] | None]:
    """Token ids of somebody's text, and where each ends in it (None where nobody can tell).

    Raises:
        BrokenTextError: it is no valid text; the error calls it ``what``.
    """
    require_text(text, what)
    return encode_pieces(tokenizer, _cut(text, _breaks(tokenizer, text, [])))


def encode_each(
    tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]
) -> list[tuple[list[int], list[int] | None]]:
    """``encode_text`` of each of somebody's texts by itself; many short ones are read together."""
    if not texts:
        return []
    own = own_tokenizer(tokenizer)
    found = own(list(texts), add_special_tokens=False, return_offsets_mapping=own.is_fast)
    places = found["offset_mapping"] if own.is_fast else [None] * len(texts)
    return [
        encode_text(tokenizer, text)
        if _breaks(tokenizer, text, [])
        else (list(ids), None if offsets is None else ends_of(offsets, text))
        for text, ids, offsets in zip(texts, found["input_ids"], places, strict=True)
    ]


def encode_within(tokenizer: PreTrainedTokenizerBase, template: str, question: str) -> list[int]:
    """Token ids of our template with somebody's question in the place of ``{question}``.

    Raises:
        BrokenTextError: the question is no valid text.
    """
    require_text(question, "The question")
    ours = template.split(_QUESTION)
    spans: list[tuple[int, int]] = []
    start = 0
    for part in ours:
        spans.append((start, start + len(part)))
        start += len(part) + len(question)
    text = question.join(ours)
    return encode_pieces(tokenizer, _cut(text, _breaks(tokenizer, text, spans)))[0]


def chat_ids(
    tokenizer: PreTrainedTokenizerBase, messages: Sequence[dict[str, str]], name: str
) -> list[int]:
    """Token ids of a conversation in the model's chat template, with the cue for a reply.

    Args:
        tokenizer: whose template is filled.
        messages: ``role`` and ``content`` each; the contents are somebody's text.
        name: what the model is called, for errors.

    Raises:
        BrokenTextError: a message is no valid text.
        ChatTemplateError: the template refused the messages, or failed.
    """
    said = [message["content"] for message in messages]
    for content in said:
        require_text(content, "The message")
    taken = "".join((*said, str(tokenizer.chat_template)))
    mark = next(one for one in _MARKS if one not in taken)
    marked = [
        message | {"content": mark.join(_cut(content, _breaks(tokenizer, content, [])))}
        for message, content in zip(messages, said)
    ]
    try:
        filled = tokenizer.apply_chat_template(marked, add_generation_prompt=True, tokenize=False)
        require_text(str(filled), "What it gives")
    except Exception as error:  # a template is a program of the model's makers: anything may come
        reason = str(error).rstrip(".") or type(error).__name__
        raise ChatTemplateError(name, reason=reason) from error
    return encode_pieces(tokenizer, str(filled).split(mark))[0]


def encode_pieces(
    tokenizer: PreTrainedTokenizerBase, pieces: Sequence[str]
) -> tuple[list[int], list[int] | None]:
    """Token ids of pieces that follow each other, and where each id ends in the whole text."""
    ids, ends = encode_whole(tokenizer, pieces[0])
    length = len(pieces[0])
    for piece in pieces[1:]:
        new, places = _following(tokenizer, piece)
        ids += new
        ends = None if ends is None or places is None else ends + [length + p for p in places]
        length += len(piece)
    return ids, ends


def _following(
    tokenizer: PreTrainedTokenizerBase, piece: str
) -> tuple[list[int], list[int] | None]:
    """A piece that does not begin the text.

    Some tokenizers put a space before whatever they are given; behind a new line they do not.
    """
    line, _ = encode_whole(tokenizer, "\n")
    ids, ends = encode_whole(tokenizer, "\n" + piece)
    if ids[: len(line)] != line:
        return encode_whole(tokenizer, piece)
    return ids[len(line) :], None if ends is None else [end - 1 for end in ends[len(line) :]]


def _cut(text: str, places: Sequence[int]) -> list[str]:
    return [text[a:b] for a, b in zip([0, *places], [*places, len(text)])]


def _breaks(
    tokenizer: PreTrainedTokenizerBase, text: str, ours: Sequence[tuple[int, int]]
) -> list[int]:
    """Where a text is cut so that none of its pieces spells a control token.

    Args:
        tokenizer: whose control tokens.
        text: the text.
        ours: spans (start, stop) of it in which control tokens keep their meaning.
    """
    pattern = _pattern(tokenizer)
    places: list[int] = []
    match = None if pattern is None else pattern.search(text)
    while pattern is not None and match is not None:
        if not any(start <= match.start() and match.end() <= stop for start, stop in ours):
            places.append(match.start() + 1)
        match = pattern.search(text, match.start() + 1)
    return places


def _pattern(tokenizer: PreTrainedTokenizerBase) -> re.Pattern[str] | None:
    """Finds control tokens: the special ones, and those that the chat template writes."""
    template = getattr(tokenizer, "chat_template", None)
    knows = (len(tokenizer), str(template))
    known = _patterns.get(tokenizer)
    if known is not None and known[0] == knows:
        return known[1]
    added = tokenizer.added_tokens_decoder.values()
    names = {token.content for token in added if token.special or token.content in knows[1]}
    names |= set(tokenizer.all_special_tokens)
    longest = sorted((n for n in names if len(n) > 1 and not n.isspace()), key=len, reverse=True)
    pattern = re.compile("|".join(map(re.escape, longest))) if longest else None
    _patterns[tokenizer] = (knows, pattern)
    return pattern

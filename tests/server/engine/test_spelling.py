from __future__ import annotations

from typing import Any, ClassVar

import pytest
from tests.fakes import make_tokenizer
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from memplus.server.engine.spelling import Spelling

TEXT = "Zoë at 日本 🙂 ok"


def with_byte_tokens() -> Any:
    """As of Llama 2: characters that it does not know are tokens of one byte each."""
    letters = ["<unk>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁"]
    letters += [chr(code) for code in range(33, 127)] + ["▁a"]
    vocabulary = {letter: index for index, letter in enumerate(letters)}
    merges = [("▁", "a")]
    raw = Tokenizer(
        models.BPE(vocab=vocabulary, merges=merges, unk_token="<unk>", byte_fallback=True)
    )
    raw.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    steps = [
        decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(),
        decoders.Strip(" ", 1, 0),
    ]  # fmt: skip
    raw.decoder = decoders.Sequence(steps)
    return PreTrainedTokenizerFast(tokenizer_object=raw, eos_token="<end>")


def with_blanks() -> Any:
    """It tells no bytes, only how it writes a blank."""
    letters = ["<unk>", "▁", *(chr(code) for code in range(33, 127)), *set(TEXT) - {" "}]
    vocabulary = {letter: index for index, letter in enumerate(dict.fromkeys(letters))}
    raw = Tokenizer(models.BPE(vocab=vocabulary, merges=[], unk_token="<unk>"))
    raw.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    raw.decoder = decoders.Metaspace(prepend_scheme="first")
    return PreTrainedTokenizerFast(tokenizer_object=raw, eos_token="<end>")


@pytest.mark.parametrize("make", [make_tokenizer, with_byte_tokens, with_blanks])
def test_the_bytes_of_tokens_make_the_text(make: Any) -> None:
    tokenizer = make()
    spelling = Spelling(tokenizer, tokenizer.decode)
    ids = tokenizer.encode(TEXT, add_special_tokens=False)
    spelt = [spelling(one, first=not place) for place, one in enumerate(ids)]
    assert b"".join(spelt).decode() == tokenizer.decode(ids) == TEXT


@pytest.mark.parametrize("make", [make_tokenizer, with_byte_tokens, with_blanks])
@pytest.mark.parametrize(("skip", "expected"), [(False, b"<end>"), (True, b"")])
def test_a_token_of_its_own_text_is_spelt_as_it_is_decoded(
    make: Any, skip: bool, expected: bytes
) -> None:
    tokenizer = make()
    spelling = Spelling(tokenizer, lambda ids: tokenizer.decode(ids, skip_special_tokens=skip))
    assert spelling(tokenizer.eos_token_id) == expected


def test_a_tokenizer_that_says_nothing_of_its_steps_is_asked_for_text() -> None:
    class Silent:
        added_tokens_decoder: ClassVar[dict[int, str]] = {}

        def convert_ids_to_tokens(self, id: int) -> str:
            return "<0x41>"

    assert Spelling(Silent(), lambda ids: "é" * len(ids))(5) == "é".encode()

"""Text of ours is encoded to its end, whatever the caller does with the same tokenizer."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from tests.fakes import make_mplus, make_tokenizer
from tokenizers import NormalizedString, PreTokenizedString, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from memplus.errors import UsageError
from memplus.mplus.fingerprint import tokenizer_digest
from memplus.mplus.own_tokenizer import encode_whole, own_tokenizer

TEXT = "word and more " * 20


def cutting(tokenizer: Any) -> None:
    """What a caller does elsewhere: the setting stays with the object."""
    tokenizer(["a b c d e f"] * 4, padding="max_length", max_length=4, truncation=True)


def test_a_setting_of_the_caller_cuts_nothing() -> None:
    tokenizer = make_tokenizer()
    expected = encode_whole(tokenizer, TEXT)
    assert len(expected[0]) == len(TEXT)
    cutting(tokenizer)
    assert tokenizer.backend_tokenizer.truncation is not None
    assert encode_whole(tokenizer, TEXT) == expected
    assert tokenizer.backend_tokenizer.truncation is not None  # and ours changes none of the caller


def test_a_tokenizer_that_comes_with_truncation_cuts_nothing_either() -> None:
    tokenizer = make_tokenizer()
    cutting(tokenizer)
    ids, ends = encode_whole(tokenizer, TEXT)
    assert len(ids) == len(TEXT)
    assert ends is not None
    assert ends[-1] == len(TEXT)


def test_tokens_added_later_are_known() -> None:
    tokenizer = make_tokenizer()
    before = encode_whole(tokenizer, "a <new> b")[0]
    tokenizer.add_tokens(["<new>"])
    after = encode_whole(tokenizer, "a <new> b")[0]
    assert len(after) < len(before)
    assert tokenizer.convert_tokens_to_ids("<new>") in after


def test_the_copy_is_made_once_and_is_nobody_elses() -> None:
    tokenizer = make_tokenizer()
    own = own_tokenizer(tokenizer)
    assert own is not tokenizer
    assert own_tokenizer(tokenizer) is own
    assert own_tokenizer(make_tokenizer()) is not own


def test_the_identity_of_a_tokenizer_does_not_follow_the_callers_settings() -> None:
    tokenizer = make_tokenizer()
    before = tokenizer_digest(tokenizer)
    cutting(tokenizer)
    assert tokenizer_digest(tokenizer) == before


def test_eight_threads_and_the_caller() -> None:
    model = make_mplus()
    expected = model.encode(TEXT)
    stop = threading.Event()
    wrong: list[int] = []

    def callers() -> None:
        while not stop.is_set():
            cutting(model.tokenizer)

    def ours() -> None:
        wrong.extend(len(ids) for _ in range(40) if (ids := model.encode(TEXT)) != expected)

    others = [threading.Thread(target=callers) for _ in range(4)]
    threads = [threading.Thread(target=ours) for _ in range(4)]
    for thread in (*others, *threads):
        thread.start()
    for thread in threads:
        thread.join()
    stop.set()
    for thread in others:
        thread.join()
    assert wrong == []
    memory = model.new_memory()
    assert model.write(memory, TEXT).tokens == len(TEXT)


class InPython:
    """A part of a tokenizer that cannot be copied."""

    def pre_tokenize(self, text: PreTokenizedString) -> None:
        text.split(self._halves)

    def _halves(self, index: int, text: NormalizedString) -> list[NormalizedString]:
        return [text]


def test_a_cut_is_an_error_where_no_copy_can_be_made() -> None:
    tokenizer: PreTrainedTokenizerFast = make_tokenizer()
    custom: Any = pre_tokenizers.PreTokenizer.custom(InPython())
    parts: Any = [custom, tokenizer.backend_tokenizer.pre_tokenizer]
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(parts)
    assert own_tokenizer(tokenizer) is tokenizer
    whole = encode_whole(tokenizer, "abcdef  ")
    assert len(whole[0]) == 8

    class Cutting(type(tokenizer)):  # type: ignore[misc]
        """As if another thread's truncation came between the setting and the encoding."""

        def __call__(self, text: str, **options: Any) -> Any:
            return super().__call__(text, max_length=4, truncation=True, **options)

    tokenizer.__class__ = Cutting
    with pytest.raises(UsageError, match="after 4"):
        encode_whole(tokenizer, "abcdef")

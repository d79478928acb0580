"""How chunks are found: what a text is turned into, and how chunks are ranked by it.

Whatever it is, it is frozen and apart from the tuned weights, as in the paper, whose own embedder
(BGE-M3) is a model larger than most decoders here.

Shapes: T tokens, d hidden size, c chunks, E width of a vector.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import partial
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from memplus.data.word_search import WordSearch, require_installed, words_of
from memplus.systems.embedder import WIDTH, embedder
from memplus.systems.memlong.bank import Bank
from memplus.systems.memlong.options import EmbedderName

__all__ = ["Decode", "Embed", "Embedder", "HiddenMeans", "TextVectors", "Words", "embedder_for"]

Decode = Callable[[Sequence[int]], str]
"""The text of token ids."""
Embed = Callable[[Sequence[Sequence[int]]], Tensor]
"""Token ids of n texts -> [n, E]."""


class Embedder(ABC):
    """Turns texts into what they are found by; the same text is always the same."""

    width: int
    """E; 0 where no vectors are kept."""
    words = False
    """Whether chunks' token ids are kept."""

    @abstractmethod
    def chunks(self, hidden: Tensor, ids: Tensor, lengths: Sequence[int]) -> Tensor:
        """[c, E] float32: vectors of the chunks of a text.

        Args:
            hidden: [T, d] what the memory layer gets of it.
            ids: [T] its tokens.
            lengths: of its chunks, which are all of it.
        """

    @abstractmethod
    def query(self, hidden: Tensor, ids: Tensor, *, opening: bool) -> Tensor:
        """[any]: what chunks are ranked by for a text.

        Args:
            hidden: [T, d] as for ``chunks``, T > 0.
            ids: [T].
            opening: whether its first token is the first one of its pass.
        """

    @abstractmethod
    def scores(self, bank: Bank, query: Tensor) -> Tensor:
        """[c]: how well each chunk of a bank fits, more is better."""


class HiddenMeans(Embedder):
    """Means over a text's tokens of what the memory layer gets from the frozen layers below it.

    These are the very vectors that keys and values are made of, so a read finds its chunks in the
    pass that reads them. Vectors are compared by their cosine, centred and scaled by what the
    bank holds (``Bank.direction``): without that all texts look alike to a decoder.

    Args:
        width: d.
    """

    def __init__(self, width: int) -> None:
        self.width = width

    def chunks(self, hidden: Tensor, ids: Tensor, lengths: Sequence[int]) -> Tensor:
        """See ``Embedder.chunks``."""
        parts = enumerate(hidden.split(list(lengths)))
        return torch.stack([_mean(part, opening=index == 0) for index, part in parts])

    def query(self, hidden: Tensor, ids: Tensor, *, opening: bool) -> Tensor:
        """See ``Embedder.query``: [d]."""
        return _mean(hidden, opening=opening)

    def scores(self, bank: Bank, query: Tensor) -> Tensor:
        """See ``Embedder.scores``: cosines."""
        return bank.directions @ bank.direction(query)


def _mean(hidden: Tensor, *, opening: bool) -> Tensor:
    """[d]: of vectors [T, d]; what a pass opens with is the same whatever it says, and large."""
    counted = hidden[1:] if opening and len(hidden) > 1 else hidden
    return counted.float().mean(dim=0)


class TextVectors(Embedder):
    """Vectors of texts from elsewhere, compared by their inner product, as in the paper.

    Args:
        embed: makes them.
        width: E.
    """

    def __init__(self, embed: Embed, width: int) -> None:
        self.width = width
        self._embed = embed

    def chunks(self, hidden: Tensor, ids: Tensor, lengths: Sequence[int]) -> Tensor:
        """See ``Embedder.chunks``."""
        return self._embed([one.tolist() for one in ids.split(list(lengths))]).to(hidden.device)

    def query(self, hidden: Tensor, ids: Tensor, *, opening: bool) -> Tensor:
        """See ``Embedder.query``: [E]."""
        return self._embed([ids.tolist()])[0].to(hidden.device)

    def scores(self, bank: Bank, query: Tensor) -> Tensor:
        """See ``Embedder.scores``."""
        return bank.chunks["embeddings"] @ query


class Words(Embedder):
    """Chunks that share words with the text, rare ones before common ones (BM25).

    Args:
        decode: gives the text of token ids.

    Raises:
        LibraryMissingError: the library for it is not installed.
    """

    width = 0
    words = True

    def __init__(self, decode: Decode) -> None:
        require_installed()
        self._decode = decode
        self._known: WeakKeyDictionary[Bank, WordSearch] = WeakKeyDictionary()

    def chunks(self, hidden: Tensor, ids: Tensor, lengths: Sequence[int]) -> Tensor:
        """See ``Embedder.chunks``: nothing is kept but the tokens."""
        return torch.zeros(len(lengths), 0, device=hidden.device)

    def query(self, hidden: Tensor, ids: Tensor, *, opening: bool) -> Tensor:
        """See ``Embedder.query``: the tokens themselves."""
        return ids.clone()

    def scores(self, bank: Bank, query: Tensor) -> Tensor:
        """See ``Embedder.scores``."""
        search = self._known.get(bank)
        if search is None:
            search = WordSearch(words_of([self._decode(ids) for ids in bank.texts()]))
            self._known[bank] = search
        found = search.scores(words_of([self._decode(query.tolist())])[0])
        return torch.tensor(found, device=query.device)


def _static(decode: Decode, texts: Sequence[Sequence[int]]) -> Tensor:
    return embedder().embed([decode(ids) for ids in texts])


def embedder_for(name: EmbedderName, hidden_size: int, decode: Decode) -> Embedder:
    """The embedder of that name.

    Args:
        name: as in the options.
        hidden_size: d.
        decode: gives the text of token ids, for those that read texts.

    Raises:
        LibraryMissingError: the library for it is not installed.
    """
    if name == "hidden":
        return HiddenMeans(hidden_size)
    if name == "bm25":
        return Words(decode)
    embedder()
    return TextVectors(partial(_static, decode), WIDTH)

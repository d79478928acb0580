"""A static embedder: a text's vector is the mean of its tokens' vectors, whatever their order.

The vectors and their tokenizer are files of the library wordllama (``pip install
"memplus[embeddings]"``), whose wheel carries them: nothing is fetched. They are read from there;
the library itself is not imported, since its loader looks for them on a hub and its import changes
the program's logging.

Shapes: n texts, d width of a vector.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer
from torch import Tensor, nn

from memplus.errors import LibraryMissingError

__all__ = [
    "WIDTH", "Embedder", "embedder", "embedder_folder", "embedder_name", "missing_embedder",
]  # fmt: skip

_LIBRARY, _EXTRA = "wordllama", "embeddings"
_WEIGHTS = "weights/l2_supercat_256.safetensors"
_TOKENIZER = "tokenizers/l2_supercat_tokenizer_config.json"
WIDTH = 256
"""d."""


def embedder_folder() -> Path | None:
    """Where the library's files lie; None where they are not there."""
    spec = find_spec(_LIBRARY)
    if spec is None or spec.origin is None:
        return None
    folder = Path(spec.origin).parent
    there = all((folder / name).is_file() for name in (_WEIGHTS, _TOKENIZER))
    return folder if there else None


def missing_embedder() -> str:
    """The library and how to install it; empty: it is there."""
    return "" if embedder_folder() else f'{_LIBRARY}: pip install "memplus[{_EXTRA}]"'


def embedder_name() -> str:
    """The library with its version, and which of its vectors.

    Raises:
        LibraryMissingError: it is not installed.
    """
    if embedder_folder() is None:
        raise LibraryMissingError(_LIBRARY, extra=_EXTRA)
    return f"{_LIBRARY} {version(_LIBRARY)}, {Path(_WEIGHTS).stem}"


@cache
def embedder() -> Embedder:
    """The one embedder of this process.

    Raises:
        LibraryMissingError: the library is not installed.
    """
    folder = embedder_folder()
    if folder is None:
        raise LibraryMissingError(_LIBRARY, extra=_EXTRA)
    return Embedder(folder)


class Embedder:
    """Turns texts into vectors.

    Args:
        folder: of the library.
    """

    def __init__(self, folder: Path) -> None:
        self._tokenizer = Tokenizer.from_file(str(folder / _TOKENIZER))
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        self._vectors = load_file(folder / _WEIGHTS)["embedding.weight"].float()

    def embed(self, texts: Sequence[str]) -> Tensor:
        """[n, d] float32 of unit length; zeros for a text without tokens."""
        found = self._tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
        ids = [one.ids for one in found]
        starts = torch.tensor([0, *map(len, ids)], dtype=torch.int64).cumsum(0)[:-1]
        flat = torch.tensor([one for group in ids for one in group], dtype=torch.int64)
        means = nn.functional.embedding_bag(flat, self._vectors, starts, mode="mean")
        return nn.functional.normalize(means, dim=1)

"""What those who asked are told of an error in the model's thread."""

from __future__ import annotations

from memplus.errors import MemplusError, PassFailedError

__all__ = ["told"]

_LONGEST = 200
"""Characters of a foreign error that are passed on."""


def told(error: Exception) -> MemplusError:
    """An error of the library as it is; any other as ``PassFailedError``, which names its kind."""
    if isinstance(error, MemplusError):
        return error
    words = " ".join(str(error).split()).rstrip(".")[:_LONGEST]
    name = type(error).__name__
    failed = PassFailedError(reason=f"{name}: {words}" if words else name)
    failed.__cause__ = error
    return failed

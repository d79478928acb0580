"""Texts and question sets that cannot be used."""

from __future__ import annotations

from pathlib import Path

from memplus.errors.base import UsageError

__all__ = [
    "BenchmarkFileError",
    "BrokenTextError",
    "ChatTemplateError",
    "DocumentFormatError",
    "EmptyTextError",
    "LibraryMissingError",
    "MissingDataError",
    "NotTextError",
    "QuestionSetError",
    "SourceChangedError",
]


class EmptyTextError(UsageError):
    """There is nothing to read in a text, a question or a file."""

    template = "{what} is empty."
    hint = "Give at least one visible character."

    def __init__(self, what: str = "The text") -> None:
        self._fill(what=what)


class LibraryMissingError(UsageError):
    """Something was asked for that needs a library which memplus does not bring by itself."""

    template = "{library} is not installed."

    def __init__(self, library: str, *, extra: str) -> None:
        self._fill(library=library, extra=extra)

    def _fill(self, **fields: object) -> None:
        super()._fill(**fields)
        self.hint = f'Install it with `pip install "memplus[{fields["extra"]}]"`.'


class BenchmarkFileError(UsageError):
    """A file of a benchmark is not as its authors publish it."""

    template = "{path} is not a file of {benchmark}: {reason}."
    hint = "Use the file as its authors publish it; docs/bench.md says which one."

    def __init__(self, path: str | Path, *, benchmark: str, reason: str) -> None:
        self._fill(path=str(path), benchmark=benchmark, reason=reason)


class MissingDataError(UsageError):
    """A file of a benchmark is not where it is expected; memplus brings none of them along."""

    template = "There is no {path}: {what} (licence: {licence})."
    hint = (
        "Put the file there, or set the data folder with --data or MEMPLUS_DATA; "
        "docs/bench.md says where each file comes from."
    )

    def __init__(self, path: str | Path, *, what: str, licence: str) -> None:
        self._fill(path=str(path), what=what, licence=licence)


class NotTextError(UsageError):
    """A file is binary or in an unknown encoding; ``offset`` is that of its first bad byte."""

    template = "{path} is not text that memplus can read: {reason} at byte {offset}. {advice}"
    hint = "Text must be UTF-8, or UTF-16 or UTF-32 with a byte order mark."

    def __init__(
        self,
        path: str | Path,
        *,
        offset: int,
        reason: str = "invalid data",
        advice: str = "Convert it first.",
    ) -> None:
        self._fill(path=str(path), offset=offset, reason=reason, advice=advice)


class DocumentFormatError(NotTextError):
    """A file is a document, an image or an archive: its text must be taken out first."""

    template = "{path} is {kind}, not plain text."
    hint = (
        "Extract its text first, for example with `pdftotext IN OUT` or "
        "`pandoc IN -t plain -o OUT`, and use that."
    )

    def __init__(self, path: str | Path, *, kind: str) -> None:
        self._fill(path=str(path), kind=kind)


class BrokenTextError(UsageError):
    """A text, a question or a name holds half a character, which no UTF-8 text can."""

    template = "{what} is not valid text: it holds {code} at character {offset}."
    hint = "Such characters come from bytes that are not UTF-8. Convert them first."

    def __init__(self, what: str, *, offset: int, code: str) -> None:
        self._fill(what=what, offset=offset, code=code)


class SourceChangedError(UsageError):
    """A document differs from what was written under its name before."""

    template = "{source} has changed: {held} tokens of another text were written under that name."
    hint = "Forget that text and write this one (`--replace`), or give this one another name."

    def __init__(self, source: str, *, held: int) -> None:
        self._fill(source=source, held=held)


class ChatTemplateError(UsageError):
    """The model's own chat template refused these messages or failed."""

    template = "The chat template of {model} failed: {reason}."
    hint = "Correct chat_template in the model's tokenizer_config.json, or remove it."

    def __init__(self, model: str, *, reason: str) -> None:
        self._fill(model=model, reason=reason)


class QuestionSetError(UsageError):
    """A file of questions has no form that memplus knows."""

    template = "{path} is not a question set that memplus can read."
    hint = (
        "Give SQuAD as JSON, or Natural Questions with gold passages or FairytaleQA as JSON Lines "
        "(.jsonl)."
    )

    def __init__(self, path: str | Path) -> None:
        self._fill(path=str(path))

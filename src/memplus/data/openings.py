"""Openings of encyclopedia articles, and what ten simple patterns find in them.

The articles are those of 2WikiMultihopQA (``title`` and ``text``). A pattern says a relation of the
article's subject, so what is found is right for most articles and wrong for a few: a distant set to
learn from, not one to measure on.

This room knows words only: the standard library, no tensors and no tokenizer.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from memplus.data.json_lines import read_json, texts
from memplus.data.sentences import split_sentences
from memplus.errors import BenchmarkFileError

__all__ = ["Opening", "Said", "openings_of", "read_openings", "said_of"]

_LONGEST = 360
"""Characters of an opening; a longer one is left out."""
_WORD = r"(?:[A-Z]\.|[A-Z][\w'\u2019.-]*\w)"
_NAME = rf"{_WORD}(?: (?:(?:de|la|van|von|der|del|di|of|the) )*{_WORD}){{0,4}}"
_MONTH = (
    r"(?:January|February|March|April|May|June|July|August|September|October|November|December)"
)
_DATE = rf"(?:\d{{1,2}} {_MONTH} \d{{4}}|{_MONTH} \d{{1,2}}, \d{{4}})"
_NATION = r"[A-Z][a-z]+(?:ish|an|ese|ch|i|ic|er|k)"
_WORK = (
    r"(?:actress|actor|politician|composer|footballer|writer|director|painter|poet|singer|"
    r"historian|businessman|nobleman|noblewoman|lawyer|physician|architect|philosopher|engineer|"
    r"cricketer|journalist|novelist|screenwriter|producer|musician|bishop|swimmer|economist|"
    r"shooter|sculptor|diplomat|mathematician|cyclist|wrestler)"
)
_KIND = r"(?:film|movie|novel|comedy|drama|documentary|play|album|song|opera|sitcom)"
_LISTED = rf"{_NAME}(?:(?:, | and |, and ){_NAME}){{0,3}}"
_PATTERNS = {
    "director": re.compile(rf"directed by ({_LISTED})"),
    "publication year": re.compile(rf"(?:is|was) an? (\d{{4}}) [\w -]*?{_KIND}\b"),
    "cast member": re.compile(rf"(?:starring|stars) ({_LISTED})"),
    "author": re.compile(rf"written by ({_LISTED})"),
    "date of birth": re.compile(rf"^[^.]{{0,90}}?\((?:born )?({_DATE})\b"),
    "date of death": re.compile(rf"^[^.]{{0,130}}? [\u2013-] ({_DATE})\)"),
    "parent": re.compile(
        rf"(?:was|is) (?:the|a) (?:\w+ )?(?:son|daughter) of ({_NAME}(?: and {_NAME})?)"
    ),
    "nationality": re.compile(rf"(?:was|is) an? ({_NATION}) (?:[\w-]+ )?{_WORK}"),
    "occupation": re.compile(rf"(?:was|is) an? {_NATION} (?:[\w-]+ )?({_WORK})"),
    "place of birth": re.compile(rf"[Bb]orn (?:in|at) ({_NAME})"),
}
_LISTS = frozenset(("director", "cast member", "author", "parent"))
_BETWEEN = re.compile(r", and | and |, ")


@dataclass(frozen=True, slots=True)
class Said:
    """What a pattern found."""

    relation: str
    value: str
    start: int
    """Its first character in the text."""


@dataclass(frozen=True)
class Opening:
    """The first sentences of an article."""

    subject: str
    """What it is about, as the text names it."""
    text: str
    said: tuple[Said, ...]
    """By place; each relation and value once."""


def read_openings(path: Path) -> list[Opening]:
    """The articles whose opening names its subject and says something of it.

    Args:
        path: JSON, a list of objects with ``title`` and ``text``; also gzipped.

    Raises:
        NotFoundError, StorageError, NotTextError, EmptyTextError: it cannot be read as text.
        BenchmarkFileError: it is something else.
    """
    try:
        articles = [texts([one["title"], one["text"]]) for one in read_json(path)]
    except (ValueError, TypeError, KeyError) as error:
        reason = f"it is no list of articles with title and text ({error})"
        raise BenchmarkFileError(path, benchmark="2WikiMultihopQA", reason=reason) from error
    return [found for title, text in articles for found in openings_of(title, text)]


def openings_of(title: str, text: str, sentences: int = 2) -> list[Opening]:
    """The opening of one article; nothing where it is too long, or the patterns find nothing."""
    clean = _cleaned(text)
    spans = split_sentences(clean)[:sentences]
    subject = re.sub(r" \([^)]*\)$", "", title)
    if not spans or not clean.startswith(subject, spans[0][0]):
        return []
    opening = clean[spans[0][0] : spans[-1][1]]
    said = said_of(opening, subject)
    return [Opening(subject, opening, said)] if said and len(opening) <= _LONGEST else []


def said_of(text: str, subject: str) -> tuple[Said, ...]:
    """What the patterns find in a text about a subject."""
    found: dict[tuple[str, str], Said] = {}
    for relation, pattern in _PATTERNS.items():
        match = pattern.search(text, len(subject))
        if match is None and relation.startswith("date"):
            match = pattern.match(text)
        for said in _values(relation, match) if match else ():
            if said.value != subject:
                found.setdefault((relation, said.value), said)
    return tuple(sorted(found.values(), key=lambda one: (one.start, one.relation)))


def _values(relation: str, match: re.Match[str]) -> Iterator[Said]:
    """The value of a match, or each of a list."""
    start, whole = match.start(1), match[1]
    if relation not in _LISTS:
        yield Said(relation, whole, start)
        return
    at = 0
    for between in [*_BETWEEN.finditer(whole), None]:
        end = len(whole) if between is None else between.start()
        yield Said(relation, whole[at:end], start + at)
        at = end if between is None else between.end()


def _cleaned(text: str) -> str:
    """A text without the blanks that its making put beside brackets, quotes and hyphens."""
    text = re.sub(r"\(\s*[;,\u2013-]?\s*", " (", " ".join(text.split()))
    text = re.sub(r"(\w)- (\w)", r"\1-\2", text)
    text = re.sub(r"\s+([),.;])", r"\1", text)
    return " ".join(text.split())

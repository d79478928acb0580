"""The calls of MemLLM as text: how they are put to the model, and what is parsed of them.

A write is ``({MEM_WRITE-->s>>r>>o;s>>r>>o})``; without triples there is nothing to write. A read is
``({MEM_READ(s>>r>>;>>r>>o)-->`` and then, from the memory, ``e;e})``. Each query is parsed by
itself: a bad one is left out, the others are asked (2404.11672, section 3.1).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from memplus.systems.triples.rows import Triple

__all__ = [
    "ARROW",
    "END",
    "READ",
    "START",
    "WRITE",
    "Query",
    "parse_read",
    "parse_write",
    "parts_of_write",
    "read_call",
    "spaced_dashes",
    "storable",
    "told_dashes",
    "writable",
    "write_call",
    "write_prompt",
]

START, END, ARROW = "({", "})", "-->"
"""What begins a call, ends it, and stands before what a write or the memory says."""
WRITE, READ = "MEM_WRITE", "MEM_READ"
_BETWEEN, _NEXT = ">>", ";"
_DASH = re.compile(r"(?<=\d)\s*[-\u2012\u2013\u2014\u2212]\s*(?=\d)")
_SPACED = " \u2013 "
_NUMBERS = re.compile(rf"\d+(?:{_SPACED}\d+)+")
_CALL = re.compile(rf"\s*{READ}\((.*)\){re.escape(ARROW)}\s*", re.DOTALL)
_BREAKS = (_BETWEEN, _NEXT, START, END, ARROW)


class Query(NamedTuple):
    """What is asked of the memory: the end that is None, given the other one."""

    subject: str | None
    relation: str
    object: str | None


def spaced_dashes(text: str) -> str:
    """A text in which every dash between digits is an en dash between blanks, as years stand."""
    return _DASH.sub(_SPACED, text)


def told_dashes(copied: str, told: Sequence[str]) -> str:
    """A text copied from what ``spaced_dashes`` made, with the dashes between numbers as told.

    Numbers that were never told with a dash between them stay as they are.

    Args:
        copied: by the model.
        told: what it may have copied from, before ``spaced_dashes``, the likeliest first.
    """

    def as_told(numbers: re.Match[str]) -> str:
        wanted = _DASH.pattern.join(numbers[0].split(_SPACED))
        search = re.compile(rf"(?<!\d){wanted}(?!\d)").search
        found = next(filter(None, map(search, told)), numbers)
        return " ".join(found[0].split())  # a question has no line breaks either

    return _NUMBERS.sub(as_told, copied)


def write_prompt(before: str, sentence: str) -> str:
    """What the write adapter is given: the text so far, and the sentence that is to be stored."""
    return f"{before}{START}USER_ST{END}{sentence}{START}USER_END{END}"


def write_call(triples: Iterable[Triple]) -> str:
    """The inside of a write call, between ``({`` and ``})``."""
    return f"{WRITE}{ARROW}{_NEXT.join(_BETWEEN.join(one) for one in triples)}"


def parse_write(generated: str) -> list[Triple]:
    """The triples of a write call, each once, in their order.

    Blanks around a field are taken away; what has not three fields, or an empty one, is left out.
    """
    said = generated.rpartition(ARROW)[2].partition(END)[0]
    fields = (part.split(_BETWEEN) for part in said.split(_NEXT))
    found = (Triple(*(one.strip() for one in three)) for three in fields if len(three) == 3)
    return [one for one in dict.fromkeys(found) if all(one)]


def parts_of_write(generated: str) -> int:
    """How many different triples a write call tries to say, well formed or not, ended or not."""
    said = generated.partition(ARROW)[2].partition(END)[0]
    parts = (tuple(map(str.strip, part.split(_BETWEEN))) for part in said.split(_NEXT))
    return len({one for one in parts if one != ("",)})


def storable(text: str) -> bool:
    """Whether a text can be a field of a call: there, and without the signs of the grammar."""
    bare = text.strip()
    whole = bare and ">" not in (bare[0], bare[-1])
    return bool(whole) and not any(sign in bare for sign in _BREAKS)


def writable(triple: Triple) -> bool:
    """Whether a write call can hold a triple: its fields can be ones, and no arrow comes about
    where the first two meet what stands behind them."""
    met = (f"{one.strip()}{_BETWEEN}" for one in (triple.subject, triple.relation))
    return all(map(storable, triple)) and not any(ARROW in one for one in met)


def read_call(queries: Sequence[Query]) -> str:
    """A read call from behind ``({`` up to where the memory goes on."""
    asked = (f"{one.subject or ''}>>{one.relation}>>{one.object or ''}" for one in queries)
    return f"{READ}({_NEXT.join(asked)}){ARROW}"


def parse_read(call: str) -> list[Query] | None:
    """The queries of a read call, each once, in their order.

    Args:
        call: from behind ``({`` up to ``-->``.

    Returns:
        None where it is no read call at all; bad queries of a call are left out.
    """
    match = _CALL.fullmatch(call)
    if match is None:
        return None
    found = (_query(part) for part in match[1].split(_NEXT))
    return list(dict.fromkeys(one for one in found if one is not None))


def _query(text: str) -> Query | None:
    """A query has a relation and exactly one end."""
    fields = [one.strip() or None for one in text.split(_BETWEEN)]
    if len(fields) != 3:
        return None
    subject, relation, object = fields
    if relation is None or (subject is None) == (object is None):
        return None
    return Query(subject, relation, object)

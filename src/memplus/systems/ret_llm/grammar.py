"""The calls of RET-LLM as text: what is parsed of them, and what a result looks like.

A write is ``[MEM_WRITE{a>>r>>b}]``, one call a triple. A read is ``[MEM_READ{a>>r>>b}:`` with one
or two of the three fields filled, and the controller goes on with `` {a>>r>>b};{a>>r>>b}]``. What
does not follow this is no call: nothing is guessed.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = [
    "READ_BEGINS",
    "READ_ENDS",
    "WRITE_BEGINS",
    "Call",
    "Query",
    "Triple",
    "before_calls",
    "can_be_kept",
    "parse_calls",
    "query_text",
    "result_text",
    "write_text",
]

READ_BEGINS, READ_ENDS, WRITE_BEGINS = "[MEM_READ{", "}:", "[MEM_WRITE{"
_BETWEEN = ">>"
_CALL = re.compile(r"\[MEM_(?:WRITE\{([^{}]*)\}\]|READ\{([^{}]*)\}:)")
_BEGUN = re.compile(r"\[MEM_|\[ME?M?$")
_BREAKS = re.compile(r"[{};]|>>|^>|>$")

Triple = tuple[str, str, str]
"""First argument, relation, second argument."""


@dataclass(frozen=True, slots=True)
class Query:
    """What is asked of the table: None stands for what is looked for."""

    first: str | None
    relation: str | None
    second: str | None

    @property
    def fields(self) -> tuple[str | None, str | None, str | None]:
        """In the order of a triple's columns."""
        return self.first, self.relation, self.second

    @property
    def asks(self) -> bool:
        """Whether one or two of the fields are filled: no more and no fewer make a question."""
        return sum(one is not None for one in self.fields) in (1, 2)


Call = Triple | Query
"""A triple to be written, or a query."""


def parse_calls(text: str) -> list[Call]:
    """The calls in a text, in their order; what is not well formed is left out."""
    found: list[Call] = []
    for match in _CALL.finditer(text):
        written, read = match.groups()
        call = _triple(written) if read is None else _query(read)
        if call is not None:
            found.append(call)
    return found


def before_calls(text: str) -> str:
    """What a text says before the first call in it, which may be ill formed or only just begun."""
    return _BEGUN.split(text, maxsplit=1)[0]


def _triple(text: str) -> Triple | None:
    fields = [" ".join(one.split()) for one in text.split(_BETWEEN)]
    if len(fields) != 3 or not all(can_be_kept(one) for one in fields):
        return None
    first, relation, second = fields
    return first, relation, second


def _query(text: str) -> Query | None:
    fields = [" ".join(one.split()) or None for one in text.split(_BETWEEN)]
    if len(fields) != 3 or not all(one is None or can_be_kept(one) for one in fields):
        return None
    query = Query(*fields)
    return query if query.asks else None


def can_be_kept(field: str) -> bool:
    """Whether a field of a triple is there and does not break the grammar."""
    return bool(field.strip()) and not _BREAKS.search(field.strip())


def write_text(triples: Sequence[Triple]) -> str:
    """The calls that write triples, one after another without anything between them."""
    return "".join(f"{WRITE_BEGINS}{_BETWEEN.join(one)}}}]" for one in triples)


def query_text(query: Query) -> str:
    """The call that reads, up to where the controller goes on."""
    return f"{READ_BEGINS}{_BETWEEN.join(one or '' for one in query.fields)}{READ_ENDS}"


def result_text(rows: Sequence[Triple], left_out: int = 0) -> str:
    """What the controller puts behind a call.

    Args:
        rows: that were found, in the order in which they were written.
        left_out: older ones that were found too, and are too many to be shown.
    """
    shown = ";".join(f"{{{_BETWEEN.join(one)}}}" for one in rows)
    cut = f"{left_out} older left out;" if left_out else ""
    return f" {cut}{shown}]" if rows else "]"

"""A table of triples in SQLite, with a vector for every text and the origins of every triple.

Entities, relations and triples are three tables, as in MemLLM (2404.11672, section 3.1); subjects
and objects are entities. RET-LLM's one table of three text columns (2305.14322) is the same with
the columns kept apart when they are looked through. The table knows no model: whoever owns it says
how a text becomes a vector.

Shapes: d width of a vector.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import RLock
from typing import Any, cast
from weakref import WeakSet

import torch
from torch import Tensor

from memplus.errors import EmptyTextError, UsageError
from memplus.memory.checks import wrong
from memplus.systems.triples.packing import as_bytes, as_text, check, numbers, packed, unpack
from memplus.systems.triples.rows import Column, Embed, Origin, Row, Texts, Triple, Update

__all__ = ["TripleTable"]

_SCHEMA = """
CREATE TABLE entities (
    id INTEGER PRIMARY KEY, text TEXT NOT NULL UNIQUE CHECK (text <> ''), vector BLOB NOT NULL
);
CREATE TABLE relations (
    id INTEGER PRIMARY KEY, text TEXT NOT NULL UNIQUE CHECK (text <> ''), vector BLOB NOT NULL
);
CREATE TABLE triples (
    id INTEGER PRIMARY KEY,
    subject INTEGER NOT NULL REFERENCES entities(id),
    relation INTEGER NOT NULL REFERENCES relations(id),
    object INTEGER NOT NULL REFERENCES entities(id),
    UNIQUE (subject, relation, object)
);
CREATE INDEX by_object ON triples (object);
CREATE INDEX by_relation ON triples (relation);
CREATE TABLE sources (id INTEGER PRIMARY KEY, name BLOB NOT NULL UNIQUE);
CREATE TABLE origins (
    triple INTEGER NOT NULL REFERENCES triples(id),
    source INTEGER NOT NULL REFERENCES sources(id),
    number INTEGER NOT NULL,
    first INTEGER NOT NULL,
    stop INTEGER NOT NULL,
    PRIMARY KEY (triple, number, source)
) WITHOUT ROWID;
CREATE INDEX by_source ON origins (source);
"""
_ROWS = """
SELECT t.id, s.text, r.text, o.text
FROM triples t
JOIN entities s ON s.id = t.subject
JOIN relations r ON r.id = t.relation
JOIN entities o ON o.id = t.object
"""
_TEXTS: dict[Column, str] = {
    "entity": "SELECT id, text, vector FROM entities ORDER BY id",
    "relation": "SELECT id, text, vector FROM relations ORDER BY id",
    "subject": "SELECT id, text, vector FROM entities "
    "WHERE id IN (SELECT subject FROM triples) ORDER BY id",
    "object": "SELECT id, text, vector FROM entities "
    "WHERE id IN (SELECT object FROM triples) ORDER BY id",
}
_CLEAN = """
DELETE FROM sources WHERE id NOT IN (SELECT source FROM origins);
DELETE FROM entities WHERE id NOT IN (SELECT subject FROM triples UNION SELECT object FROM triples);
DELETE FROM relations WHERE id NOT IN (SELECT relation FROM triples);
"""


class _Database:
    """One database in memory, and the tables that share it until one of them writes."""

    def __init__(self) -> None:
        # Transactions begin and end where ``all_or_nothing`` says so, and nowhere else.
        self.connection = sqlite3.connect(":memory:", check_same_thread=False, isolation_level=None)
        self.connection.execute("PRAGMA foreign_keys = ON")
        self.users: WeakSet[TripleTable] = WeakSet()
        self.lock = RLock()
        """Held by whoever changes it, so that nobody takes up half of a change."""
        self.begun = 0
        """Changes that have begun and not ended."""
        self.texts: dict[Column, Texts] = {}
        self.nbytes: int | None = None

    def changed(self) -> None:
        """What was worked out from the tables holds no longer."""
        self.texts.clear()
        self.nbytes = None

    def begin(self) -> None:
        """A change begins; one may stand within another."""
        self.connection.execute("SAVEPOINT begun")
        self.begun += 1

    def take_back(self) -> None:
        """Nothing of the change that began last has happened."""
        self.connection.execute("ROLLBACK TO begun")
        self.changed()

    def end(self) -> None:
        """The change that began last has ended."""
        self.begun -= 1
        self.connection.execute("RELEASE begun")


class TripleTable:
    """Triples of one memory.

    Args:
        embed: gives vectors; called with texts that are not stored yet, and by those who look up.
        writes: how many writes there were already.
    """

    def __init__(self, embed: Embed, writes: int = 0) -> None:
        self.embed = embed
        self.writes = writes
        self._database = _Database()
        self._database.connection.executescript(_SCHEMA)
        self._database.users.add(self)

    def __len__(self) -> int:
        (count,) = self._all("SELECT COUNT(*) FROM triples")[0]
        return int(count)

    # Writing ------------------------------------------------------------------------------------

    def add(
        self,
        triples: Iterable[Triple],
        source: str = "",
        place: tuple[int, int] = (0, 0),
        update: Update = "add",
    ) -> list[int]:
        """Store what one write said; where it said nothing, there was no write.

        Args:
            triples: blanks around their texts are taken away; doubles count once.
            source: where it was said.
            place: first token of what was read in that source, and the token after its last.
            update: ``replace`` takes away what earlier writes said of the same subject and
                relation, whoever said it; what this write says of them stays together.

        Returns:
            The ids of all of them, new or not, in their order.

        Raises:
            EmptyTextError: a text of a triple is empty; nothing is stored.
        """
        said = list(dict.fromkeys(_stripped(one) for one in triples))
        if not said:
            return []
        entities = [text for one in said for text in (one.subject, one.object)]
        relations = [one.relation for one in said]
        new = self._vectors("entities", entities), self._vectors("relations", relations)
        with self._changing() as connection:
            self.writes += 1
            for kind, vectors in zip(("entities", "relations"), new, strict=True):
                insert = f"INSERT INTO {kind} (text, vector) VALUES (?, ?)"
                connection.executemany(insert, vectors)
            ids = [self._store(one) for one in said]
            origin = Origin(source, self.writes, *place)
            self._remember(ids, origin)
            if update == "replace":
                self._replace(ids)
        return ids

    @contextmanager
    def all_or_nothing(self) -> Iterator[None]:
        """Whatever ends the block by an error takes back all that was changed in it."""
        database, writes = self._database, self.writes
        with database.lock:
            own = len(database.users) == 1
            # Of a database that others read too, the block changes a copy, which an error lets go;
            # a fork keeps the others from changing what is gone back to.
            before = None if own else self.fork()
            if own:
                database.begin()
            try:
                yield
            except BaseException:
                if own:
                    database.take_back()
                self.writes = writes
                self._use(database)
                raise
            finally:
                if own:
                    database.end()
                del before

    @contextmanager
    def _changing(self) -> Iterator[sqlite3.Connection]:
        """The database, this table's own now, whose changes are made together or not at all."""
        with self.all_or_nothing():
            self._own()
            yield self._database.connection
            self._database.changed()

    def _vectors(self, kind: str, texts: Sequence[str]) -> list[tuple[str, bytes]]:
        """Texts that are not stored yet, each once, with their vectors."""
        known = f"SELECT 1 FROM {kind} WHERE text = ?"
        new = [text for text in dict.fromkeys(texts) if not self._all(known, (text,))]
        if not new:
            return []
        vectors = self.embed(new).to("cpu", torch.float32).contiguous()
        return [(text, one.numpy().tobytes()) for text, one in zip(new, vectors, strict=True)]

    def _store(self, one: Triple) -> int:
        places = (
            "(SELECT id FROM entities WHERE text = ?), (SELECT id FROM relations WHERE text = ?), "
            "(SELECT id FROM entities WHERE text = ?)"
        )
        insert = f"INSERT OR IGNORE INTO triples (subject, relation, object) VALUES ({places})"
        self._database.connection.execute(insert, one)
        found = f"SELECT id FROM triples WHERE (subject, relation, object) = ({places})"
        return int(self._all(found, one)[0][0])

    def _remember(self, ids: Sequence[int], origin: Origin) -> None:
        connection, name = self._database.connection, as_bytes(origin.source)
        connection.execute("INSERT OR IGNORE INTO sources (name) VALUES (?)", (name,))
        ((source,),) = self._all("SELECT id FROM sources WHERE name = ?", (name,))
        connection.executemany(
            "INSERT INTO origins VALUES (?, ?, ?, ?, ?)",
            [(one, source, origin.write, origin.start, origin.end) for one in ids],
        )

    def _replace(self, ids: Sequence[int]) -> None:
        """Take away what was said before these of their subjects and relations."""
        listed = json.dumps(list(ids))
        older = self._all(
            "SELECT id FROM triples WHERE (subject, relation) IN (SELECT subject, relation FROM "
            "triples WHERE id IN (SELECT value FROM json_each(?))) "
            "AND id NOT IN (SELECT value FROM json_each(?))",
            (listed, listed),
        )
        if older:
            self._drop([one for (one,) in older])

    def forget(self, source: str) -> int:
        """Take away what only this source said, and the source's name.

        Returns:
            How many triples are gone; what another source wrote too stays.
        """
        before = len(self)
        found = self._all("SELECT id FROM sources WHERE name = ?", (as_bytes(source),))
        if not found:
            return 0
        with self._changing() as connection:
            connection.execute("DELETE FROM origins WHERE source = ?", found[0])
            unsaid = self._all(
                "SELECT id FROM triples WHERE id NOT IN (SELECT triple FROM origins)"
            )
            self._drop([one for (one,) in unsaid])
        return before - len(self)

    def _drop(self, ids: Sequence[int]) -> None:
        connection, listed = self._database.connection, (json.dumps(list(ids)),)
        among = "IN (SELECT value FROM json_each(?))"
        connection.execute(f"DELETE FROM origins WHERE triple {among}", listed)
        connection.execute(f"DELETE FROM triples WHERE id {among}", listed)
        for statement in filter(None, map(str.strip, _CLEAN.split(";"))):
            connection.execute(statement)

    # Looking up ---------------------------------------------------------------------------------

    @property
    def sources(self) -> list[str]:
        """Names of those who said what is stored, in order of first writing."""
        return [as_text(name) for (name,) in self._all("SELECT name FROM sources ORDER BY id")]

    def rows(self) -> list[Row]:
        """Everything that is stored, in order of first writing."""
        return self._rows("", ())

    def exact(
        self, subject: str | None = None, relation: str | None = None, object: str | None = None
    ) -> list[Row]:
        """Triples that have exactly these texts, in order of first writing.

        Args:
            subject: None: any.
            relation: None: any.
            object: None: any.
        """
        given = {"s.text": subject, "r.text": relation, "o.text": object}
        wanted = {name: text for name, text in given.items() if text is not None}
        return self._rows(" AND ".join(f"{name} = ?" for name in wanted), tuple(wanted.values()))

    def among(
        self,
        subjects: Collection[int] | None = None,
        relations: Collection[int] | None = None,
        objects: Collection[int] | None = None,
    ) -> list[Row]:
        """Triples whose texts are among these, in order of first writing.

        Args:
            subjects: ids of texts of the columns ``subject`` or ``entity``; None: any.
            relations: ids of relations; None: any.
            objects: ids of texts of the columns ``object`` or ``entity``; None: any.
        """
        given = {"t.subject": subjects, "t.relation": relations, "t.object": objects}
        wanted = {name: json.dumps(sorted(ids)) for name, ids in given.items() if ids is not None}
        clause = " AND ".join(f"{name} IN (SELECT value FROM json_each(?))" for name in wanted)
        return self._rows(clause, tuple(wanted.values()))

    def texts(self, column: Column) -> Texts:
        """The texts of a column, each once, with their vectors."""
        kept = self._database.texts
        if column not in kept:
            found = self._all(_TEXTS[column])
            ids, texts, blobs = zip(*found, strict=True) if found else ((), (), ())
            flat = numbers(b"".join(blobs), torch.float32).view(len(ids), -1 if ids else 0)
            kept[column] = Texts(tuple(ids), tuple(texts), flat)
        return kept[column]

    def _rows(self, clause: str, values: Sequence[object]) -> list[Row]:
        where = f"WHERE {clause}" if clause else ""
        found = self._all(f"{_ROWS} {where} ORDER BY t.id", values)
        origins = self._origins([one[0] for one in found])
        return [Row(one[0], Triple(*one[1:]), tuple(origins[one[0]])) for one in found]

    def _origins(self, ids: Sequence[int]) -> dict[int, list[Origin]]:
        found: dict[int, list[Origin]] = {one: [] for one in ids}
        query = (
            "SELECT o.triple, s.name, o.number, o.first, o.stop FROM origins o "
            "JOIN sources s ON s.id = o.source "
            "WHERE o.triple IN (SELECT value FROM json_each(?)) ORDER BY o.triple, o.number"
        )
        for triple, name, *rest in self._all(query, (json.dumps(list(ids)),)):
            found[triple].append(Origin(as_text(name), *rest))
        return found

    def _all(self, query: str, values: Sequence[object] = ()) -> list[Any]:
        return self._database.connection.execute(query, cast(Any, values)).fetchall()

    # Copies -------------------------------------------------------------------------------------

    def fork(self) -> TripleTable:
        """The same triples, going their own way; nothing is copied until either table writes.

        Raises:
            UsageError: it is being changed, by whoever asks for the fork.
        """
        other = object.__new__(TripleTable)
        with self._database.lock:
            if self._database.begun:
                raise UsageError("A table has no fork before what changes it has ended.")
            other.embed, other.writes, other._database = self.embed, self.writes, self._database
            self._database.users.add(other)
        return other

    def _own(self) -> None:
        """Share the database with no other table."""
        shared = self._database
        if len(shared.users) == 1:
            return
        own = _Database()
        shared.connection.backup(own.connection)
        self._use(own)

    def _use(self, database: _Database) -> None:
        self._database.users.discard(self)
        database.users.add(self)
        self._database = database

    @property
    def nbytes(self) -> int:
        """Bytes of texts, vectors, ids and origins, as ``tensors`` has them."""
        if self._database.nbytes is None:
            self._database.nbytes = sum(one.nbytes for one in self.tensors().values())
        return self._database.nbytes

    def tensors(self) -> dict[str, Tensor]:
        """All of it, to be kept in a file; see ``packing.packed``."""
        return packed(self._database.connection)

    @classmethod
    def of_tensors(
        cls, embed: Embed, tensors: Mapping[str, Tensor], writes: int, path: Path
    ) -> TripleTable:
        """The table that a file describes.

        Args:
            embed: as of the constructor.
            tensors: as ``tensors`` gave them.
            writes: how many writes there were.
            path: the file, for errors.

        Raises:
            CorruptMemoryError: they are not what ``tensors`` gives.
        """
        made = cls(embed, writes)
        check(tensors, writes, path)
        try:
            unpack(made._database.connection, tensors)
        except UnicodeDecodeError as error:
            raise wrong(path, "texts of triples", f"are no UTF-8 ({error})") from error
        except sqlite3.IntegrityError as error:
            raise wrong(path, "triples", f"contradict themselves ({error})") from error
        return made


def _stripped(triple: Triple) -> Triple:
    bare = Triple(*(text.strip() for text in triple))
    for name, text in zip(Triple._fields, bare, strict=True):
        if not text:
            raise EmptyTextError(f"The {name} of a triple")
    return bare

from collections.abc import Sequence
from itertools import permutations
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from memplus.errors import EmptyTextError, UsageError
from memplus.systems.triples.rows import Origin, Triple
from memplus.systems.triples.table import TripleTable

ADA = Triple("Ada", "born in", "Brell")
BO = Triple("Bo", "author", "Grey Sail")
BRELL = Triple("Brell", "country", "Dornick")


def embed(texts: Sequence[str]) -> Tensor:
    return torch.tensor([[len(text), ord(text[0]), ord(text[-1])] for text in texts]).float()


def table(*said: tuple[str, list[Triple]]) -> TripleTable:
    made = TripleTable(embed)
    for source, triples in said:
        made.add(triples, source)
    return made


def stored(made: TripleTable) -> list[Triple]:
    return [row.triple for row in made.rows()]


def test_a_triple_is_stored_once_with_every_write_that_said_it() -> None:
    made = table(("a", [ADA, BO]), ("b", [ADA]), ("a", [ADA, ADA]))
    ada, bo = made.rows()
    assert (ada.triple, bo.triple) == (ADA, BO)
    assert ada.origins == (Origin("a", 1), Origin("b", 2), Origin("a", 3))
    assert (ada.written, bo.written, made.writes, len(made)) == (3, 1, 3, 2)
    assert made.add([BO, BRELL]) == [bo.id, made.exact("Brell")[0].id]


def test_where_it_was_said_is_kept() -> None:
    made = TripleTable(embed)
    made.add([ADA], "notes", (12, 19))
    assert made.rows()[0].origins == (Origin("notes", 1, 12, 19),)


def test_a_write_that_says_nothing_is_no_write() -> None:
    made = table(("a", []))
    assert (made.writes, len(made), made.sources) == (0, 0, [])


def test_blanks_around_texts_are_taken_away_and_empty_texts_refused() -> None:
    made = table(("a", [Triple(" Ada ", "born in\n", "Brell")]))
    assert stored(made) == [ADA]
    for at in range(3):
        with pytest.raises(EmptyTextError):
            made.add([BO, Triple(*("x", "y", "z")[:at], " ", *("x", "y", "z")[at + 1 :])])
    assert stored(made) == [ADA]
    assert made.writes == 1


def test_exactly_what_is_asked_for_is_found_in_order_of_writing() -> None:
    said = [ADA, Triple("Cy", "born in", "Brell"), Triple("Ada", "author", "Brell"), BRELL]
    made = table(("a", said))
    assert [row.triple for row in made.exact(relation="born in")] == said[:2]
    assert [row.triple for row in made.exact("Ada")] == [said[0], said[2]]
    assert [row.triple for row in made.exact(None, "born in", "Brell")] == said[:2]
    assert [row.triple for row in made.exact("Ada", "born in", "Brell")] == said[:1]
    assert made.exact("ada") == made.exact("Ada", "country") == []
    assert made.exact() == made.rows()


def test_texts_of_a_column_have_their_vectors() -> None:
    made = table(("a", [ADA, BRELL]))
    wanted = {
        "subject": ("Ada", "Brell"),
        "relation": ("born in", "country"),
        "object": ("Brell", "Dornick"),
        "entity": ("Ada", "Brell", "Dornick"),
    }
    for column, texts in wanted.items():
        found = made.texts(column)  # type: ignore[arg-type]
        assert found.texts == texts
        assert torch.equal(found.vectors, embed(texts))
    assert TripleTable(embed).texts("entity").vectors.shape == (0, 0)


def test_only_texts_that_are_new_get_a_vector() -> None:
    asked: list[list[str]] = []

    def counted(texts: Sequence[str]) -> Tensor:
        asked.append(list(texts))
        return embed(texts)

    made = TripleTable(counted)
    made.add([ADA])
    made.add([BRELL, ADA])
    assert asked == [["Ada", "Brell"], ["born in"], ["Dornick"], ["country"]]


def test_triples_are_found_by_ids_of_their_texts() -> None:
    made = table(("a", [ADA, BO, BRELL]))
    found = made.texts("entity")
    ids = dict(zip(found.texts, found.ids, strict=True))
    assert [one.triple for one in made.among(subjects=[ids["Ada"], ids["Brell"]])] == [ADA, BRELL]
    assert [one.triple for one in made.among(objects=[ids["Brell"]])] == [ADA]
    author = dict(zip(made.texts("relation").texts, made.texts("relation").ids, strict=True))
    chosen = made.among(subjects=ids.values(), relations=[author["author"]])
    assert [one.triple for one in chosen] == [BO]
    assert made.among(subjects=[]) == []
    assert len(made.among()) == 3


def test_replacing_takes_away_what_was_said_before_of_the_same_subject_and_relation() -> None:
    made = table(("a", [ADA, BO]), ("b", [ADA]))
    moved = [Triple("Ada", "born in", "Tern"), Triple("Ada", "born in", "Vale")]
    made.add(moved, "c", update="replace")
    assert stored(made) == [BO, *moved]
    assert made.texts("entity").texts == ("Ada", "Bo", "Grey Sail", "Tern", "Vale")
    made.add([moved[1]], "c", update="replace")
    assert stored(made) == [BO, moved[1]]
    assert made.sources == ["a", "c"]


def test_adding_keeps_what_was_said_before() -> None:
    made = table(("a", [ADA]), ("b", [Triple("Ada", "born in", "Tern")]))
    assert len(made.exact("Ada", "born in")) == 2


def test_forgetting_a_source_leaves_what_another_wrote_too() -> None:
    made = table(("a", [ADA, BO]), ("b", [ADA, BRELL]))
    assert made.forget("a") == 1
    assert stored(made) == [ADA, BRELL]
    assert made.rows()[0].origins == (Origin("b", 2),)
    assert made.sources == ["b"]
    assert "Grey Sail" not in made.texts("entity").texts
    assert "author" not in made.texts("relation").texts
    assert made.forget("a") == 0
    assert made.forget("b") == 2
    assert made.nbytes == TripleTable(embed).nbytes == 0


def test_forgetting_is_as_if_the_source_had_written_nothing() -> None:
    both = table(("a", [ADA]), ("b", [BO, ADA]), ("a", [BRELL]))
    both.forget("a")
    assert set(stored(both)) == set(stored(table(("b", [BO, ADA]))))


@pytest.mark.parametrize("order", list(permutations([ADA, BO, BRELL])))
def test_the_order_of_writes_does_not_change_what_is_stored(order: tuple[Triple, ...]) -> None:
    made = table(*(("a", [one]) for one in order))
    assert set(stored(made)) == {ADA, BO, BRELL}


def test_a_fork_goes_its_own_way_and_copies_nothing_before_it_must() -> None:
    first = table(("a", [ADA]))
    fork = first.fork()
    assert fork._database is first._database
    fork.add([BO], "b")
    assert (stored(first), stored(fork)) == ([ADA], [ADA, BO])
    first.add([BRELL], "a")
    assert (stored(first), stored(fork)) == ([ADA, BRELL], [ADA, BO])
    assert (first.writes, fork.writes) == (2, 2)


def test_whoever_writes_last_of_several_forks_keeps_the_database() -> None:
    first = table(("a", [ADA]))
    own = first._database
    dropped = first.fork()
    del dropped
    first.forget("a")
    assert first._database is own


@pytest.mark.parametrize("shared", [False, True])
def test_a_block_that_fails_takes_back_all_its_changes_and_no_copy_is_made_for_it(
    shared: bool,
) -> None:
    made = table(("a", [ADA]))
    fork = made.fork() if shared else None
    kept = made._database
    with made.all_or_nothing():
        made.add([BO], "b")
    assert (made._database is kept) == (fork is None)
    before, kept = made.rows(), made._database
    bytes_before, texts = made.nbytes, made.texts("entity").texts
    with pytest.raises(KeyboardInterrupt), made.all_or_nothing():
        made.add([BRELL], "c", update="replace")
        made.forget("a")
        assert stored(made) == [BO, BRELL]
        raise KeyboardInterrupt
    assert (made.rows(), made.writes, made._database) == (before, 2, kept)
    assert (made.nbytes, made.texts("entity").texts) == (bytes_before, texts)
    assert len(made._database.users) == 1
    assert made.add([BRELL], "c")
    if fork is not None:
        assert (stored(fork), fork.writes) == ([ADA], 1)
        with pytest.raises(KeyboardInterrupt), fork.all_or_nothing():
            fork.forget("a")
            raise KeyboardInterrupt
        assert stored(fork) == [ADA]


def test_what_fails_in_a_table_takes_nothing_from_a_fork_that_shared_its_database() -> None:
    made = table(("a", [ADA]))
    fork = made.fork()
    with pytest.raises(KeyboardInterrupt), made.all_or_nothing():
        made.add([BO], "b")
        fork.add([BRELL], "c")
        raise KeyboardInterrupt
    assert (stored(made), made.writes) == ([ADA], 1)
    assert (stored(fork), fork.writes) == ([ADA, BRELL], 2)
    assert made.add([BO], "b")
    assert stored(fork) == [ADA, BRELL]


def test_a_table_that_is_being_changed_has_no_fork() -> None:
    made = table(("a", [ADA]))
    with made.all_or_nothing():
        made.add([BO], "b")
        with pytest.raises(UsageError, match="no fork"):
            made.fork()
    assert stored(made.fork()) == [ADA, BO]


def test_a_failed_vector_leaves_the_table_as_it_was() -> None:
    made = table(("a", [ADA]))

    def broken(texts: Sequence[str]) -> Tensor:
        raise RuntimeError("no vector")

    made.embed = broken
    with pytest.raises(RuntimeError, match="no vector"):
        made.add([BO])
    assert (stored(made), made.writes) == ([ADA], 1)


NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=6).filter(str.strip)
WRITES = st.lists(
    st.tuples(st.sampled_from("abc"), st.lists(st.builds(Triple, NAMES, NAMES, NAMES), max_size=3)),
    max_size=5,
)


@given(WRITES)
def test_its_tensors_are_all_of_it(writes: list[tuple[str, list[Triple]]]) -> None:
    made = table(*writes)
    made.forget("c")
    again = TripleTable.of_tensors(embed, made.tensors(), made.writes, Path("file"))
    assert [(one.triple, one.origins) for one in again.rows()] == [
        (one.triple, one.origins) for one in made.rows()
    ]
    assert again.sources == made.sources
    assert again.nbytes == made.nbytes
    for name, tensor in made.tensors().items():
        assert torch.equal(again.tensors()[name], tensor), name

import json

from tests.systems.golden import golden_folder

from memplus.systems.memllm.annotated import Document, Mention, Relation, from_docred
from memplus.systems.memllm.grammar import Query
from memplus.systems.memllm.read_examples import is_ambiguous, read_pieces


def test_golden_pieces_of_every_document() -> None:
    golden = json.loads((golden_folder("memllm") / "read_examples.json").read_text())
    documents = [from_docred(one, golden["names"]) for one in golden["documents"]]
    made = [(at, piece) for at, one in enumerate(documents) for piece in read_pieces(one)]
    assert len(made) == len(golden["pieces"])
    for (at, piece), wanted in zip(made, golden["pieces"], strict=True):
        assert at == wanted["data_idx"]
        assert piece.before == (wanted["preapi_text"] or wanted["pre_text"])
        assert piece.first == bool(wanted["preapi_text"])
        assert {tuple(one) for one in piece.queries} == {tuple(one) for one in wanted["queries"]}
        assert [piece.target] == wanted["target_result"]
        assert piece.after == wanted["continuation"]
        assert piece.last == wanted["eot"]


def document(text: str, names: list[list[str]], *relations: Relation) -> Document:
    """Every name of an entity wherever it stands in the text."""
    entities = []
    for aliases in names:
        found = []
        for name in aliases:
            start = text.find(name)
            while start >= 0:
                found.append(Mention(name, 0, start))
                start = text.find(name, start + 1)
        entities.append(tuple(sorted(found, key=lambda one: one.start)))
    return Document(text, ((0, len(text)),), tuple(entities), relations)


def test_what_was_named_before_is_asked_for_what_comes() -> None:
    made = document("Ada wrote Sail.", [["Ada"], ["Sail"]], Relation(1, "author", 0))
    (piece,) = read_pieces(made)
    assert piece.queries == (Query(None, "author", "Ada"),)
    assert (piece.before, piece.target, piece.after) == ("Ada wrote", "Sail", "Sail.")
    other = document("Sail is by Ada.", [["Ada"], ["Sail"]], Relation(1, "author", 0))
    assert read_pieces(other)[0].queries == (Query("Sail", "author", None),)


def test_every_earlier_name_gives_a_query_and_equal_ones_count_once() -> None:
    text = "Ada Holt, called Ada, left Ada Holt's Brell."
    made = document(text, [["Ada Holt", "Ada,"], ["Brell"]], Relation(0, "home", 1))
    (piece,) = read_pieces(made)
    assert piece.queries == (Query("Ada Holt", "home", None), Query("Ada,", "home", None))


def test_a_name_that_stands_in_the_text_already_is_no_target() -> None:
    made = document("Brelland knew Ada of Brell.", [["Ada"], ["Brell"]], Relation(0, "home", 1))
    made = Document(
        made.text, made.sentences, (made.entities[0], (made.entities[1][-1],)), made.relations
    )
    assert read_pieces(made) == []


def test_a_later_mention_of_the_same_entity_is_no_target() -> None:
    made = document("Bo met Ada, and Bo saw Ada.", [["Ada"], ["Bo"]], Relation(0, "met", 1))
    assert [one.before for one in read_pieces(made)] == ["Bo met"]


def test_more_than_three_queries_and_a_repeated_first_query_are_left_out() -> None:
    many = [Relation(0, f"r{number}", 1) for number in range(4)]
    names = [["Ada"], ["Brell"]]
    assert read_pieces(document("Ada of Brell.", names, *many)) == []
    assert len(read_pieces(document("Ada of Brell.", names, *many[:3]))) == 1
    twice = Relation(0, "home", 1), Relation(0, "home", 2)
    made = document("Ada of Brell and Tern.", [*names, ["Tern"]], *twice)
    assert [one.target for one in read_pieces(made)] == ["Brell"]
    assert read_pieces(made)[0].after == "Brell and Tern."


def test_queries_that_too_much_answers_are_not_asked() -> None:
    assert is_ambiguous(Query(None, "country", "Dornick"))
    assert not is_ambiguous(Query("Brell", "country", None))
    assert is_ambiguous(Query("Dornick", "continent", None))
    made = document("Dornick holds Brell.", [["Brell"], ["Dornick"]], Relation(0, "country", 1))
    assert read_pieces(made) == []

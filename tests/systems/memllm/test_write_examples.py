import json
from random import Random

from tests.systems.golden import golden_folder

from memplus.systems.memllm.annotated import Document, Mention, Relation, from_docred
from memplus.systems.memllm.write_examples import write_examples
from memplus.systems.triples.rows import Triple

NAMES = {"P1": "place of birth", "P2": "employer", "P3": "country"}


def test_golden_examples_of_every_sentence() -> None:
    for case in json.loads((golden_folder("memllm") / "write_examples.json").read_text()):
        made = write_examples(from_docred(case["document"], NAMES), Random(0))
        assert len(made) == len(case["examples"])
        for found, wanted in zip(made, case["examples"], strict=True):
            assert found.sentence == wanted["sentence"]
            assert found.before.strip() == wanted["pretext"]
            assert found.focus == wanted["focus"]
            assert len(found.triples) == len(set(found.triples))
            assert set(found.triples) == {Triple(*one) for one in wanted["triples"]}


def document(*relations: Relation) -> Document:
    #       0    4           16   21
    text = "Ada met Bo. She hired Bo in Brell."
    entities = (
        (Mention("Ada", 0, 0), Mention("She", 1, 12)),
        (Mention("Bo", 0, 8), Mention("Bo", 1, 22)),
        (Mention("Brell", 1, 28),),
    )
    return Document(text, ((0, 11), (12, 34)), entities, relations)


def test_a_triple_is_written_where_its_evidence_is_and_nowhere_before_both_were_named() -> None:
    known = write_examples(document(Relation(0, "met", 1, (0,))), Random(0))
    assert [one.triples for one in known] == [(Triple("Ada", "met", "Bo"),), ()]
    later = write_examples(document(Relation(0, "in", 2, (0, 1))), Random(0))
    assert later[0].triples == ()
    assert len(later[1].triples) == 1


def test_one_of_the_mentions_lies_in_the_sentence_and_is_drawn() -> None:
    made = document(Relation(0, "met", 1))
    drawn = {write_examples(made, Random(seed))[1].triples for seed in range(40)}
    # Of sentence 1 at least one mention: never Ada with the Bo of sentence 0.
    assert drawn == {(Triple("Ada", "met", "Bo"),), (Triple("She", "met", "Bo"),)}


def test_triples_come_in_the_order_in_which_they_are_complete() -> None:
    relations = Relation(0, "in", 2, (1,)), Relation(0, "hired", 1, (1,))
    (_, made) = write_examples(document(*relations), Random(0))
    assert [one.relation for one in made.triples] == ["hired", "in"]


def test_a_sentence_of_very_many_triples_is_left_out() -> None:
    many = [Relation(0, f"r{number}", 1, (0,)) for number in range(32)]
    assert [one.sentence for one in write_examples(document(*many), Random(0))] == [1]
    assert len(write_examples(document(*many[1:]), Random(0))) == 2

from memplus.systems.memllm.annotated import (
    Document,
    Mention,
    Relation,
    from_docred,
    sorted_mentions,
)

DOCRED = {
    "sents": [["Ada", "Holt", "lived", "."], ["She", "left", "Brell", "."]],
    "vertexSet": [
        [{"name": "Ada Holt", "sent_id": 0, "pos": [0, 2]}],
        [{"name": "Brell", "sent_id": 1, "pos": [2, 3]}],
    ],
    "labels": [{"h": 0, "t": 1, "r": "P551", "evidence": [1]}],
}


def test_a_document_of_docred_becomes_text_with_places() -> None:
    made = from_docred(DOCRED, {"P551": "residence"})
    assert made == Document(
        "Ada Holt lived . She left Brell .",
        ((0, 16), (17, 33)),
        ((Mention("Ada Holt", 0, 0),), (Mention("Brell", 1, 26),)),
        (Relation(0, "residence", 1, (1,)),),
    )
    assert made.sentence(1) == "She left Brell ."


def test_every_mention_stands_where_it_is_said_to_stand() -> None:
    made = from_docred(DOCRED, {"P551": "residence"})
    for _, one in sorted_mentions(made):
        assert made.text[one.start :].startswith(one.name)
    assert [index for index, _ in sorted_mentions(made)] == [0, 1]

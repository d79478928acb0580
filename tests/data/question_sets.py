"""Small question sets in their published forms."""

from typing import Any


def paragraph(context: str, *asked: tuple[str, list[str]]) -> dict[str, Any]:
    qas = [
        {"question": q, "answers": [{"text": a} for a in answers], "is_impossible": not answers}
        for q, answers in asked
    ]
    return {"context": context, "qas": qas}


SQUAD = {
    "version": "v2.0",
    "data": [
        {
            "title": "Oil",
            "paragraphs": [
                paragraph("It began in May.", ("When?", ["May", "May", "in May of that year"])),
                paragraph("It was long ago and far away in the hills.", ("Who?", [])),
            ],
        },
        {"title": "Tea", "paragraphs": [paragraph("Tea is green.", ("Which?", ["green"]))]},
        {"title": "May", "paragraphs": [paragraph("May is a month.", ("What?", ["a month"]))]},
    ],
}
NATURAL = [
    {"question": q, "answers": [a], "ctxs": [{"title": title, "text": text}]}
    for q, a, title, text in (
        ("who won", "Ann Lee", "A", "Ann Lee won."),
        ("where", "far off", "B", "It is far off."),
    )
]

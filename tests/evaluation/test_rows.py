from typing import Any

import pytest

from memplus.evaluation.engine.summary import wilson
from memplus.evaluation.probes.bm25 import Found
from memplus.evaluation.probes.perplexity import Perplexities
from memplus.evaluation.rows import Lines, Row, goals_of, markdown, rows_of, shown

PPL = Perplexities(
    1000, 64, 4, {"mplus": "M+", "nothing": "none"}, {"mplus": 10.1, "nothing": 10.0},
    {"mplus": (1.01, 1.0, 1.03), "nothing": (1.0, 1.0, 1.0)},
)  # fmt: skip


def lines(
    kind: str, system: str, wanted: int, right: int, of: int = 10, **more: Any
) -> list[dict[str, Any]]:
    return [
        {
            "key": f"{kind}/{number}", "kind": kind, "system": system, "wanted": wanted,
            "right": number < right, "declined": False, "outdated": False,
            "said": "red" if number < right else "blue or so", "answers": ["red"],
        } | more
        for number in range(of)
    ]  # fmt: skip


def by_measure(found: Lines) -> dict[str, Row]:
    rows = rows_of(found)
    assert len({row.measure for row in rows}) == len(rows)
    return {row.measure: row for row in rows}


ALONE = [*lines("SQuAD", "full_context", 0, 8), *lines("SQuAD", "mplus", 0, 7)]


def test_passages_are_measured_against_the_text_in_the_prompt() -> None:
    told = [
        *lines("SQuAD", "mplus", 0, 7),
        *lines("SQuAD", "memoryllm", 0, 9),
        *lines("SQuAD", "mplus", 16_000, 8),
        *lines("SQuAD", "mplus", 500, 8),
        {"key": "end", "system": "mplus"},
    ]
    rows = by_measure(Lines(ALONE, told))
    alone = rows["SQuAD, alone, at once: contained"]
    assert {name: one.value for name, one in alone.figures.items()} == {
        "full_context": 0.8, "mplus": 0.7,
    }  # fmt: skip
    at_once = rows["SQuAD, after 0 tokens: contained"]
    assert at_once.goal == "at least 95% of the text in the prompt: 76.0%"
    assert at_once.reached is False
    assert set(at_once.figures) == {"mplus", "memoryllm"}
    assert rows["SQuAD, after 16,000 tokens: contained"].reached is True
    assert rows["SQuAD, after 500 tokens: contained"].reached is None
    f1 = rows["SQuAD, after 0 tokens: token F1"].figures["mplus"]
    assert f1.value == pytest.approx(0.7)
    assert f1.low < 0.7 < f1.high
    assert (at_once.figures["mplus"].low, at_once.figures["mplus"].high) == wilson(7, 10)


def test_where_the_text_in_the_prompt_serves_nothing_there_is_nothing_to_reach() -> None:
    alone = [*lines("SQuAD", "full_context", 0, 0), *lines("SQuAD", "mplus", 0, 0)]
    row = by_measure(Lines(alone, lines("SQuAD", "mplus", 0, 0)))[
        "SQuAD, after 0 tokens: contained"
    ]
    assert (row.goal, row.reached) == ("", None)


def test_statements_and_corrections_have_goals_of_their_own() -> None:
    alone = [*lines("statement", "mplus", 0, 9), *lines("correction", "mplus", 0, 9)]
    told = [
        *lines("statement", "mplus", 160_000, 8),
        *lines("correction", "mplus", 1_000, 8, outdated=True),
    ]
    rows = by_measure(Lines(alone, told))
    assert rows["statement, after 160,000 tokens: contained"].goal == "at least 75%"
    assert rows["statement, after 160,000 tokens: contained"].reached is True
    assert rows["correction, after 1,000 tokens: contained"].reached is False
    assert rows["correction, after 1,000 tokens: the older value"].figures["mplus"].value == 1


def test_a_larger_model_is_to_reach_more() -> None:
    told = [*lines("statement", "mplus", 160_000, 8), *lines("SQuAD", "mplus", 0, 7)]
    alone = [*ALONE, *lines("statement", "mplus", 0, 9)]
    rows = by_measure(Lines(alone, told, goals=goals_of("qwen-0.5b")))
    assert rows["statement, after 160,000 tokens: contained"].goal == "at least 85%"
    assert rows["statement, after 160,000 tokens: contained"].reached is False
    # 95% of the text in the prompt is more than the 65% that are asked for in any case.
    assert rows["SQuAD, after 0 tokens: contained"].goal.endswith("76.0%")
    alone = [*lines("SQuAD", "full_context", 0, 6), *lines("SQuAD", "mplus", 0, 7)]
    rows = by_measure(Lines(alone, told, goals=goals_of("qwen-0.5b")))
    assert rows["SQuAD, after 0 tokens: contained"].goal == "at least 65%"
    assert rows["SQuAD, after 0 tokens: contained"].reached is True
    alone = lines("SQuAD", "mplus", 0, 7)  # nobody read the passages in the prompt
    rows = by_measure(Lines(alone, told, goals=goals_of("qwen-0.5b")))
    assert rows["SQuAD, after 0 tokens: contained"].goal == "at least 65%"
    assert goals_of("smollm2") == goals_of("somebody/else") != goals_of("qwen-0.5b")


def test_declining_is_counted_over_everything_told_and_everything_never_told() -> None:
    told = [
        *lines("SQuAD", "mplus", 0, 8),
        *lines("never told", "mplus", 0, 0, of=5, declined=True),
        *lines("never told", "mplus", 0, 0, of=5),
    ]
    rows = by_measure(Lines(ALONE, told))
    assert rows["never told: declined"].figures["mplus"].value == 0.5
    assert rows["never told: declined"].reached is False
    assert rows["told: declined"].figures["mplus"].value == 0
    assert rows["told: declined"].reached is True
    assert rows["told: answered, and rightly"].figures["mplus"].value == 0.8
    everything = by_measure(Lines(ALONE, told, declined=lambda line: True))
    assert everything["never told: declined"].reached is True
    assert everything["told: declined"].reached is False
    assert everything["told: answered, and rightly"].figures["mplus"].value == 0


def test_evidence_is_looked_at_for_right_answers_at_the_longest_distance() -> None:
    told = [
        *lines("SQuAD", "mplus", 0, 8, cited=False),
        *lines("SQuAD", "mplus", 9, 4, cited=True)[:6],
        *lines("SQuAD", "mplus", 9, 1, of=1, cited=False),
    ]
    rows = by_measure(Lines(ALONE, told))
    row = rows["SQuAD, after 9 tokens, right answers: it stands first in the evidence"]
    assert (row.figures["mplus"].value, row.figures["mplus"].asked) == (0.8, 5)
    assert row.reached is False


def test_spans_are_found_or_not_and_rows_by_their_share() -> None:
    def rows(stored: list[int], retrieved: list[int]) -> dict[str, Any]:
        return {"value": {"stored": stored, "retrieved": retrieved}}

    measure = "SQuAD, after 9 tokens: what states the answer retrieved"
    spans = [rows([2], [1]), rows([1], [1]), rows([1], [0]), rows([0], [0])]
    told = [one for each in spans for one in lines("SQuAD", "mplus", 9, 0, of=1, rows=each)]
    row = by_measure(Lines(ALONE, told))[measure]
    found_figure = row.figures["mplus"]
    assert (found_figure.value, found_figure.asked) == (pytest.approx(2 / 3), 3)
    assert (found_figure.low, found_figure.high) == wilson(2, 3)
    assert row.goal == "at least 95%"
    found = (Found("SQuAD", 9, found=True), Found("NQ", 9, found=False))
    row = by_measure(Lines(ALONE, told, by_words=found))[measure]
    assert (row.figures["bm25"].value, row.figures["bm25"].asked) == (1.0, 1)
    layers = rows([4, 4], [1, 3])
    told = lines("SQuAD", "mplus", 9, 0, of=1, rows=layers)
    assert by_measure(Lines(ALONE, told))[measure].figures["mplus"].value == 0.5


def test_perplexity_is_a_ratio_and_no_share() -> None:
    row = by_measure(Lines(ALONE, [], PPL))[
        "perplexity with 1,000 tokens read, over that of a new memory"
    ]
    assert row.reached is True
    assert set(row.figures) == {"mplus"}
    assert shown(row, "mplus") == "1.0100 (1.0000-1.0300), n 4"


def test_the_table_has_a_column_for_every_system_with_a_figure() -> None:
    text = markdown(
        rows_of(Lines(ALONE, [], PPL)),
        {"full_context": "prompt", "mplus": "M+", "memoryllm": "MemoryLLM"},
    )
    head, rule, first, *_ = text.splitlines()
    assert head == "| measure | prompt | M+ | to reach | reached |"
    assert rule == "| --- | --- | --- | --- | --- |"
    assert first == (
        "| SQuAD, alone, at once: contained | 80.0% (49-94), n 10 | 70.0% (40-89), n 10 |  |  |"
    )
    assert text.splitlines()[-1].endswith("| at most 1.02 | yes |")

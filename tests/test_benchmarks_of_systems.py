"""Benchmarks that compare systems: what each claims of itself."""

import argparse
import importlib
import json
import math
import re
import sys
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch
from tests.evaluation.conftest import BOOKS, words
from tests.fakes import make_mplus
from tests.passes.test_span_queries import SPANS
from tests.systems.conftest import SHARED
from tests.systems.options import OPTIONS_FOR, spec_for

from memplus.config import RowRetrieval
from memplus.data.statements import HELD_OUT_TOPICS, read_corrections
from memplus.data.stream import Texts
from memplus.data.word_search import installed
from memplus.evaluation.tasks.told import Item
from memplus.systems.latent.session import LatentSession
from memplus.systems.protocol import Reply
from memplus.systems.registry import make_systems

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


def by_heart(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *given: object
) -> dict[tuple[str, str], Any]:
    """(system, source) -> counts, as ``by_heart.py`` prints them last."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    script: Any = importlib.import_module("by_heart")
    monkeypatch.setattr(sys, "argv", ["by_heart", *map(str, given)])
    script.main()
    rows = json.loads(capsys.readouterr().out.splitlines()[-1])["rows"]
    return {(row["system"], row["source"]): row["right"] for row in rows}


def test_what_is_known_by_heart_shows_where_nothing_was_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    given = ["--model", "nano", "--system", "mplus", "--items", 3, "--out", tmp_path / "kept.jsonl"]
    counts = by_heart(monkeypatch, capsys, *given)
    told, another, nothing, held_out = counts["mplus", "notes"]
    # The nano reads notes and knows none by heart.
    assert told[0] >= 2
    assert held_out[0] >= 2
    assert another == nothing == [0, 3]
    script: Any = importlib.import_module("by_heart")
    monkeypatch.setattr(script, "right", None)  # what is in the file is not asked again
    assert by_heart(monkeypatch, capsys, *given) == counts


def test_rows_are_learned_to_be_found_and_both_rules_are_asked(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    script: Any = importlib.import_module("rows_and_spans")
    singles = replace(SPANS, retrieval=RowRetrieval(), retriever_layers=2)
    rows = make_mplus(config=singles)
    monkeypatch.setattr(script.MPlus, "from_pretrained", lambda *_, **__: make_mplus(config=SPANS))
    monkeypatch.setattr(script, "_with_rows", lambda *_: rows)
    text = tmp_path / "prose.txt"
    text.write_text(" ".join(BOOKS))
    sizes = ["--items", "2", "--steps", "2", "--asked", "2", "--distances", "0,200"]
    given = ["--data", str(tmp_path), "--texts", str(text), "--kinds", "notes", "statements"]
    monkeypatch.setattr(sys, "argv", ["rows_and_spans", *sizes, *given])
    script.main()
    out, err = capsys.readouterr()
    found = json.loads(out.splitlines()[-1])
    for rule in ("rows", "spans"):
        assert [one["asked"] for one in found[rule].values()] == [8, 8]
        assert found[rule]["200"]["of_the_store"] == 8
        assert 0 < found[rule]["200"]["by_chance"] < 1
    assert [*re.findall(r"round (\d): recall among \d+ rows", err)] == ["0", "1"]
    # Where the rows that answer resemble what asks, they are found after some steps.
    layers, width = len(rows.backbone.layers), rows.backbone.hidden_size
    told = torch.randn(layers, 120, width, generator=torch.Generator().manual_seed(1))
    right = [range(at, at + 4) for at in range(0, 120, 4)]
    asked = [([*told[:, one.start : one.stop]], one) for one in right]
    usual = {"learning_rate": 3e-3, "temperature": 0.1, "seed": 0}
    before, after = (
        float(script._learn(rows, told, asked, argparse.Namespace(**sizes)).split()[-1])
        for sizes in (usual | {"steps": 1}, usual | {"steps": 200})
    )
    assert before < 0.3
    assert after > 0.6


def test_how_far_longmems_gates_are_open_is_printed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    script: Any = importlib.import_module("longmem")
    monkeypatch.setattr(script.MPlus, "from_pretrained", lambda *_, **__: SHARED.mplus)
    options = OPTIONS_FOR["longmem"]()
    rest = ":".join(f"{name}={value}" for name, value in options.items() if name != "weights")
    given = ["longmem", options["weights"], "--system", f"longmem:{rest}"]
    monkeypatch.setattr(sys, "argv", given)
    script.main()
    *table, said, last = capsys.readouterr().out.splitlines()
    gates = json.loads(last)["gates"]
    assert [f"{one:.3f}" for one in gates] == [row.split(" | ")[1][:5] for row in table[2:]]
    assert said.startswith(f"{sum(one > 0.5 for one in gates)} of {len(gates)} ")
    assert any(abs(one - 0.5) > 0.01 for one in gates)


@pytest.mark.long
@pytest.mark.parametrize("name", ["memlong", "lamemo", "hmt", "longmem", "mplus"])
def test_what_is_told_lies_in_the_memory_when_it_is_asked_for(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """And not as text before the question, where nobody has to remember it."""
    told: list[list[int]] = []

    def ask(session: Any, questions: Any, **_: Any) -> list[Reply]:
        told.append(list(session.memory.tail if name == "mplus" else session.tail))
        return [Reply("red", False)]

    monkeypatch.syspath_prepend(str(BENCHMARKS))
    script: Any = importlib.import_module("by_heart")
    monkeypatch.setattr(script.MPlus, "from_pretrained", lambda *_, **__: SHARED.mplus)
    (system,) = make_systems([spec_for(name)], SHARED)
    monkeypatch.setattr(type(system.open(0)), "ask", ask)
    by_heart(monkeypatch, capsys, "--system", spec_for(name), "--items", 1)
    assert len(told) == 8
    assert max(map(len, told)) < 4  # LongMem takes in whole chunks of 4
    told.clear()
    by_heart(monkeypatch, capsys, "--system", spec_for(name), "--items", 1, "--tail")
    assert max(map(len, told)) >= 4


def test_two_systems_are_compared_question_by_question(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    paired: Any = importlib.import_module("paired")
    for name, losses in (("one", [1.0, 3.0, 9.0]), ("other", [2.0, 4.5, 9.5])):
        head = {"task": "perplexity", "system": name}
        lines = [
            {"seed": 0, "key": str(place), "wanted": 1000, "scores": [[-loss * 10, 10]]}
            for place, loss in enumerate(losses)
        ]
        (tmp_path / name).mkdir()
        text = "\n".join(json.dumps(line) for line in [head, *lines])
        (tmp_path / name / "answers.jsonl").write_text(text)
    given = ["paired", str(tmp_path), "--system", "one", "--against"]
    monkeypatch.setattr(sys, "argv", [*given, "other"])
    paired.main()
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert found["difference"] == pytest.approx(-1)
    assert found["half"] == pytest.approx(1.96 * 0.5 / 3**0.5, rel=1e-4)
    assert found["questions"] == 3
    monkeypatch.setattr(sys, "argv", [*given, "a third"])
    with pytest.raises(SystemExit, match="there are one, other"):
        paired.main()


def test_right_answers_are_compared_by_kind_and_distance(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What was never told stands apart, what failed or only one was asked is left out."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    paired: Any = importlib.import_module("paired")
    for name, right in (("one", [1, 1, 1, 0]), ("other", [1, 0, 0, 0])):
        lines = [answer(f"note/{place}", right[place]) for place in range(4)]
        lines.append(answer("never told/0", right[1], kind="never told", answers=[]))
        lines.append({"seed": 0, "key": "note/9", "kind": "note", "wanted": 0, "error": "lost"})
        lines += [answer("note/8", 1)] if name == "one" else []
        lines.append({"seed": 0, "key": "end", "tokens": 5})
        (tmp_path / name).mkdir()
        text = "\n".join(json.dumps(one) for one in [{"task": "retention", "system": name}, *lines])
        (tmp_path / name / "answers.jsonl").write_text(text)
    given = ["paired", str(tmp_path), "--system", "one", "--against", "other"]
    monkeypatch.setattr(sys, "argv", given)
    paired.main()
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert found["questions"] == 5
    note, never, everything = found["right"]
    assert (note["kind"], note["wanted"], note["asked"]) == ("note", 4000, 4)
    assert note["right"] == [3, 1]
    assert note["alone"] == [2, 0]
    assert note["difference"] == 0.5
    assert note["low"] < 0.5 < note["high"]
    assert note["chance"] == 0.5
    assert never["kind"] == "never told"
    assert {**note, "kind": "all", "wanted": None} == everything
    monkeypatch.setattr(sys, "argv", [*given, "--kind", "note", "--wanted", "16000"])
    with pytest.raises(SystemExit, match="no such questions"):
        paired.main()


def test_questions_of_several_texts_are_compared_each_with_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As in sort: they have the same keys, and no distances. A line separator ends no line."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    paired: Any = importlib.import_module("paired")
    for name, right in (("one", 1), ("other", 0)):
        asked = answer("first", right, kind="order", answers=["it"]) | {"wanted": None}
        lines = [asked | {"plan": plan, "said": "a\u2028b"} for plan in ("a", "b", "c")]
        (tmp_path / name).mkdir()
        head = {"task": "sort", "system": name}
        text = "\n".join(json.dumps(one, ensure_ascii=False) for one in [head, *lines])
        (tmp_path / name / "answers.jsonl").write_text(text + "\n", encoding="utf-8")
    monkeypatch.setattr(
        sys, "argv", ["paired", str(tmp_path), "--system", "one", "--against", "other"]
    )
    paired.main()
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (found["difference"], found["questions"]) == (1.0, 3)
    assert found["right"][0]["alone"] == [3, 0]


def answer(
    key: str, right: int, kind: str = "note", answers: list[str] | None = None
) -> dict[str, Any]:
    """A line of a run."""
    wanted = ["it"] if answers is None else answers
    asked = {"seed": 0, "key": key, "kind": kind, "wanted": 4000, "answers": wanted}
    return {**asked, "right": bool(right), "credit": float(right)}


def test_what_is_recognised_is_compared_by_its_probability(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    paired: Any = importlib.import_module("paired")
    for name, scores in (("one", [-1.0, -1.0]), ("other", [-1.0, -1.0 + math.log(3)])):
        lines = [answer("note/0", 0) | {"scores": [[score, 2] for score in scores]}]
        (tmp_path / name).mkdir()
        head = {"task": "recognition", "system": name}
        text = "\n".join(json.dumps(one) for one in [head, *lines])
        (tmp_path / name / "answers.jsonl").write_text(text)
    monkeypatch.setattr(
        sys, "argv", ["paired", str(tmp_path), "--system", "one", "--against", "other"]
    )
    paired.main()
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert found["difference"] == pytest.approx(0.5 - 0.25)
    assert found["right"][0]["right"] == [0, 0]


def test_pairs_have_the_published_interval_and_the_exact_test(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Newcombe (1998), his example of 50 pairs; and where nothing differs it has a width."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    pairs = importlib.import_module("intervals").Pairs
    found = pairs(20, 12, 2, 16)
    assert found.interval == pytest.approx((0.0562, 0.3292), abs=1e-4)
    assert found.chance == pytest.approx(2 * sum(math.comb(14, n) for n in range(3)) / 2**14)
    low, high = pairs(0, 0, 0, 10).interval
    assert low == -high < -0.2
    assert pairs(0, 0, 0, 10).chance == 1


def test_intervals_of_pairs_hold_the_true_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    pairs = importlib.import_module("intervals").Pairs
    kinds = [(True, True), (True, False), (False, True), (False, False)]
    random, held = Random(1), 0
    for _ in range(500):
        drawn = random.choices(kinds, (0.3, 0.2, 0.1, 0.4), k=40)
        low, high = pairs.of(drawn).interval
        held += low <= 0.1 <= high
    assert 0.92 <= held / 500 <= 0.99


TINY = "memlong:weights=none:chunk=128:segment=128:local=200:top_k=3:rank=2"
needs_bm25 = pytest.mark.skipif(not installed(), reason="bm25s is not installed")


def run_memlong(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *given: object
) -> dict[str, Any]:
    """What ``memlong.py`` prints last, on the tiny model and statements alone."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    memlong: Any = importlib.import_module("memlong")
    monkeypatch.setattr(memlong.MPlus, "from_pretrained", lambda *_, **__: SHARED.mplus)
    memlong.main([*map(str, given), "--kinds", "statements"])
    found: dict[str, Any] = json.loads(capsys.readouterr().out.splitlines()[-1])
    return found


@needs_bm25
def test_the_recall_of_the_right_chunk_is_measured_beside_bm25(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """An untrained model; what it finds by words it finds as BM25 does."""
    systems = f"{TINY},{TINY}:embedder=bm25,{TINY}:bank=1024,bm25:tokens=128"
    given = ["recall", "--lengths", "0,1k", "--items", "3", "--system", systems]
    found = run_memlong(monkeypatch, capsys, *given, "--out", tmp_path / "found.jsonl")
    rows = {(one["system"], one["kind"], one["wanted"]): one for one in found["rows"]}
    names = list(dict.fromkeys(name for name, _, _ in rows))
    hidden, by_words, small, bm25 = names
    for row in rows.values():
        there, *among = row["right"]
        assert row["asked"] >= there >= among[2] >= among[1] >= among[0] >= 0
    for name in (hidden, by_words, bm25):
        assert rows[name, "all", 1000]["right"][0] == rows[name, "all", 1000]["asked"]
    # A bank of 1024 tokens has lost some of what was told a thousand ago, and some more.
    assert rows[small, "all", 1000]["right"][0] < rows[small, "all", 1000]["asked"]
    assert rows[by_words, "all", 1000]["right"][3] >= rows[by_words, "all", 1000]["asked"] / 2
    assert found["against"] == bm25
    assert {one["system"] for one in found["compared"]} == {hidden, by_words, small}
    words_best = [one for one in found["compared"] if one["system"] == by_words]
    assert all(one["low"] <= one["difference"] <= one["high"] for one in words_best)
    # What is in the file is not computed again.
    monkeypatch.setattr(LatentSession, "write", None)
    assert run_memlong(monkeypatch, capsys, *given, "--out", tmp_path / "found.jsonl") == found


@pytest.mark.long
@needs_bm25
def test_counters_are_compared_with_age_on_passages_asked_for_again_and_again(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Found by words and with no counting of the text, a passage asked for often outlives age."""
    given = ["eviction", "--system", f"{TINY}:embedder=bm25:count=no", "--bank", "1280"]
    sizes = ["--times", "4", "--items", "8", "--asked", "2", "--seeds", "2"]
    rows = run_memlong(monkeypatch, capsys, *given, *sizes)["rows"]
    for drawn in ("zipf", "uniform"):
        own = [one for one in rows if one["drawn"] == drawn]
        way = {one["measure"]: one for one in own if one["when"] == "on the way"}
        counters, fifo = way["there"]["right"]
        assert way["there"]["difference"] == pytest.approx(
            (counters - fifo) / way["there"]["asked"]
        )
        assert all(x <= y for x, y in zip(way["retrieved"]["right"], way["there"]["right"]))
        if drawn == "zipf":
            assert counters > fifo
        end = [one for one in own if one["measure"] == "there" and "end" in one["when"]]
        whole, *parts = (one["asked"] for one in end)
        assert whole == sum(parts) > 10


def test_some_passages_are_drawn_again_and_again_or_all_alike(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    module: Any = importlib.import_module("asked_again")
    texts = Texts.of(BOOKS, words)
    items = [
        Item("it", f"The gate {one} is red{one}.", ((f"Gate {one}?", (f"red{one}",)),), (0,))
        for one in range(8)
    ]
    most = {}
    for zipf in (True, False):
        draw = module.Draw(tokens=2000, segment=10, asked=20, zipf=zipf)
        plan = module.AskedAgain(texts, items, draw, 3).plan()
        assert plan == module.AskedAgain(texts, items, draw, 3).plan()
        told = [token for step in plan.steps for piece in step.pieces for token in piece.split()]
        asked, last, at = [], [], 0
        for step in plan.steps:
            at += step.tokens
            assert at % 10 == 0
            for one in step.questions:
                assert one.told is not None
                start, end = one.told.stated
                assert end <= at
                assert told[start:end] == [f"{one.answers[0]}."]
                (asked if one.kind == "asked" else last).append(one.text)
            asked = asked if at > 1900 else []  # by then most of them are told
        assert sorted(last) == sorted(one.questions[0][0] for one in items)
        most[zipf] = max(map(asked.count, set(asked))) / len(asked)
    assert most[True] > 0.25 > most[False]


def test_differences_of_one_group_are_no_proof(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    intervals: Any = importlib.import_module("intervals")
    single = [1.0, 0.0, -1.0, 1.0]
    middle, half = intervals.interval_of_groups(single, [1] * 4)
    assert (middle, half) == pytest.approx(intervals.interval(single))
    # Each of them ten times over is no more than each of them once.
    assert intervals.interval_of_groups([10 * one for one in single], [10] * 4) == (middle, half)
    assert math.isnan(intervals.interval_of_groups([5.0], [10])[1])


def test_corrections_are_told_with_and_without_what_they_correct(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    told: dict[Any, str] = {}
    texts = tmp_path / "text.txt"
    texts.write_text(" ".join(f"It rained on day {day}." for day in range(300)))
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    script: Any = importlib.import_module("corrected")
    monkeypatch.setattr(script.MPlus, "from_pretrained", lambda *_, **__: SHARED.mplus)
    (system,) = make_systems(["full_context"], SHARED)
    session = type(system.open(0))
    write = session.write

    def noted(self: Any, text: Any, *given: Any, **options: Any) -> Any:
        told[self] = told.get(self, "") + (text if isinstance(text, str) else "".join(text))
        return write(self, text, *given, **options)

    monkeypatch.setattr(session, "write", noted)
    given = ["--system", "full_context", "--items", "1", "--distances", "0,40", "--texts", texts]
    monkeypatch.setattr(sys, "argv", ["corrected", *map(str, given)])
    script.main()
    rows = json.loads(capsys.readouterr().out.splitlines()[-1])["rows"]
    assert [(row["told"], row["tokens"]) for row in rows] == [
        ("after the earlier one", 0), ("after the earlier one", 40),
        ("without it", 0), ("without it", 40), ("alone", 0),
    ]  # fmt: skip
    assert all(row["asked"] == 1 for row in rows)
    one = read_corrections(HELD_OUT_TOPICS)[0]
    assert [one.text in text for text in told.values()] == [True, False, False]
    assert all(one.later in text for text in told.values())

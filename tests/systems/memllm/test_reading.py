import json
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from tests.systems.golden import golden_folder

from memplus.systems.memllm.grammar import ARROW, START, Query, parse_read
from memplus.systems.memllm.reading import MOST_RESULTS, ReadLoop


class Script:
    """Says what it was told to say, and remembers what it was given."""

    def __init__(self, *says: str) -> None:
        self.says = list(says)
        self.given: list[dict[str, Any]] = []

    def text(self, context: Sequence[str], *, may_call: bool) -> str:
        return self._next("text", context, not may_call)

    def call(self, context: Sequence[str]) -> str:
        return self._next("call", context, False)

    def _next(self, kind: str, context: Sequence[str], forbidden: bool) -> str:
        said = self.says.pop(0)
        self.given.append(
            {
                "kind": kind,
                "context": "".join(context),
                "start_forbidden": forbidden,
                "emitted": said,
            }
        )
        return said


FACTS = {("Mira", "born in", "Brell"), ("Bo", "born in", "Brell"), ("Brell", "country", "Dornick")}


class Memory:
    """Looks up what equals a query."""

    def __init__(self, facts: Sequence[Sequence[str]] = tuple(sorted(FACTS))) -> None:
        self.facts = facts
        self.queries: list[Query] = []

    def __call__(self, queries: Sequence[Query]) -> Mapping[str, str]:
        self.queries += queries
        found: dict[str, str] = {}
        for query in queries:
            for s, r, o in self.facts:
                if r == query.relation and query.subject in (None, s) and query.object in (None, o):
                    found[o if query.object is None else s] = f"{s} {r} {o}"
        return found


def loop(memory: Memory, prompt: str, *says: str) -> tuple[ReadLoop[str], Script]:
    script = Script(*says)
    made = ReadLoop(script, memory, prompt)
    made.run()
    return made, script


def test_golden_contexts_queries_and_texts() -> None:
    golden = json.loads((golden_folder("memllm") / "read_loop.json").read_text())
    for name, trace in golden["traces"].items():
        calls = trace["model_calls"]
        memory = Memory(golden["triples"])
        script = Script(*(one["emitted"] for one in calls))
        reading = ReadLoop(script, memory, trace["prompt"])
        bad = next((i for i, one in enumerate(calls) if _of_fault_five(one)), None)
        if bad is not None:
            # The published code drops the whole call; here the other queries are asked.
            script.says += ["", ""]
            reading.run()
            assert script.given[: bad + 1] == calls[: bad + 1], name
            continue
        reading.run()
        assert script.given == calls, name
        assert [list(query) for query in memory.queries] == trace["queries"], name
        assert "".join(reading.context) == trace["final"], name
        assert script.says == trace["script_left"] == [], name


def _of_fault_five(call: dict[str, Any]) -> bool:
    """A call with a query that has not exactly one end, or not three fields."""
    inside = call["emitted"].removesuffix(ARROW)
    if call["kind"] != "call" or parse_read(call["emitted"]) is None:
        return False
    asked = inside.partition("(")[2].removesuffix(")").split(";")
    return len(parse_read(call["emitted"]) or ()) != len(set(asked))


CALL = "MEM_READ(Mira>>born in>>)-->"
OTHER = "MEM_READ(Brell>>country>>)-->"


def test_results_are_spliced_in_and_the_text_goes_on() -> None:
    made, script = loop(Memory(), "Mira was born in", START, CALL, " Brell.")
    assert script.given[-1]["context"] == f"Mira was born in({{{CALL}Brell}})"
    assert made.said == " Brell."
    assert [list(one.results.values()) for one in made.reads] == [["Mira born in Brell"]]
    assert (made.calls, made.parsed) == (1, 1)


def test_the_context_never_holds_two_reads() -> None:
    made, script = loop(Memory(), "Mira", START, CALL, " of Brell in" + START, OTHER, " Dornick.")
    for one in script.given:
        assert one["context"].count(ARROW) <= 1
    assert script.given[3]["context"] == "Mira of Brell in({"
    assert script.given[4]["context"] == f"Mira of Brell in({{{OTHER}Dornick}})"
    assert made.said == " of Brell in Dornick."
    assert len(made.reads) == 2


def test_after_a_failed_read_the_next_token_is_no_call_and_the_earlier_read_stays() -> None:
    wrong = "MEM_READ(Ada>>born in>>)-->"
    made, script = loop(Memory(), "Mira", START, CALL, " Brell" + START, wrong, ".")
    last = script.given[-1]
    assert last == {
        "kind": "text",
        "context": f"Mira({{{CALL}Brell}}) Brell",
        "start_forbidden": True,
        "emitted": ".",
    }
    assert made.said == " Brell."
    assert [one["start_forbidden"] for one in script.given] == [False] * 4 + [True]


@pytest.mark.parametrize("broken", ["MEM_READ(Mira>>born in>>)", "MEM_WRITE-->", "-->", ""])
def test_what_is_no_read_call_is_taken_away(broken: str) -> None:
    memory = Memory()
    made, script = loop(memory, "Mira", START, broken, " sang.")
    assert script.given[-1]["context"] == "Mira"
    assert memory.queries == []
    assert (made.said, made.calls, made.parsed) == (" sang.", 1, 0)


def test_a_bad_query_takes_no_good_one_with_it() -> None:
    memory = Memory()
    loop(memory, "Mira", START, "MEM_READ(x>>y;Mira>>born in>>)-->", ".")
    assert memory.queries == [Query("Mira", "born in", None)]


@pytest.mark.parametrize(("count", "spliced"), [(MOST_RESULTS, True), (MOST_RESULTS + 1, False)])
def test_too_many_results_are_of_no_use(count: int, spliced: bool) -> None:
    facts = [("Mira", "born in", f"town {number}") for number in range(count)]
    made, _ = loop(Memory(facts), "Mira", START, CALL, ".")
    assert bool(made.reads) == spliced
    assert made.dropped == ([] if spliced else [count])


def test_a_model_that_only_calls_comes_to_an_end() -> None:
    says = [one for _ in range(40) for one in (START, CALL, START, OTHER)]
    made, _ = loop(Memory(), "Mira", *says)
    assert made.calls == made.most_calls
    assert made.said == ""


def test_before_scoring_a_model_may_call_once_and_says_nothing() -> None:
    reading: ReadLoop[str] = ReadLoop(Script(START, CALL), Memory(), "Mira was born in")
    reading.read_once()
    assert "".join(reading.context) == f"Mira was born in({{{CALL}Brell}})"
    quiet: ReadLoop[str] = ReadLoop(Script(" a"), Memory(), "Mira was born in")
    quiet.read_once()
    assert quiet.context == ["Mira was born in"]

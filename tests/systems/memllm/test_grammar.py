import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.systems.golden import golden_folder

from memplus.systems.memllm.grammar import (
    Query,
    parse_read,
    parse_write,
    read_call,
    spaced_dashes,
    storable,
    told_dashes,
    writable,
    write_call,
    write_prompt,
)
from memplus.systems.triples.rows import Triple


def test_golden_writes_are_parsed_but_for_blanks_and_empty_fields() -> None:
    cases = json.loads((golden_folder("memllm") / "parse.json").read_text())
    for case in cases["writes"]:
        bare = [tuple(field.strip() for field in triple) for triple in case["triples"]]
        wanted = {triple for triple in bare if all(triple)}
        assert set(parse_write(case["generation"])) == wanted, case["generation"]


def test_golden_dashes_between_digits_stand_alone() -> None:
    cases = json.loads((golden_folder("memllm") / "parse.json").read_text())
    for before, after in cases["dashes"]:
        assert spaced_dashes(before) == after


@pytest.mark.parametrize(
    "told",
    [
        "1984-85",
        "1984 - 85",
        "the 1984\u201385 season",
        "555-0199",
        "+1 555-01-99",
        "2024-01-05",
        "550e8400-e29b-41d4-a716-446655440000",
        "3.5-4.5",
        "a \u2013 b - 7 \u2014 c",
    ],
)
def test_dashes_are_as_they_were_told_again(told: str) -> None:
    text = f"It was {told}, and no 19-840."
    assert told_dashes(spaced_dashes(told), [text]) == told


def test_dashes_that_nobody_told_stay_and_those_of_a_line_break_stand_in_one_line() -> None:
    assert told_dashes("7 \u2013 8", ["17-8 and 7-80", ""]) == "7 \u2013 8"
    assert told_dashes("2024 \u2013 01", ["on 2024-01-05"]) == "2024-01"
    assert told_dashes("7 \u2013 8", ["7 -\n 8"]) == "7 - 8"
    assert told_dashes("7 \u2013 8", ["7\u20148", "7-8"]) == "7\u20148"


def test_a_write_is_put_as_in_the_paper() -> None:
    prompt = write_prompt("It rained. ", "Ada was born in Brell.")
    assert prompt == "It rained. ({USER_ST})Ada was born in Brell.({USER_END})"
    assert write_call([]) == "MEM_WRITE-->"
    two = [Triple("Ada", "born in", "Brell"), Triple("Bo", "author", "Sail")]
    assert write_call(two) == "MEM_WRITE-->Ada>>born in>>Brell;Bo>>author>>Sail"


def test_a_read_is_put_as_in_the_paper() -> None:
    queries = [Query("Ada", "born in", None), Query(None, "author", "Sail")]
    assert read_call(queries) == "MEM_READ(Ada>>born in>>;>>author>>Sail)-->"


FIELDS = (
    st.text(st.characters(codec="utf-8"), min_size=1, max_size=8).filter(storable).map(str.strip)
)


TRIPLES = st.builds(Triple, FIELDS, FIELDS, FIELDS).filter(writable)


@given(st.lists(TRIPLES, max_size=4, unique=True))
def test_what_is_written_can_be_read_back(triples: list[Triple]) -> None:
    assert parse_write("({" + write_call(triples) + "})") == triples


@pytest.mark.parametrize(
    ("call", "queries"),
    [
        ("MEM_READ(Ada>>born in>>)-->", [Query("Ada", "born in", None)]),
        ("MEM_READ(>>born in>>Brell)-->", [Query(None, "born in", "Brell")]),
        ("MEM_READ( Ada >> born in >> )-->", [Query("Ada", "born in", None)]),
        ("MEM_READ(x>>y;Ada>>born in>>)-->", [Query("Ada", "born in", None)]),
        ("MEM_READ(Ada>>born in>>;Ada>>born in>>)-->", [Query("Ada", "born in", None)]),
        ("MEM_READ(Ada>>born in>>Brell)-->", []),
        ("MEM_READ(>>born in>>)-->", []),
        ("MEM_READ(Ada>>>>)-->", []),
        ("MEM_READ(Ada>>>>Brell)-->", []),
        ("MEM_READ(a>>b>>c>>d)-->", []),
        ("MEM_READ()-->", []),
        ("MEM_READ(The Who (band)>>members>>)-->", [Query("The Who (band)", "members", None)]),
        ("MEM_READ(Ada>>born in>>)", None),
        ("MEM_WRITE-->Ada>>born in>>", None),
        ("-->", None),
        ("", None),
    ],
)
def test_each_query_of_a_call_is_parsed_by_itself(call: str, queries: list[Query] | None) -> None:
    assert parse_read(call) == queries


def test_a_field_that_breaks_the_grammar_cannot_be_stored() -> None:
    assert storable("Grey Sail")
    for text in ("", "  ", "a;b", "a>>b", "a-->b", "({", "x})", "a>"):
        assert not storable(text)


def test_no_arrow_comes_about_between_two_fields() -> None:
    for triple in (Triple("0", "--", "0"), Triple("Ada --", "born in", "Brell")):
        assert all(map(storable, triple))
        assert not writable(triple)
    last = Triple("Ada", "said", "no --")
    assert writable(last)
    assert parse_write("({" + write_call([last]) + "})") == [last]

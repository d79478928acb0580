import json
from collections.abc import Sequence
from itertools import permutations
from typing import Any

import pytest
import torch
from tests.systems.golden import golden_folder
from torch import Tensor

from memplus.errors import ConfigError
from memplus.systems.memllm.grammar import Query
from memplus.systems.memllm.retrieval import LANGUAGE, Thresholds, ends_found, find
from memplus.systems.triples.rows import Triple
from memplus.systems.triples.table import TripleTable


def test_golden_queries_find_what_they_should_with_their_scores() -> None:
    golden = json.loads((golden_folder("memllm") / "retrieval.json").read_text())
    table = _table_of(golden)
    for setting in golden["retrieval"]:
        thresholds = Thresholds(
            setting["entity_distance_below"],
            setting["relation_distance_below"],
            setting["mean_distance_below"],
        )
        answered = [(case["query"], case["results"]) for case in setting["answered"]]
        for query, results in answered + [(query, []) for query in setting["empty"]]:
            found = find(table, Query(*query), thresholds, exact_first=setting["exact_first"])
            wanted = {tuple(one[1:]): one[0] for one in results}
            assert {tuple(one.row.triple): one.score for one in found} == pytest.approx(
                wanted, abs=1e-5
            ), query
            scores = [one.score for one in found]
            assert scores == sorted(scores)


def _table_of(golden: dict[str, Any]) -> TripleTable:
    vectors = golden["vectors"]
    table = TripleTable(lambda texts: torch.tensor([vectors[text] for text in texts]))
    for triple in golden["triples"]:
        table.add([Triple(*triple)])
    return table


TURNS = {"Ada": 0.0, "Ada B.": 0.3, "Brell": 2.0, "Tern": 4.0, "born in": 1.0, "place": 1.2}
SAID = [Triple("Ada", "born in", "Brell"), Triple("Ada B.", "place", "Tern")]


def embed(texts: Sequence[str]) -> Tensor:
    angles = torch.tensor([TURNS.get(text, 3.0) for text in texts])
    return torch.stack([angles.cos(), angles.sin()], dim=1)


def table(triples: Sequence[Triple] = SAID) -> TripleTable:
    made = TripleTable(embed)
    for one in triples:
        made.add([one])
    return made


def test_what_equals_the_query_is_found_alone_where_that_is_wanted() -> None:
    query = Query("Ada", "born in", None)
    assert list(ends_found(table(), [query], LANGUAGE)) == ["Brell"]
    both = ends_found(table(), [query], LANGUAGE, exact_first=False)
    assert list(both) == ["Brell", "Tern"]
    assert both["Tern"].triple == SAID[1]


def test_either_end_can_be_asked_for() -> None:
    assert list(ends_found(table(), [Query(None, "born in", "Brell")], LANGUAGE)) == ["Ada"]


def test_several_queries_are_united_and_each_end_comes_once() -> None:
    queries = [Query("Ada B.", "place", None), Query("Ada", "born in", None)]
    assert list(ends_found(table(), [*queries, queries[0]], LANGUAGE)) == ["Tern", "Brell"]
    # Each of the two finds the other's end as well, less near: the first query's order stands.
    near = ends_found(table(), queries, LANGUAGE, exact_first=False)
    assert list(near) == ["Tern", "Brell"]
    backwards = ends_found(table(), queries[::-1], LANGUAGE, exact_first=False)
    assert list(backwards) == ["Brell", "Tern"]
    assert [set(ends_found(table(), [one], LANGUAGE, exact_first=False)) for one in queries] == [
        {"Tern", "Brell"}
    ] * 2


def test_each_of_the_three_thresholds_counts() -> None:
    query = Query("Ada", "place", None)
    entity, relation = 1 - embed(["Ada B."])[0, 0].item(), 1 - torch.tensor(0.2).cos().item()
    assert find(table(), query, Thresholds(1, 1, 1))[-1].score == pytest.approx(
        entity / 2, abs=1e-6
    )
    assert len(find(table(), query, Thresholds(entity + 1e-3, 1, 1))) == 2
    assert len(find(table(), query, Thresholds(entity - 1e-3, 1, 1))) == 1
    assert len(find(table(), query, Thresholds(1, relation - 1e-3, 1))) == 1
    assert find(table(), query, Thresholds(1, 1, min(entity, relation) / 2 - 1e-3)) == []


def test_the_order_of_writes_does_not_change_what_is_found() -> None:
    said = [*SAID, Triple("Ada", "place", "Vale")]
    found = [
        set(ends_found(table(order), [Query("Ada", "place", None)], LANGUAGE))
        for order in permutations(said)
    ]
    assert all(one == found[0] for one in found)


def test_an_empty_table_and_an_unknown_relation_give_nothing() -> None:
    query = Query("Ada", "author", None)
    assert find(TripleTable(embed), query, LANGUAGE) == []
    assert find(table(), query, LANGUAGE) == []


def test_only_a_text_that_is_not_stored_gets_a_vector() -> None:
    made = table()
    asked: list[str] = []

    def noted(texts: Sequence[str]) -> Tensor:
        asked.extend(texts)
        return embed(texts)

    made.embed = noted
    find(made, Query("Ada", "born in", None), LANGUAGE)
    assert asked == []
    find(made, Query("Ada", "birthplace", None), LANGUAGE)
    assert asked == ["birthplace"]


def test_a_threshold_that_is_no_distance_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"thresholds\.mean"):
        Thresholds(0.1, 0.1, 2.5)

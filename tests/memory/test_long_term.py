"""The long-term memory against plain Python: eviction, order of reading, forks."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from memplus.config import CounterEviction, Eviction, NoEviction, OldestEviction
from memplus.memory.long_term import LongTermPool
from memplus.memory.packing import pack
from memplus.memory.repacking import repacked
from memplus.memory.rows import RowTable

LAYERS = 2


@dataclass
class Row:
    name: int
    birth: int
    counter: float


def empty_store(rule: Eviction, retrieved: int) -> LongTermPool:
    columns = {
        "v": torch.zeros(0, 1),
        "key": torch.zeros(0, 2),
        "birth": torch.zeros(0, dtype=torch.int64),
        "write_id": torch.zeros(0, dtype=torch.int32),
    }
    if rule.kind == "counter":
        columns["counter"] = torch.zeros(0)
    return LongTermPool([RowTable(columns) for _ in range(LAYERS)], rule, retrieved)


def dropped_rows(births: list[list[int]], first: int, write: int) -> dict[str, torch.Tensor]:
    count = len(births[0])
    names = torch.arange(first, first + count).expand(LAYERS, count)
    generator = torch.Generator().manual_seed(first)
    return {
        "v": names[..., None].float(),
        "key": torch.randn(LAYERS, count, 2, generator=generator),
        "birth": torch.tensor(births),
        "write_id": torch.full((LAYERS, count), write, dtype=torch.int32),
    }


def evicted(rows: list[Row], rule: Eviction, retrieved: int, writes: int) -> list[Row]:
    """One layer after one write, the slow way."""
    if isinstance(rule, OldestEviction):
        while len(rows) > rule.max_rows:
            oldest = min(row.birth for row in rows)
            rows.remove(next(row for row in rows if row.birth == oldest))
    elif isinstance(rule, CounterEviction) and writes % rule.every == 0:
        alive = [row for row in rows if row.counter - rule.decay > 0.01]
        if len(alive) > retrieved:
            for row in rows:
                row.counter -= rule.decay
            return alive
    return rows


RULES = st.one_of(
    st.just(NoEviction()),
    st.builds(OldestEviction, max_rows=st.integers(1, 12)),
    st.builds(
        CounterEviction,
        every=st.integers(1, 4),
        initial=st.sampled_from([1.0, 2.0, 3.0]),
        decay=st.sampled_from([0.5, 1.0, 1.5]),
    ),
)


@settings(max_examples=80, deadline=None)
@given(
    rule=RULES,
    retrieved=st.integers(1, 6),
    writes=st.lists(
        st.lists(st.tuples(*[st.integers(-5, 5)] * LAYERS), min_size=0, max_size=4),
        min_size=1,
        max_size=12,
    ),
)
def test_eviction_equals_plain_lists(
    rule: Eviction, retrieved: int, writes: list[list[tuple[int, ...]]]
) -> None:
    store = empty_store(rule, retrieved)
    expected: list[list[Row]] = [[] for _ in range(LAYERS)]
    forks: list[tuple[LongTermPool, list[list[int]]]] = []
    named = 0
    for number, births in enumerate(writes, start=1):
        columns = None
        if births:
            columns = dropped_rows([list(layer) for layer in zip(*births)], named, number)
        forks.append((store.fork(), [[row.name for row in layer] for layer in expected]))
        store.append(columns)
        for layer, rows in enumerate(expected):
            initial = rule.initial if isinstance(rule, CounterEviction) else 0.0
            rows += [Row(named + i, row[layer], initial) for i, row in enumerate(births)]
            expected[layer] = evicted(rows, rule, retrieved, number)
        named += len(births)
        for table, rows in zip(store.tables, expected, strict=True):
            assert table["v"][:, 0].long().tolist() == [row.name for row in rows]
            assert table["birth"].tolist() == [row.birth for row in rows]
            if rule.kind == "counter":
                assert table["counter"].tolist() == pytest.approx([row.counter for row in rows])
    for fork, names in forks:  # no fork ever saw a later write
        for table, rows_then in zip(fork.tables, names, strict=True):
            assert table["v"][:, 0].long().tolist() == rows_then


@settings(max_examples=60, deadline=None)
@given(
    births=st.lists(st.integers(-3, 3), min_size=1, max_size=20),
    retrieved=st.integers(1, 8),
    tokens=st.integers(1, 4),
    seed=st.integers(0, 100),
)
def test_retrieval_equals_a_sort_in_plain_python(
    births: list[int], retrieved: int, tokens: int, seed: int
) -> None:
    store = empty_store(NoEviction(), retrieved)
    columns = dropped_rows([births] * LAYERS, 0, 1)
    store.append(columns)
    queries = torch.randn(tokens, 2, generator=torch.Generator().manual_seed(seed))

    chosen, scores = store.retrieve(1, queries)

    keys = columns["key"][1].tolist()
    slow = []
    for key in keys:
        logits = [sum(q * k for q, k in zip(query, key)) for query in queries.tolist()]
        slow.append(sum(torch.tensor(x).sigmoid().item() for x in logits) / tokens)
    assert scores.tolist() == pytest.approx(slow, abs=1e-5)
    best = sorted(range(len(slow)), key=lambda i: -slow[i])[:retrieved]
    # Oldest first; among equal ages the higher index first.
    assert chosen.tolist() == sorted(best, key=lambda i: (births[i], -i))


def test_forks_share_storage_until_both_append() -> None:
    """The first to append keeps the storage, the other one moves: neither sees the other."""
    store = empty_store(NoEviction(), 2)
    store.append(dropped_rows([[1, 2]] * LAYERS, 0, 1))
    fork = store.fork()
    store.append(dropped_rows([[3]] * LAYERS, 10, 2))
    fork.append(dropped_rows([[4]] * LAYERS, 20, 2))
    store.append(dropped_rows([[5]] * LAYERS, 30, 3))
    for table, other in zip(store.tables, fork.tables, strict=True):
        assert table["v"][:, 0].tolist() == [0, 1, 10, 30]
        assert other["v"][:, 0].tolist() == [0, 1, 20]


def span_store(rule: Eviction, retrieved: int, span: int) -> LongTermPool:
    """Of spans, with keys in layer 1 alone."""
    tables = []
    for layer, table in enumerate(empty_store(rule, retrieved).tables):
        columns = {n: c for n, c in table.columns().items() if n != "key" or layer == 1}
        tables.append(RowTable(columns))
    return LongTermPool(tables, rule, retrieved, span=span)


def dropped_spans(births: list[int], span: int, write: int = 1) -> dict[str, torch.Tensor]:
    """One span for each birth of a last row."""
    rows = [birth - back for birth in births for back in reversed(range(span))]
    columns = dropped_rows([rows] * LAYERS, 10 * write, write)
    return columns | {"key": columns["key"][1:]}


@settings(max_examples=60, deadline=None)
@given(
    births=st.lists(st.integers(-3, 3), min_size=1, max_size=12),
    wanted=st.integers(1, 4),
    span=st.integers(1, 4),
    seed=st.integers(0, 100),
)
def test_retrieving_spans_equals_a_sort_in_plain_python(
    births: list[int], wanted: int, span: int, seed: int
) -> None:
    store = span_store(NoEviction(), wanted * span, span)
    columns = dropped_spans(births, span)
    store.append(columns)
    generator = torch.Generator().manual_seed(seed)
    prompts = [torch.randn(tokens, 2, generator=generator) for tokens in (3, 1)]
    for queries, matches in zip(prompts, store.span_matches(prompts), strict=True):
        scores = matches.mean(dim=0)
        chosen = store.best_spans(scores)
        slow = []
        for at in range(len(births)):
            keys = [key / key.norm() for key in columns["key"][0, at * span : at * span + span]]
            best = [max(float(query @ key) for key in keys) for query in queries]
            slow.append(sum(best) / len(best))
        assert scores.tolist() == pytest.approx(slow, abs=1e-5)
        found = sorted(range(len(slow)), key=lambda i: -slow[i])[:wanted]
        found = sorted(found, key=lambda i: (births[i], -i))
        assert chosen.tolist() == [at * span + row for at in found for row in range(span)]


@pytest.mark.parametrize(
    ("retrieved", "scores", "expected"),
    [
        (2, [1, 5, 4, 9, 2, 3], [9, 12]),  # the better one of both sides, though 5 is higher
        (2, [1, 5, 2, 9, 4, 3], [12, 15]),
        (1, [1, 5, 2, 9, 4, 3], [12]),
        (3, [1, 5, 2, 9, 4, 3], [3, 12, 15]),  # the next best brings no one along any more
        (4, [9, 8, 1, 7, 2, 3], [3, 6, 12, 15]),  # who was taken along brings nobody
        (2, [1, 9, 2, 3, 4, 5], [3, 18]),  # nobody stands beside it: 6 is not there
        (2, [1, 5, -torch.inf, 9, -torch.inf, 3], [3, 12]),
        (9, [1, 5, 2, 9, 4, 3], [3, 6, 9, 12, 15, 18]),
    ],
)
def test_a_span_takes_its_better_neighbour_along(
    retrieved: int, scores: list[float], expected: list[int]
) -> None:
    births = [6, 3, 9, 12, 15, 18]
    if expected == [3, 18]:
        births[0] = 24
    store = span_store(NoEviction(), retrieved * 3, 3)
    store.append(dropped_spans(births, 3))
    chosen = store.best_spans(torch.tensor(scores, dtype=torch.float32), neighbours=True)
    last = chosen.view(-1, 3)[:, -1]
    assert store.tables[1]["birth"][last].tolist() == expected
    assert chosen.tolist() == [int(at) - back for at in last for back in (2, 1, 0)]


def test_the_oldest_spans_go_whole() -> None:
    store = span_store(OldestEviction(max_rows=8), 3, 3)
    store.append(dropped_spans([9, 3], 3))
    fork = store.fork()
    assert fork.span == 3
    fork.append(dropped_spans([6], 3, 2))
    for table in fork.tables:
        assert table["birth"].tolist() == [7, 8, 9, 4, 5, 6]
    assert [len(table) for table in store.tables] == [6, 6]
    assert [("key" in table.names) for table in fork.tables] == [False, True]


def test_no_span_is_retrieved_where_none_is_stored() -> None:
    store = span_store(NoEviction(), 3, 3)
    (matches,) = store.span_matches([torch.ones(2, 2)])
    assert matches.shape == (2, 0)
    assert len(store.best_spans(matches.mean(dim=0))) == 0


def test_keys_in_8_bits_find_the_same_spans() -> None:
    """400 prompts, each near one of 2000 spans whose neighbours are alike, the eight best."""
    generator = torch.Generator().manual_seed(0)
    span, spans, width = 4, 2000, 32
    topics = torch.randn(spans // 10, 1, width, generator=generator)
    places = topics.repeat_interleave(10, dim=0) + 0.4 * torch.randn(
        spans, span, width, generator=generator
    )
    rows = {
        "v": torch.zeros(spans * span, 1),
        "key": places.flatten(0, 1),
        "birth": torch.arange(spans * span),
        "write_id": torch.zeros(spans * span, dtype=torch.int32),
    }
    exact = LongTermPool([RowTable(rows)], NoEviction(), 8 * span, span=span)
    packed = LongTermPool(
        [repacked(RowTable(rows), "int8", keys=True)],
        NoEviction(),
        8 * span,
        rows="int8",
        span=span,
    )
    asked = torch.randint(0, spans, (400,), generator=generator)
    prompts = [
        places[one] + 0.3 * torch.randn(span, width, generator=generator) for one in asked.tolist()
    ]
    assert packed.tables[0]["key"].dtype == torch.int8
    same = first = 0
    stores = (one.span_matches(prompts) for one in (exact, packed))
    for left, right in ((mine.mean(dim=0), theirs.mean(dim=0)) for mine, theirs in zip(*stores)):
        mine, theirs = exact.best_spans(left), packed.best_spans(right)
        same += len(set(mine.tolist()) & set(theirs.tolist()))
        first += int(left.argmax() == right.argmax())
    assert same / (400 * 8 * span) >= 0.99
    assert first / 400 >= 0.99


@pytest.mark.parametrize("outside", [False, True], ids=["of a write", "outside of one"])
def test_what_keys_in_2_bits_lie_along_is_not_looked_for_in_the_first_ones_alone(
    outside: bool,
) -> None:
    """The first rows that are dropped are all of one kind; those that stay tell of the others."""
    made = torch.Generator().manual_seed(0)
    turn = torch.linalg.qr(torch.randn(16, 16, generator=made)).Q[:, :8]
    keys = torch.randn(2, 60, 1, 8, generator=made) @ turn.T
    keys[0, :4] = keys[0, :1]  # a short text, again and again
    birth = torch.arange(4)[None]
    first = {"k": keys[:1, :4], "birth": birth, "write_id": birth.int()}
    found = {}
    for beside in (None, {"k": keys[1:]}):
        empty = pack({name: one[0, :0] for name, one in first.items()}, "int2")
        pool = LongTermPool([RowTable(empty)], NoEviction(), 4, rows="int2")
        if outside:
            pool.take_back(0, {name: one[0] for name, one in first.items()}, beside or {})
        else:
            pool.append(first, beside)
        assert pool.tables[0].centres["k.leading"].shape == (1, 16, 14)
        pool.append(first | {"k": keys[:1, 20:24]}, beside)
        read = pool.take(0, "k", torch.arange(4, 8), torch.float32)
        wanted = keys[0, 20:24]
        found[beside is None] = float((read - wanted).norm() / wanted.norm())
    assert found[False] < 0.2 < 0.4 < found[True]


def test_what_rows_had_in_common_goes_with_the_last_of_them() -> None:
    birth = torch.arange(4)[None]
    rows = {"v": torch.randn(1, 4, 16), "birth": birth, "write_id": birth.int()}
    empty = pack({name: one[0, :0] for name, one in rows.items()}, "int8")
    pool = LongTermPool([RowTable(empty)], NoEviction(), 4, rows="int8")
    pool.append(rows)
    pool.forget(torch.tensor([0, 1, 2], dtype=torch.int32))
    assert set(pool.tables[0].centres) == {"v"}
    pool.forget(torch.tensor([3], dtype=torch.int32))
    assert len(pool) == 0
    assert not pool.tables[0].centres

"""Writing: chunks, tails, batches, interruption, budgets, what must change nothing."""

from __future__ import annotations

import signal
from dataclasses import replace
from typing import Any

import pytest
import torch
from tests.fakes import CONFIG, LAYERS, make_mplus, some_ids

from memplus import Memory, MPlus
from memplus.config import CounterEviction, Eviction, MemoryConfig, NoEviction, OldestEviction
from memplus.errors import BudgetError, EmptyTextError, MemplusError, UsageError

TOLERANCE = 2e-5


def contents(memory: Memory) -> dict[str, Any]:
    """Everything a memory is, apart from its model."""
    seen: dict[str, Any] = {
        "tail": list(memory.tail),
        "tail_source": memory.tail_source if memory.tail else "",
        "writes": list(memory.writes),
        "sources": dict(memory.source_tokens),
        "clock": memory.clock,
        "generator": memory.generator.get_state().clone(),
    }
    if memory.pool is not None:
        seen["count"] = memory.pool.count
        seen |= {f"pool {n}": t.clone() for n, t in memory.pool.tensors().items()}
    if memory.long_term is not None:
        seen["waiting"] = (memory.long_term.waiting, memory.long_term.writes_since_merge)
        for layer, table in enumerate(memory.long_term.tables):
            seen |= {f"store {layer} {n}": c.clone() for n, c in table.columns().items()}
    return seen


def assert_equal(left: dict[str, Any], right: dict[str, Any], tolerance: float = 0.0) -> None:
    assert left.keys() == right.keys()
    for name, value in left.items():
        if not isinstance(value, torch.Tensor):
            assert value == right[name], name
        elif tolerance and value.is_floating_point():
            assert value.shape == right[name].shape, name
            assert torch.allclose(value, right[name], rtol=0, atol=tolerance), name
        else:
            assert torch.equal(value, right[name]), name


def test_what_fills_no_chunk_waits_and_nothing_is_lost() -> None:
    model = make_mplus()
    memory, at_once = model.new_memory(), model.new_memory()
    text = some_ids(47).tolist()
    receipts = []
    for start, stop in ((0, 3), (3, 4), (4, 25), (25, 30), (30, 47)):
        receipts.append(model.write(memory, text[start:stop], source="a"))
        assert len(memory.tail) == stop % 10
        assert memory.tokens + len(memory.tail) == stop
    assert [r.chunks for r in receipts] == [0, 0, 2, 1, 1]
    assert [r.waiting for r in receipts] == [3, 4, 5, 0, 7]
    model.write(at_once, text, source="a")
    assert_equal(contents(memory), contents(at_once))
    assert [(r.start, r.tokens) for r in memory.writes] == [(i, 10) for i in range(0, 40, 10)]
    flushed = model.write(memory, some_ids(3, seed=2).tolist(), source="a", flush=True)
    assert (flushed.chunks, memory.tail) == (1, [])
    assert memory.tokens == 50


def test_a_new_source_starts_its_own_chunk() -> None:
    model = make_mplus()
    memory = model.new_memory()
    model.write(memory, some_ids(14).tolist(), source="a")
    receipt = model.write(memory, some_ids(12, seed=1).tolist(), source="b")
    assert receipt.chunks == 2
    found = [(r.id, r.source, r.start, r.tokens) for r in memory.writes]
    assert found == [(1, "a", 0, 10), (2, "a", 10, 4), (3, "b", 0, 10)]
    assert memory.tail == some_ids(12, seed=1).tolist()[10:]
    model.write(memory, some_ids(3, seed=2).tolist(), source="a")
    assert [(r.source, r.start, r.tokens) for r in memory.writes[3:]] == [("b", 10, 2)]
    assert memory.tail_source == "a"


def test_the_tail_is_read_as_text_before_the_prompt() -> None:
    model = make_mplus(config=replace(CONFIG, retrieved_tokens=0))
    memory, short = model.new_memory(), model.new_memory()
    model.write(memory, some_ids(26).tolist())
    model.write(short, some_ids(26).tolist()[:20])
    prompt = some_ids(5, seed=4)
    with torch.no_grad():
        found = model(prompt, memory=memory).logits
        whole = torch.cat([some_ids(26)[20:], prompt])
        expected = model(whole, memory=short).logits[:, 6:]
    assert found.shape == expected.shape
    assert (found - expected).abs().max().item() <= TOLERANCE


@pytest.mark.parametrize("name", ["llama", "gpt_neox", "mistral-window"])
def test_a_batch_of_writes_equals_single_writes(name: str) -> None:
    """Memories in different states: empty, growing, full, with tails, other sources, lengths."""
    model = make_mplus(name)
    texts = [some_ids(n, seed=n).tolist() for n in (31, 9, 12, 55, 1)]
    sources = ["x", "y", "x", "z", "x"]

    def starts() -> list[Memory]:
        made = [model.new_memory(seed=i) for i in range(5)]
        for memory, tokens in zip(made[1:], (4, 13, 68, 100), strict=True):
            model.write(memory, some_ids(tokens, seed=tokens).tolist(), source="x")
        return made

    for flush in (False, True):
        alone, together = starts(), starts()
        single = [
            model.write(m, t, source=s, flush=flush)
            for m, t, s in zip(alone, texts, sources, strict=True)
        ]
        batch = model.write(together, texts, source=sources, flush=flush)
        assert batch == single
        for left, right in zip(alone, together, strict=True):
            assert_equal(contents(left), contents(right), TOLERANCE)


def test_progress_counts_up_to_all_tokens() -> None:
    model = make_mplus()
    seen: list[tuple[int, int]] = []
    memories = [model.new_memory(), model.new_memory(1)]
    texts = [some_ids(30).tolist(), some_ids(20).tolist()]
    model.write(memories, texts, progress=lambda done, total: seen.append((done, total)))
    assert [total for _, total in seen] == [50] * len(seen)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert seen[-1] == (50, 50)


@pytest.mark.parametrize("after", [0, 1, 2, 3])
@pytest.mark.parametrize("tail", [0, 4])
@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError, MemoryError])
def test_an_interruption_between_chunks_leaves_what_was_written(
    after: int, tail: int, error: type[BaseException]
) -> None:
    model = make_mplus()
    memory, expected = model.new_memory(), model.new_memory()
    for one in (memory, expected):
        model.write(one, some_ids(20 + tail, seed=5).tolist(), source="a")
    text = some_ids(45).tolist()
    chunks: list[int] = []

    def stop(done: int, total: int) -> None:
        chunks.append(done)
        if len(chunks) == after:
            raise error

    if after == 0:
        handle = model.backbone.layers[2].module.register_forward_pre_hook(_raising(error))
        with pytest.raises(error):
            model.write(memory, text, source="a", progress=stop)
        handle.remove()
    else:
        with pytest.raises(error):
            model.write(memory, text, source="a", progress=stop)
        model.write(expected, text[: 10 * after - tail], source="a")
    assert_equal(contents(memory), contents(expected))
    # It is valid: it can be read and written like the other one.
    for one in (memory, expected):
        model.write(one, some_ids(15, seed=8).tolist(), source="b")
    assert_equal(contents(memory), contents(expected))


def _raising(error: type[BaseException]) -> Any:
    def fail(module: Any, args: Any) -> None:
        raise error

    return fail


def test_an_interruption_inside_a_chunk_leaves_the_chunks_before_it() -> None:
    model = make_mplus()
    memory, expected = model.new_memory(), model.new_memory()
    calls: list[int] = []

    def fail(module: Any, args: Any) -> None:
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt

    handle = model.backbone.layers[1].module.register_forward_pre_hook(fail)
    with pytest.raises(KeyboardInterrupt):
        model.write(memory, some_ids(50).tolist())
    handle.remove()
    model.write(expected, some_ids(50).tolist()[:20])
    assert_equal(contents(memory), contents(expected))


def test_ctrl_c_during_the_update_waits_until_it_is_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """The signal comes while rows are being moved: the chunk is finished, then it is raised."""
    model = make_mplus()
    memory, expected = model.new_memory(), model.new_memory()
    take_in = Memory.take_in

    def interrupted(self: Memory, *args: Any) -> None:
        if len(self.writes) == 2:
            signal.raise_signal(signal.SIGINT)
        take_in(self, *args)

    handler = signal.getsignal(signal.SIGINT)
    monkeypatch.setattr(Memory, "take_in", interrupted)
    with pytest.raises(KeyboardInterrupt):
        model.write(memory, some_ids(50).tolist())
    monkeypatch.undo()
    assert signal.getsignal(signal.SIGINT) is handler
    model.write(expected, some_ids(50).tolist()[:30])
    assert_equal(contents(memory), contents(expected))


BAD_DROPS: dict[str, tuple[torch.Tensor, str]] = {
    "shape": (torch.arange(5).expand(LAYERS, 5), "has shape"),
    "layers": (torch.arange(6).expand(3, 6), "has shape"),
    "one dimension": (torch.arange(6), r"must be \[L, c\]"),
    "too high": (torch.arange(19, 25).expand(LAYERS, 6), "outside 0..23"),
    "negative": (torch.arange(-1, 5).expand(LAYERS, 6), "outside"),
    "twice": (torch.tensor([[0, 1, 2, 3, 4, 4]]).expand(LAYERS, 6), "twice"),
}


@pytest.mark.parametrize("case", BAD_DROPS)
def test_a_drop_that_does_not_fit_changes_nothing(case: str) -> None:
    drop, words = BAD_DROPS[case]
    model = make_mplus()
    memory = model.new_memory()
    model.write(memory, some_ids(60).tolist())
    before = contents(memory)
    with pytest.raises(UsageError, match=words):
        model.write_chunk(memory, some_ids(10), drop=drop)
    assert_equal(contents(memory), before)
    fresh = model.new_memory()
    with pytest.raises(UsageError):
        model.write_chunk(fresh, some_ids(10), drop=drop)
    assert_equal(contents(fresh), contents(model.new_memory()))


def test_a_given_drop_is_what_is_dropped() -> None:
    model = make_mplus()
    memory = model.new_memory()
    for seed in range(4):
        model.write_chunk(memory, some_ids(10, seed=seed))
    pool = memory.pool
    assert pool is not None
    rows = pool.rows_at(pool.slot_order())
    drop = torch.stack([torch.randperm(24)[:6] for _ in range(LAYERS)])
    generator = memory.generator.get_state()

    model.write_chunk(memory, some_ids(10, seed=9), drop=drop)

    assert torch.equal(memory.generator.get_state(), generator)
    assert memory.long_term is not None
    after = pool.rows_at(pool.slot_order())
    for layer in range(LAYERS):
        dropped = drop[layer].sort().values
        stays = [i for i in range(24) if i not in dropped.tolist()]
        for name in ("k", "v", "key"):
            assert torch.equal(memory.long_term.tables[layer][name], rows[name][layer, dropped])
            assert torch.equal(after[name][layer, :18], rows[name][layer, stays])
        assert after["write_id"][layer, 18:].tolist() == [5] * 6


@pytest.mark.parametrize(
    ("text", "error"),
    [("", EmptyTextError), (" \n\t", EmptyTextError), ([], EmptyTextError), ([-1], UsageError),
     ([1, 260], UsageError)],
)  # fmt: skip
def test_bad_text_changes_nothing(text: Any, error: type[MemplusError]) -> None:
    model = make_mplus()
    memory, other = model.new_memory(), model.new_memory(1)
    model.write(memory, some_ids(14).tolist())
    before = contents(memory)
    with pytest.raises(error) as caught:
        model.write(memory, text)
    assert caught.value.exit_code == 2
    with pytest.raises(error):
        model.write([other, memory], [some_ids(30).tolist(), text])
    assert_equal(contents(memory), before)
    assert other.tokens == 0
    if text == [1, 260]:
        with pytest.raises(UsageError):
            model.write_chunk(other, torch.tensor(text))


def test_one_memory_twice_or_uneven_lists_are_refused() -> None:
    model = make_mplus()
    memory = model.new_memory()
    text = some_ids(12).tolist()
    with pytest.raises(UsageError, match="same memory twice"):
        model.write([memory, memory], [text, text])
    with pytest.raises(UsageError, match="1 memories, 2 texts"):
        model.write([memory], [text, text])
    assert memory.tokens == 0


EVICTIONS: list[Eviction] = [
    NoEviction(), OldestEviction(max_rows=15), CounterEviction(every=2, initial=2.0, decay=1.0)
]  # fmt: skip


@pytest.mark.parametrize("name", ["llama", "gpt_neox"])
@pytest.mark.parametrize("rule", EVICTIONS, ids=lambda rule: rule.kind)
def test_the_budget_is_said_before_it_is_spent(name: str, rule: Eviction) -> None:
    model = make_mplus(name, replace(CONFIG, eviction=rule))
    free = model.new_memory()
    model.write(free, some_ids(95).tolist(), source="a")
    needed = free.nbytes

    memory = model.new_memory(max_bytes=needed)
    tight = model.new_memory(max_bytes=needed - 1)
    if rule.kind != "counter":  # its peak is not its end, so only the refusal is exact there
        model.write(memory, some_ids(95).tolist(), source="a")
        assert memory.nbytes == needed
    ran: list[int] = []
    handle = model.backbone.decoder.register_forward_pre_hook(lambda m, a: ran.append(1))
    with pytest.raises(BudgetError) as caught:
        model.write(tight, some_ids(95).tolist(), source="a")
    handle.remove()
    assert caught.value.exit_code == 2
    assert not ran
    assert (tight.tokens, tight.tail) == (0, [])
    if rule.kind != "counter":
        said = caught.value.fields
        assert (said["needed"], said["given"]) == (needed, needed - 1)


def test_a_tail_alone_needs_no_budget() -> None:
    model = make_mplus()
    memory = model.new_memory(max_bytes=10)
    model.write(memory, some_ids(9).tolist())
    assert len(memory.tail) == 9
    with pytest.raises(BudgetError):
        model.write(memory, some_ids(1).tolist())
    with pytest.raises(BudgetError):
        model.write(memory, some_ids(1).tolist(), source="other")
    assert len(memory.tail) == 9


def test_writes_of_a_chunk_too_long_for_the_model_are_refused() -> None:
    with pytest.raises(MemplusError):
        make_mplus(config=replace(CONFIG, chunk_tokens=250))


@pytest.mark.parametrize("length", range(1, 14))
def test_a_chunk_may_have_any_length(length: int) -> None:
    model = make_mplus()
    memory = model.new_memory()
    for _ in range(6):
        model.write_chunk(memory, some_ids(length, seed=length))
    assert memory.tokens == 6 * length
    # Each write leaves K rows, or all there is where memory and chunk have fewer.
    made = 0
    for _ in range(6):
        made += min(6, made + length)
    assert memory.short_term_rows == min(24, made)
    assert [record.tokens for record in memory.writes] == [length] * 6


def test_compress_leaves_the_memory_as_it_is_and_says_what_a_write_would_make() -> None:
    model = make_mplus()
    memory = model.new_memory()
    model.write(memory, some_ids(40).tolist())
    before = contents(memory)
    rows = model.compress(memory, some_ids(8))
    assert_equal(contents(memory), before)
    assert rows.requires_grad
    model.write_chunk(memory, some_ids(8))
    kept = memory.recent(6)
    assert kept is not None
    assert (kept - rows).abs().max().item() <= TOLERANCE


def test_the_write_pass_makes_neither_cache_nor_logits() -> None:
    model = make_mplus()
    heads: list[int] = []
    caches: list[Any] = []
    model.model.lm_head.register_forward_pre_hook(lambda m, a: heads.append(1))  # type: ignore[union-attr]
    model.backbone.decoder.register_forward_hook(
        lambda m, a, out: caches.append(out.past_key_values)
    )
    model.write(model.new_memory(), some_ids(30).tolist())
    assert heads == []
    assert caches == [None] * 3


def test_same_seed_and_text_give_the_same_memory_and_answers() -> None:
    first, second = make_mplus(), make_mplus()
    memories = []
    answers = []
    for model, noise in ((first, 1), (first, 2), (second, 3)):
        torch.manual_seed(noise)  # global randomness must not matter
        memory = model.new_memory(seed=7)
        model.write(memory, "The quick brown fox jumps over the lazy dog, twice a day." * 3)
        memories.append(contents(memory))
        answers.append(model.ask(memory, "What jumps?", max_new_tokens=6))
    for other, reply in zip(memories[1:], answers[1:], strict=True):
        assert_equal(memories[0], other)
        assert (reply.text, reply.evidence) == (answers[0].text, answers[0].evidence)
    model = first
    elsewhere = model.new_memory(seed=8)
    model.write(elsewhere, "The quick brown fox jumps over the lazy dog, twice a day." * 3)
    assert not torch.equal(
        contents(elsewhere)["store 0 birth"], memories[0]["store 0 birth"]
    )  # another seed forgets other rows


def config_with(**changes: Any) -> MemoryConfig:
    return replace(CONFIG, **changes)


def model_with(**changes: Any) -> MPlus:
    return make_mplus(config=config_with(**changes))


def test_one_draw_serves_all_layers_where_the_config_says_so() -> None:
    shared, own = model_with(drop="shared"), model_with()
    for model, same in ((shared, True), (own, False)):
        memory = model.new_memory()
        model.write(memory, some_ids(80).tolist())
        assert memory.pool is not None
        order = memory.pool.rows_at(memory.pool.slot_order())["birth"]
        assert bool((order == order[:1]).all()) == same


@pytest.mark.parametrize("source", [5, None, b"x", [5], [b"x"]])
def test_a_source_that_is_no_text_is_refused(source: Any) -> None:
    model = make_mplus()
    memory = model.new_memory()
    with pytest.raises(UsageError, match="source is text"):
        model.write([memory], [[1, 2, 3]], source=source)
    assert not memory.tail


def test_rows_do_not_depend_on_the_callers_autocast() -> None:
    model, text = make_mplus(), some_ids(105).tolist()
    usual, cast = (model.new_memory(seed=4) for _ in range(2))
    model.write(usual, text, flush=True)
    with torch.autocast("cpu", torch.bfloat16):
        model.write(cast, text, flush=True)
    assert_equal(contents(cast), contents(usual))

"""Which spans a read takes where later ones replace earlier ones, in every way that one is made."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from tests.fakes import (
    ADAPTERS,
    distance,
    make_model,
    make_mplus,
    padded,
    several,
    slow_pass,
    some_ids,
)
from tests.passes.test_joint import check
from tests.passes.test_span_queries import SPANS, TOLERANCE, written
from tests.reference.spans import SpanMemory

from memplus import Memory, MPlus
from memplus.config import SpanRetrieval
from memplus.data.stream import Told
from memplus.memory.packing import RowKind
from memplus.memory.span_places import SpanPlaces
from memplus.memory.superseding import replaced
from memplus.mplus.joint_reader import JointReader
from memplus.passes.span_choice import SpanChoice, SpansBefore, choose_spans
from memplus.passes.span_queries import span_queries
from memplus.systems.note_rows import recall

PROMPTS = [some_ids(length, seed=seed) for seed, length in enumerate((5, 9, 1, 7), 50)]


def replacing(short: int = 48, **changes: Any) -> Any:
    way = SpanRetrieval(span_rows=4, layer=2, weighs=True, supersedes=True)
    return replace(SPANS, short_term_tokens=short, retrieval=replace(way, **changes))


@torch.no_grad()
def rule(model: MPlus, memory: Memory, seed: int = 9, bias: float = 0.0) -> None:
    """A random rule that calls some pairs of spans replaced, and some not."""
    drawn = torch.randn(8, generator=torch.Generator().manual_seed(seed)) * 2
    drawn[-1] = bias
    assert model.weights.superseding is not None
    model.weights.superseding.copy_(drawn)
    memory.weights_version = model.core.weights_version  # no row depends on the rule


def with_rule(
    name: str, config: Any, seed: int = 9, bias: float = 0.0
) -> tuple[MPlus, Memory, SpanMemory]:
    model, memory, slow = written(name, config)
    rule(model, memory, seed, bias)
    return model, memory, slow


def gone(slow: SpanMemory, prompt: torch.Tensor) -> list[int]:
    """Births of the spans that another one replaces for a prompt."""
    return [birth for birth, score in slow.standing(prompt).items() if score == -torch.inf]


@pytest.mark.long
@pytest.mark.parametrize("weighs", [True, False])
@pytest.mark.parametrize("name", ["llama", "qwen2", "llama-dynamic", "gemma3"])
@torch.no_grad()
def test_a_read_is_that_of_a_slow_reference(name: str, weighs: bool) -> None:
    model, memory, slow = written(name, replacing(weighs=weighs))
    differing = {"long": 0, "short": 0, "none": 0}
    for seed, prompt in zip((1, 3, 9, 2), PROMPTS, strict=True):
        rule(model, memory, seed)
        slow.eager = make_model(name, attention="eager")  # a stock model remembers long texts
        found = model(prompt, memory=memory).logits[0]
        assert distance(found, slow.logits(prompt)) <= TOLERANCE
        births = gone(slow, prompt)
        short = {span.birth for span in slow.short}
        differing["long"] += any(birth not in short for birth in births)
        differing["short"] += any(birth in short for birth in births)
        differing["none"] += not births
    assert all(differing.values()), differing


@torch.no_grad()
def chosen_otherwise(prompts: list[torch.Tensor], seeds: tuple[int, ...], config: Any) -> int:
    """How many prompts, whose reads are those of a slow reference, read other spans than the best.

    The best are those of the highest scores; each prompt is read under a rule of its own.
    """
    model, memory, slow = written("llama", config)
    other = 0
    for seed, prompt in zip(seeds, prompts, strict=True):
        if model.weights.superseding is not None:
            rule(model, memory, seed)
        slow.eager = make_model("llama", attention="eager")
        assert distance(model(prompt, memory=memory).logits[0], slow.logits(prompt)) <= TOLERANCE
        births, standing = {one.birth for one in slow.chosen(prompt)}, slow.standing(prompt)
        by_score = sorted((one.birth for one in slow.long), key=lambda birth: -standing[birth])
        other += births != set(by_score[: len(births)])
    return other


@pytest.mark.long
@pytest.mark.parametrize("changes", [{}, {"supersedes": False}, {"weighs": False}])
def test_a_read_with_neighbours_is_that_of_a_slow_reference(changes: dict[str, bool]) -> None:
    assert chosen_otherwise(PROMPTS, (1, 3, 9, 2), replacing(neighbours=True, **changes))


@pytest.mark.long
@pytest.mark.parametrize(
    "changes",
    [{}, {"supersedes": False}, {"weighs": False, "supersedes": False}, {"neighbours": True}],
)
def test_a_read_by_what_tokens_match_far_more_is_that_of_a_slow_reference(
    changes: dict[str, bool],
) -> None:
    prompts = [some_ids(3 + seed % 9, seed=60 + seed) for seed in range(2, 20)]
    assert chosen_otherwise(prompts, tuple(range(18)), replacing(sharpens=True, **changes))


@torch.no_grad()
def test_nothing_is_left_of_what_is_not_read() -> None:
    """As if the spans were not there; what stands behind them keeps its place."""
    model, memory, slow = with_rule("llama", replacing(weighs=False))
    for prompt in PROMPTS:
        spans = [*slow.chosen(prompt), *slow.short]
        births = gone(slow, prompt)
        rows = torch.cat([slow.bos(), *(span.hidden for span in spans)], dim=1)
        hidden = torch.zeros(len(model.backbone.layers), rows.shape[1])
        for place, span in enumerate(spans):
            if span.birth in births:
                start = slow.bos().shape[1] + 4 * place
                hidden[:, start : start + 4] = torch.finfo(torch.float32).min / 2
        expected = slow_pass(slow.eager, rows, prompt, bias=hidden)[0]
        assert distance(model(prompt, memory=memory).logits[0], expected) <= TOLERANCE


def test_a_later_span_is_read_wherever_the_earlier_one_would_have_been() -> None:
    model, memory, _ = with_rule("llama", replacing(), bias=30)  # the newest replaces all others
    assert memory.long_term is not None
    before = SpansBefore(memory, memory.long_term)
    for prompt in PROMPTS:
        queries = torch.randn(len(prompt), 8, generator=torch.Generator().manual_seed(len(prompt)))
        (matches,) = memory.long_term.span_matches([queries])
        some = before.compared(before.matches(queries, matches).mean(dim=0))
        newest = int(some.places[some.births.argmax()])
        (choice,) = choose_spans(model.weights, memory, [queries])
        if newest < matches.shape[1]:
            assert newest * 4 in choice.rows.tolist()
        left = choice.scores[::4].isneginf().nonzero().squeeze(1).tolist()
        compared = [at for at in some.places.tolist() if at != newest and at < matches.shape[1]]
        assert left == sorted(compared)
        assert choice.behind is not None
        assert bool(choice.behind.isfinite().all())


@pytest.mark.parametrize("changes", [{"sharpens": True}, {"sharpens": True, "neighbours": True}])
def test_what_replaces_a_span_of_the_pool_is_read_whatever_its_score(
    changes: dict[str, bool],
) -> None:
    """The pool's span would have been read, since all of them are."""
    model, memory, _ = with_rule("llama", replacing(short=16, **changes))
    assert memory.long_term is not None
    before, seen = SpansBefore(memory, memory.long_term), 0
    most = model.memory_config.retrieved_tokens // 4
    for seed in range(200):
        rule(model, memory, seed, bias=3.0)
        queries = torch.randn(5, 8, generator=torch.Generator().manual_seed(seed))
        (matches,) = memory.long_term.span_matches([queries])
        count = matches.shape[1]
        some = before.compared(before.matches(queries, matches).mean(dim=0))
        assert model.weights.superseding is not None
        pairs = replaced(model.weights.superseding, queries, some.unit, some.births)
        of_pool = pairs & (some.places >= count)[:, None]
        standing = of_pool.any(dim=0) & ~pairs.any(dim=1) & (some.places < count)
        (choice,) = choose_spans(model.weights, memory, [queries])
        wanted = set((some.places[standing] * 4).tolist())
        assert len(wanted - set(choice.rows.tolist())) == max(0, len(wanted) - most)
        seen += len(wanted)
    assert seen > 5


@pytest.mark.parametrize("name", ["llama", "gemma3"])
@torch.no_grad()
def test_prompts_of_a_batch_read_what_single_ones_do(name: str) -> None:
    model, memory, slow = with_rule(name, replacing(), seed=3)
    assert len({bool(gone(slow, prompt)) for prompt in PROMPTS}) == 2
    ids, mask = padded(PROMPTS)
    for memories in (memory, [memory.fork() for _ in PROMPTS], [memory] * 3 + [memory.fork()]):
        together = model(ids, attention_mask=mask, memory=memories).logits
        for row, prompt in enumerate(PROMPTS):
            alone = model(prompt, memory=memory).logits[0]
            assert distance(together[row, -len(prompt) :], alone) <= TOLERANCE


@torch.no_grad()
def test_what_is_not_read_stays_unread_in_all_that_follows() -> None:
    model, memory, slow = with_rule("llama", replacing())
    prompt = next(one for one in PROMPTS if gone(slow, one))
    options: dict[str, Any] = {"memory": memory, "max_new_tokens": 6, "eos_token_id": None}
    made = model.generate(prompt[None], **options)[0]
    spans = [*slow.chosen(prompt), *slow.short]
    rows = torch.cat([slow.bos(), *(span.hidden for span in spans)], dim=1)
    logits = slow_pass(slow.eager, rows, made[:-1], bias=slow.bias(prompt, spans))[0]
    assert made[len(prompt) :].tolist() == logits[len(prompt) - 1 :].argmax(dim=-1).tolist()
    drafted = model.generate(prompt[None], **options, prompt_lookup_num_tokens=3)[0]
    assert torch.equal(made, drafted)
    beams = model.generate(prompt[None], **options, num_beams=2)
    pair = model.generate(torch.stack([prompt, prompt]), **options, num_beams=2)
    assert torch.equal(pair, beams.expand(2, -1))


@pytest.mark.long
def test_reads_that_go_on_together_read_what_single_ones_do() -> None:
    model = make_mplus("llama", replace(replacing(), short_term_tokens=16, adapters=ADAPTERS))
    rule(model, model.new_memory())
    memories = several(model)
    assert sum(one.long_term_rows > 0 for one in memories) >= 3
    check(model, [*memories, None])


@pytest.mark.parametrize("rows", ["int8", "int4", "int2"])
@torch.no_grad()
def test_packed_rows_leave_out_the_same_spans(rows: RowKind) -> None:
    model, memory, _ = with_rule("llama", replacing())
    packed = memory.fork()
    packed.pack(rows)
    assert packed.long_term is not None
    assert packed.long_term.tables[2].dtype("key") == torch.int8
    same = 0
    for prompt in PROMPTS:
        queries = torch.randn(len(prompt), 8, generator=torch.Generator().manual_seed(len(prompt)))
        left, right = (choose_spans(model.weights, one, [queries])[0] for one in (memory, packed))
        assert left.unread is not None
        assert right.unread is not None
        same += torch.equal(left.rows, right.rows) and torch.equal(left.unread, right.unread)
        assert bool(model(prompt, memory=packed).logits.isfinite().all())
    assert same >= len(PROMPTS) - 1


def choice_of(model: MPlus, memory: Memory, prompt: torch.Tensor) -> SpanChoice:
    asked = torch.ones_like(prompt[None], dtype=torch.bool)
    queries = span_queries(model.backbone, model.weights, prompt[None], asked)
    return choose_spans(model.weights, memory, queries)[0]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@torch.no_grad()
def test_whatever_stands_in_unread_rows_changes_nothing(dtype: torch.dtype) -> None:
    model = make_mplus("llama", replace(replacing(), short_term_tokens=24)).to(dtype)
    memory = model.new_memory(seed=1)
    rule(model, memory, bias=60)
    model.write(memory, some_ids(32, seed=1).tolist())
    assert memory.long_term is not None
    assert memory.pool is not None
    assert memory.long_term_rows == 8
    reader, changed = JointReader(model.core), {"stored": 0, "pool": 0}
    for prompt in PROMPTS:
        twin = memory.fork()
        choice = choice_of(model, memory, prompt)
        assert choice.unread is not None
        stored, own = choice.unread.tensor_split([8])
        assert twin.long_term is not None
        assert twin.pool is not None
        for table in twin.long_term.tables:
            values = table["v"].clone()
            values[choice.rows[stored != 0]] = 60
            table.replace("v", values)
        twin.pool.columns = {**twin.pool.columns, "v": twin.pool.columns["v"].clone()}
        twin.pool.columns["v"][:, : twin.pool.count][:, own != 0] = 60
        expected = model(prompt, memory=memory).logits
        assert torch.equal(model(prompt, memory=twin).logits, expected)
        together = []
        for one in (memory, twin):
            read = reader.begin(one, prompt.tolist(), 1)
            reader.find([(read, 99)])
            together.append(reader.step([read.piece(99)])[0])
        assert together[0] is not None
        assert together[1] is not None
        assert torch.equal(*together)
        changed["stored"] += int((stored != 0).sum())
        changed["pool"] += int((own != 0).sum())
    assert all(changed.values()), changed


@torch.no_grad()
def test_an_empty_memory_is_read_beside_others() -> None:
    for config in (replacing(), replacing(supersedes=False), replacing(weighs=False)):
        model = make_mplus("llama", config)
        blank, short, full = model.new_memory(), model.new_memory(), model.new_memory()
        model.write(short, some_ids(8).tolist())
        model.write(full, some_ids(80).tolist())
        assert blank.long_term is None
        assert not short.long_term_rows
        assert full.long_term_rows
        prompt = PROMPTS[0]
        together = model(torch.stack([prompt] * 3), memory=[blank, full, short]).logits
        for row, one in enumerate((blank, full, short)):
            assert distance(together[row], model(prompt, memory=one).logits[0]) <= TOLERANCE


def test_what_is_not_read_is_no_evidence() -> None:
    model = make_mplus("llama", replace(replacing(), short_term_tokens=24))
    memory = model.new_memory(seed=2)
    rule(model, memory, bias=60)  # the newest of the spans compared replaces the others
    model.write(memory, some_ids(32, seed=9).tolist())
    assert memory.long_term is not None
    assert memory.long_term_rows == 8  # both spans are retrieved, whatever their scores
    before, places = SpansBefore(memory, memory.long_term), SpanPlaces.of(memory)
    of_pool = of_stored = 0
    for question in ("Who?", "What is it that was told?", "Where did they go?", "Why, then?"):
        ids = torch.tensor([model.asker.encode(question)])
        asked = torch.ones_like(ids, dtype=torch.bool)
        (queries,) = span_queries(model.backbone, model.weights, ids, asked)
        (matches,) = memory.long_term.span_matches([queries])
        some = before.compared(before.matches(queries, matches).mean(dim=0))
        left = some.births.sort().values.tolist()[:-1]
        # A write of eight tokens leaves two spans of four.
        unread = {(write, places.tokens(write, one)[0]) for one in left for write in [-(-one // 8)]}
        answer = model.ask(memory, question, max_new_tokens=2)
        assert answer.evidence
        assert not unread & {(one.write_id, one.start % 8) for one in answer.evidence}
        stored = memory.long_term.span_births(torch.arange(2)).tolist()
        retrieved = model.retrieve(memory, question)
        assert len(retrieved) == sum(birth not in left for birth in stored)
        assert all(abs(one.score) < 100 for one in retrieved)
        for birth in set(stored) & set(left):
            told = Told("", birth - 4, birth)
            prefix = model.asker.reader.prefill(ids, memory)
            found = recall(memory, prefix, 0, told)["statement"]
            assert (found.stored, found.retrieved) == ([1], [0])
        of_pool += len(set(left) - set(stored))
        of_stored += len(set(left) & set(stored))
    assert of_pool
    assert of_stored

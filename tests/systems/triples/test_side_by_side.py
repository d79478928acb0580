from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from random import Random
from typing import TypeVar

import pytest
import torch
from tests.backbone.test_lora import drawn
from tests.fakes import ADAPTERS, CONFIG, make_mplus

from memplus.backbone.lora import Lora, LoraSizes
from memplus.errors import EmptyTextError, PositionsError
from memplus.mplus.core import Core
from memplus.passes.joint import JointSession
from memplus.systems.memllm.late_stopping import LateStopping
from memplus.systems.triples import side_by_side as module
from memplus.systems.triples.decoding import Continuation, Decoded, Decoding, decode, never
from memplus.systems.triples.side_by_side import Job, Outcome, side_by_side

NEOX = LoraSizes(targets=("query_key_value", "dense"))
Result = TypeVar("Result")
DECODERS = ("llama", "qwen3", "gpt_neox", "mistral-window", "gemma2")


@pytest.fixture(scope="module")
def core() -> Core:
    return make_mplus(config=replace(CONFIG, adapters=ADAPTERS)).core


@pytest.fixture(scope="module")
def lora(core: Core) -> Lora:
    return drawn(core.backbone)


def texts(count: int, longest: int = 90, seed: int = 0) -> list[list[int]]:
    """Token ids of ragged texts."""
    random = Random(seed)
    return [random.choices(range(1, 250), k=random.randint(1, longest)) for _ in range(count)]


def saying(text: Continuation, limit: int, **rules: object) -> Job[Decoded]:
    return (yield Decoding(text, limit, **rules))  # type: ignore[arg-type]


def values(outcomes: Sequence[Outcome[Decoded]]) -> list[Decoded]:
    return [one.value() for one in outcomes]


def said_alone(
    core: Core, lora: Lora | None, ids: Sequence[Sequence[int]], limits: Sequence[int]
) -> list[tuple[int, ...]]:
    together = zip(ids, limits, strict=True)
    return [decode(Continuation(core, lora, one), limit=most).ids for one, most in together]


@pytest.mark.long
@pytest.mark.parametrize("name", DECODERS)
def test_ragged_texts_say_together_what_each_says_alone(name: str) -> None:
    core = make_mplus(name, attention="eager" if "gemma" in name else "sdpa").core
    lora = drawn(core.backbone, *([NEOX] if name == "gpt_neox" else []))
    # More than there are lanes, so that some begin when others have ended.
    ids = texts(20)
    limits = [Random(n).randint(0, 16) for n in range(20)]
    for adapter in (lora, None):
        jobs = [
            saying(Continuation(core, adapter, one), most)
            for one, most in zip(ids, limits, strict=True)
        ]
        found = values([*side_by_side(core, adapter, jobs)])
        assert [one.ids for one in found] == said_alone(core, adapter, ids, limits)


def test_what_was_said_has_the_text_and_the_chances_it_has_alone(core: Core, lora: Lora) -> None:
    ids = texts(5, seed=1)
    jobs = [saying(Continuation(core, lora, one), 8) for one in ids]
    for one, found in zip(ids, values([*side_by_side(core, lora, jobs)]), strict=True):
        alone = decode(Continuation(core, lora, one), limit=8)
        assert replace(found, log_probs=()) == replace(alone, log_probs=())
        assert found.log_probs == pytest.approx(alone.log_probs, abs=1e-4)


def stopping_late(text: Continuation, stop: int) -> Job[tuple[list[int], dict[int, float]]]:
    late = LateStopping(stop, len(text), patience=3)
    yield Decoding(text, 30, ends={stop}, choose=late.choose)
    return late.kept, late.marks


@pytest.mark.long
@pytest.mark.parametrize("name", DECODERS[:3])
def test_late_stopping_cuts_each_text_where_it_cuts_it_alone(name: str) -> None:
    core = make_mplus(name).core
    ids = texts(10, seed=2)
    common = [token for one in said_alone(core, None, ids, [30] * 10) for token in one]
    stop = max(set(common), key=common.count)
    jobs = [stopping_late(Continuation(core, None, one), stop) for one in ids]
    together = [one.value() for one in side_by_side(core, None, jobs)]
    alone = []
    for one in ids:
        text = Continuation(core, None, one)
        late = LateStopping(stop, len(text), patience=3)
        decode(text, limit=30, ends={stop}, choose=late.choose)
        alone.append((late.kept, late.marks))
    assert [kept for kept, _ in together] == [kept for kept, _ in alone]
    assert any(marks for _, marks in alone)
    for (_, marks), (_, expected) in zip(together, alone, strict=True):
        assert marks == pytest.approx(expected, abs=1e-4)


def test_texts_stop_at_their_own_stops_and_by_their_own_rules(core: Core, lora: Lora) -> None:
    ids = texts(6, seed=3)
    plain = [decode(Continuation(core, lora, one), limit=10) for one in ids]
    rules: list[dict[str, object]] = [
        {"stops": (core.decode(plain[0].ids[3:5]),)},
        {"ends": {plain[1].ids[2]}},
        {"choose": never([plain[2].ids[0]])},
        {"choose": never([plain[3].ids[1]]), "stops": ("never said",)},
        {"choose": lambda _: None},
        {},
    ]
    together = [
        saying(Continuation(core, lora, one), 10, **rule)
        for one, rule in zip(ids, rules, strict=True)
    ]
    found = values([*side_by_side(core, lora, together)])
    for one, rule, said in zip(ids, rules, found, strict=True):
        alone = decode(Continuation(core, lora, one), limit=10, **rule)  # type: ignore[arg-type]
        assert (said.ids, said.stop, said.cut) == (alone.ids, alone.stop, alone.cut)
    assert len({one.stop for one in found}) > 2


def two_parts(text: Continuation, between: Sequence[int]) -> Job[tuple[int, ...]]:
    first = yield Decoding(text, 5)
    text.extend(between)
    second = yield Decoding(text, 0)
    third = yield Decoding(text, 6)
    text.rewind(len(text) - 4)
    fourth = yield Decoding(text, 3)
    other = Continuation(text.core, text.lora, text.ids[2:])
    fifth = yield Decoding(other, 3)
    return sum((one.ids for one in (first, second, third, fourth, fifth)), ())


def test_a_job_goes_on_behind_what_it_splices_in_and_takes_back(core: Core, lora: Lora) -> None:
    ids = texts(10, seed=4)
    jobs = [two_parts(Continuation(core, lora, one), one[:7]) for one in ids]
    together = [one.value() for one in side_by_side(core, lora, jobs)]
    for one, found in zip(ids, together, strict=True):
        assert found == finished(two_parts(Continuation(core, lora, one), one[:7]))
    short = Continuation(core, lora, [5])
    (outcome,) = side_by_side(core, lora, [taking_all_back(short)])
    assert outcome.value() == said_alone(core, lora, [[9]], [4])[0]


def finished(job: Job[Result]) -> Result:
    """What a job returns whose texts are gone on with one after the other."""
    decoding = next(job)
    while True:
        try:
            decoding = job.send(decoding.finish())
        except StopIteration as ended:
            value: Result = ended.value
            return value


def taking_all_back(text: Continuation) -> Job[tuple[int, ...]]:
    yield Decoding(text, 3)
    text.rewind(0)
    text.extend([9])
    said = yield Decoding(text, 4)
    return said.ids


@pytest.mark.parametrize("name", ["llama", "gpt_neox", "mistral-window"])
def test_texts_that_go_on_from_one_that_was_read_read_it_no_more(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    core = make_mplus(name, changes={"sliding_window": 6} if "window" in name else {}).core
    begun = Continuation(core, None, texts(1, seed=5)[0] * 3)
    begun.scores()
    tails: list[list[int]] = [*texts(5, 12, seed=6), []]
    jobs = [saying(forked(begun, tail), 6) for tail in tails]
    read: list[int] = []
    plain = JointSession.arguments

    def counted(session: JointSession) -> dict[str, object]:
        read.extend(len(piece.ids) for piece in session.pieces)
        return plain(session)

    monkeypatch.setattr(JointSession, "arguments", counted)
    found = values([*side_by_side(core, None, jobs)])
    assert (max(read) == max(map(len, tails))) == (name != "mistral-window")
    for tail, one in zip(tails, found, strict=True):
        whole = Continuation(core, None, [*begun.ids, *tail])
        assert one.ids == decode(whole, limit=6).ids
    assert decode(begun, limit=6).ids == found[-1].ids


def forked(text: Continuation, tail: Sequence[int]) -> Continuation:
    other = text.fork()
    other.extend(tail)
    return other


def test_a_text_that_fails_leaves_the_others_alone(core: Core, lora: Lora) -> None:
    good = texts(6, seed=7)
    many = core.positions - 3
    long = texts(1, seed=8)[0] * many
    ids = [good[0], long[: core.positions + 1], good[1], [], good[2], long[:many], *good[3:]]
    jobs = [saying(Continuation(core, lora, one), 6) for one in ids]
    found = [*side_by_side(core, lora, jobs)]
    kinds = [type(one.error) for one in found]
    none = type(None)
    assert kinds == [none, PositionsError, none, EmptyTextError, none, PositionsError, *[none] * 3]
    with pytest.raises(PositionsError):
        found[1].value()
    fine = [one.value().ids for one in found if one.error is None]
    assert fine == said_alone(core, lora, good, [6] * 6)


def broken(text: Continuation, where: str) -> Job[str]:
    if where == "before":
        raise ValueError(where)
    try:
        said = yield Decoding(text, 4, choose=partial(failing, where))
    except KeyError:
        said = yield Decoding(text, 2)
    if where == "after":
        raise ValueError(where)
    return said.text


def failing(where: str, scores: torch.Tensor) -> int:
    if where in ("rule", "mended"):
        raise (ValueError if where == "rule" else KeyError)(where)
    return int(scores.argmax())


def test_what_a_job_raises_is_its_outcome_wherever_it_is_raised(core: Core, lora: Lora) -> None:
    ids = texts(6, seed=9)
    kinds = ("before", "rule", "after", "mended")
    jobs = [
        broken(Continuation(core, lora, one), kind) for one, kind in zip(ids, kinds, strict=False)
    ]
    others = [broken(Continuation(core, lora, one), "nowhere") for one in ids[4:]]
    found = [*side_by_side(core, lora, [*jobs, *others])]
    assert [str(one.error) for one in found[:3]] == [*kinds[:3]]
    plain = [decode(Continuation(core, lora, one), limit=4).text for one in ids[4:]]
    assert [one.value() for one in found[4:]] == plain
    mended = decode(Continuation(core, lora, ids[3]), limit=2).text
    assert found[3].value() == mended


def test_outcomes_come_in_order_and_jobs_begin_when_there_is_room(
    core: Core, lora: Lora, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[int] = []
    limits = [25, *[1] * 99]
    monkeypatch.setattr(module, "_LANES", 40)

    def job(number: int) -> Job[int]:
        begun.append(number)
        yield Decoding(Continuation(core, lora, [number + 1]), limits[number])
        return number

    found = side_by_side(core, lora, (job(number) for number in range(100)))
    assert not begun
    assert next(found).value() == 0
    assert len(begun) <= 41
    assert [one.value() for one in found] == [*range(1, 100)]


def test_texts_under_way_and_tokens_of_a_pass_are_limited(
    core: Core, monkeypatch: pytest.MonkeyPatch
) -> None:
    passes: list[tuple[int, int]] = []
    plain = JointSession.arguments

    def counted(session: JointSession) -> dict[str, object]:
        counts = [len(piece.ids) for piece in session.pieces]
        passes.append((len(counts), sum(counts)))
        return plain(session)

    monkeypatch.setattr(JointSession, "arguments", counted)
    monkeypatch.setattr(module, "_PASS_TOKENS", 70)
    ids = texts(24, seed=10)
    jobs = (saying(Continuation(core, None, one), 5) for one in ids)
    found = values([*side_by_side(core, None, jobs)])
    assert [one.ids for one in found] == said_alone(core, None, ids, [5] * 24)
    assert max(count for count, _ in passes) <= 16
    assert max(tokens for _, tokens in passes) <= 70
    passes.clear()
    monkeypatch.setattr(module, "_OPEN_TOKENS", 100)
    jobs = (saying(Continuation(core, None, one), 5) for one in ids)
    narrow = values([*side_by_side(core, None, jobs)])
    assert [one.ids for one in narrow] == [one.ids for one in found]
    assert max(count for count, _ in passes) < 16


def test_the_model_is_as_it_was_between_two_outcomes_and_afterwards(core: Core, lora: Lora) -> None:
    ids = torch.tensor([texts(1, seed=11)[0]])

    @torch.no_grad()
    def stock() -> torch.Tensor:
        logits: torch.Tensor = core.backbone.model(input_ids=ids, use_cache=False).logits
        return logits

    before, state = stock(), core.backbone.adapters.state()
    limits = (3, 40, 3)
    jobs = (saying(Continuation(core, lora, [n + 1]), n) for n in limits)
    for _ in side_by_side(core, lora, jobs):
        assert stock().equal(before)
        assert torch.is_grad_enabled()
        assert core.backbone.adapters.state() == state


def test_texts_whose_angles_depend_on_their_length_are_read_one_after_the_other() -> None:
    # The library's frequencies depend on what was read before, so each way has a fresh model.
    core, other = (make_mplus("llama-dynamic").core for _ in range(2))
    assert core.backbone.rope.changing
    ids = [*texts(6, 40, seed=12), []]
    jobs = [saying(Continuation(core, None, one), 12) for one in ids]
    *found, failed = side_by_side(core, None, jobs)
    assert [one.ids for one in values(found)] == said_alone(other, None, ids[:6], [12] * 6)
    assert isinstance(failed.error, EmptyTextError)

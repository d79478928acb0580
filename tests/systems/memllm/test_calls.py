from collections.abc import Iterable, Iterator, Sequence

import pytest
import torch
from tests.fakes import make_mplus
from tests.systems.conftest import SHARED, SMALL
from tests.systems.memllm.tiny_weights import ANSWERS, TOLD, tiny_weights

from memplus.errors import PositionsError
from memplus.mplus.adapter_folder import load_adapter
from memplus.systems.memllm import calls
from memplus.systems.memllm.calls import Generator, Reading, Writing, question_prompt
from memplus.systems.memllm.grammar import ARROW, END, START, parse_read
from memplus.systems.memllm.late_stopping import Divisor
from memplus.systems.triples.decoding import LIMIT, Continuation, Decoded
from memplus.systems.triples.rows import Triple
from memplus.systems.triples.side_by_side import Job, Outcome

GATE = "The gate is red, and nobody came."
ONE_TOKEN = 259
"""A token that the tiny model's tokenizer has no text for."""


@pytest.fixture(scope="module")
def generator() -> Generator:
    core = SHARED.mplus.core
    return Generator(core, load_adapter(tiny_weights() / "write", core.backbone))


def test_sentences_become_their_triples_alone_and_together(generator: Generator) -> None:
    told = [("", sentence) for sentence in TOLD]
    together = [one.value() for one in generator.write(told, "generated", 5)]
    assert [one.triples for one in together] == list(TOLD.values())
    assert all(one.parses for one in together)
    alone = [next(generator.write([one], "generated", 5)).value() for one in told]
    assert alone == together


def test_what_is_no_whole_call_says_nothing() -> None:
    untrained = Generator(SHARED.mplus.core, None)
    written = next(untrained.write([("", GATE)], None, 5)).value()
    assert (written.triples, written.parses) == ((), False)


def test_a_reader_stops_at_the_call_and_at_its_end(generator: Generator) -> None:
    prompt = question_prompt("What is the gate?")
    reading = Reading(generator, 20)
    assert reading.text([prompt], may_call=True) == START
    call = reading.call([prompt, START])
    assert call.endswith(ARROW)
    assert parse_read(call) == [ANSWERS["What is the gate?"][0]]
    assert reading.text([prompt, START, call, "red;blue", "})"], may_call=True) == " blue"


def test_where_no_call_is_allowed_none_is_begun(generator: Generator) -> None:
    prompt = question_prompt("What is the gate?")
    assert not Reading(generator, 6).text([prompt], may_call=False).startswith("(")
    assert START not in Reading(generator, 6, may_call=False).text([prompt], may_call=True)


def test_going_back_in_a_context_gives_what_a_fresh_reader_gives(generator: Generator) -> None:
    prompt = question_prompt("Who slept?")
    used = Reading(generator, 60)
    for context in ([prompt], [prompt, START], [question_prompt("What is red?")], [prompt]):
        fresh = Reading(generator, 60)
        assert used.call(context) == fresh.call(context)


def test_all_text_together_is_limited(generator: Generator) -> None:
    reading = Reading(Generator(generator.core, None), 5, may_call=False)
    prompt = question_prompt("Nobody asked this.")
    assert len(reading.text([prompt], may_call=True).encode()) >= 5
    assert reading.text([prompt], may_call=True) == ""


def say(monkeypatch: pytest.MonkeyPatch, prompt: str, script: str) -> None:
    """Let the model say a script behind a prompt, and ``x`` where it may not.

    Its vocabulary has ``({`` as one token, as large ones do beside ``(`` and ``{``.
    """
    core = SHARED.mplus.core
    plain, start = core.decode, len(core.encode(prompt))

    def decode(ids: Sequence[int]) -> str:
        return START if [*ids] == [ONE_TOKEN] else plain(ids)

    def scores(text: Continuation) -> torch.Tensor:
        found = torch.full((core.vocabulary,), -9.0)
        found[core.encode("x")] = -1.0
        place = len(text) - start
        said = core.encode(script)[place : place + 1]
        found[said or core.tokenizer.eos_token_id] = 0.0
        return found

    monkeypatch.setattr(core, "decode", decode)
    monkeypatch.setattr(Continuation, "scores", scores)


@pytest.mark.parametrize("prompt", ["What?", "What ("])
def test_no_call_is_put_together_of_two_tokens_where_none_is_allowed(
    monkeypatch: pytest.MonkeyPatch, prompt: str
) -> None:
    say(monkeypatch, prompt, "{a({b(({c({")
    reading = Reading(Generator(SHARED.mplus.core, None), 20, may_call=False)
    first = "x" if prompt.endswith("(") else "{"
    assert reading.text([prompt], may_call=True) == f"{first}a(xb((xc(x"


def test_a_call_may_begin_behind_the_next_token_and_not_in_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for script, bare, free in (("({ab({c", "(xab({", "({"), ("(({c", "(({", "(({")):
        with monkeypatch.context() as patch:
            say(patch, "What?", script)
            for may_call, said in ((False, bare), (True, free)):
                reading = Reading(Generator(SHARED.mplus.core, None), 20)
                assert reading.text(["What?"], may_call=may_call) == said


@pytest.mark.parametrize("divisor", ["generated", None])
def test_a_sentence_that_is_too_long_is_written_in_parts(divisor: Divisor | None) -> None:
    core = make_mplus(config=SMALL, changes={"max_position_embeddings": 128}).core
    small = Generator(core, load_adapter(tiny_weights() / "write", core.backbone))
    for told in (("", f"{GATE}\n\n{GATE}"), ("x" * 60, GATE), ("x" * 99, f"{GATE} {GATE}")):
        written = next(small.write([told], divisor, 5)).value()
        assert (written.triples, written.parses) == (TOLD[GATE], True)
        assert written.text.count(START) == told[1].count(GATE)
    assert next(small.write([("", "x" * 500)], divisor, 5)).error is None


def test_a_text_ends_where_there_is_no_room_for_more() -> None:
    reading = Reading(Generator(SHARED.mplus.core, None), 20, may_call=False)
    prompt = "x" * (SHARED.mplus.core.positions - 3)
    said = reading.text([prompt], may_call=True)
    assert 0 < len(said) <= 3
    assert reading.text([prompt, said, "xxx"], may_call=True) == ""
    with pytest.raises(PositionsError):
        Reading(reading.generator, 20).text([prompt, said, "xxx"], may_call=True)


def write(monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """Let the model say a script to every sentence that it writes."""

    def say_it(_: object, __: object, jobs: Iterable[Job[Writing]]) -> Iterator[Outcome[Writing]]:
        for job in jobs:
            next(job)
            try:
                job.send(Decoded((), script, END if script.endswith(END) else LIMIT, ()))
            except StopIteration as ended:
                yield Outcome((ended.value,))

    monkeypatch.setattr(calls, "side_by_side", say_it)


@pytest.mark.parametrize(
    ("inside", "kept", "dropped"),
    [
        ("a>>is>>b", 1, 0),
        ("", 0, 0),
        ("a>>is>>b;c>>is;;d>>is>>", 1, 2),  # no object, an empty one, and nothing at all
        ("a>>is>>b;a >>is>> b;c;c", 1, 1),  # doubles are not lost
        ("a>>is>>b>;c>>is>>({", 0, 2),  # fields that would break a later call
        ("a>>is>>b-->c;d>>is>>e", 1, 1),
    ],
)
def test_what_a_call_says_and_cannot_be_kept_is_counted(
    monkeypatch: pytest.MonkeyPatch, inside: str, kept: int, dropped: int
) -> None:
    write(monkeypatch, f"({{MEM_WRITE-->{inside}}})")
    written = next(Generator(SHARED.mplus.core, None).write([("", GATE)], None, 5)).value()
    assert written.parses
    assert (len(written.triples), written.dropped) == (kept, dropped)


def test_all_that_a_call_without_an_end_says_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    for script, dropped in (("({MEM_WRITE-->a>>is>>b;c>>", 2), ("a>>is>>b", 0)):
        write(monkeypatch, script)
        written = next(Generator(SHARED.mplus.core, None).write([("", GATE)], None, 5)).value()
        assert (written.triples, written.parses, written.dropped) == ((), False, dropped)


def test_what_is_stored_has_the_dashes_that_were_told(monkeypatch: pytest.MonkeyPatch) -> None:
    write(
        monkeypatch,
        "({MEM_WRITE-->555 \u2013 0199>>since>>1984 \u2013 85;555-0199>>is>>7 \u2013 8})",
    )
    told = ("It was 1984\u201385, or 7 \u2013 8. ", "Call 555-0199.")
    written = next(Generator(SHARED.mplus.core, None).write([told], None, 5)).value()
    assert written.triples == (
        Triple("555-0199", "since", "1984\u201385"),
        Triple("555-0199", "is", "7 \u2013 8"),
    )
    assert written.dropped == 0


def test_triples_that_differ_by_the_form_of_a_dash_are_one(monkeypatch: pytest.MonkeyPatch) -> None:
    write(monkeypatch, "({MEM_WRITE-->7 \u2013 8>>is>>b;7-8>>is>>b})")
    written = next(Generator(SHARED.mplus.core, None).write([("", "7-8 is b.")], None, 5)).value()
    assert (written.triples, written.dropped) == ((Triple("7-8", "is", "b"),), 0)

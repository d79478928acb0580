import pytest
from tests.systems.conftest import SHARED
from tests.systems.memllm.tiny_weights import ANSWERS, TOLD, tiny_weights

from memplus.mplus.adapter_folder import load_adapter
from memplus.systems.memllm.calls import Generator, Reading, question_prompt
from memplus.systems.memllm.grammar import ARROW, START, parse_read

GATE = "The gate is red, and nobody came."


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

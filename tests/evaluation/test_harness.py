from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from tests.systems.conftest import SHARED
from tests.systems.options import spec_for

from memplus.errors import ConfigError, EmptyTextError
from memplus.evaluation.harness import Cut, HarnessModel, Settings
from memplus.systems.mplus import MemorySession
from memplus.systems.protocol import ChatPrompt, Likelihood, Scores, Session
from memplus.systems.registry import SYSTEMS, make_systems

CONTEXT = "The keeper painted the gate red.\n\nQuestion: What is red?"
MARKED = Cut("\n\nQuestion:")


@dataclass(frozen=True)
class Asked:
    """A request, as the harness makes one."""

    args: tuple[Any, ...]


def harness(cut: Cut = MARKED, system: str = "mplus", **settings: Any) -> HarnessModel:
    (made,) = make_systems([system], SHARED)
    return HarnessModel(made, SHARED.reference, cut, Settings(**settings))


def generation(context: str, **options: Any) -> Asked:
    return Asked((context, {"max_gen_toks": 6, **options}))


def told(text: str) -> Session:
    session = make_systems(["mplus"], SHARED)[0].open(0)
    session.write(text)
    return session


# Cutting ----------------------------------------------------------------------------------------


def test_a_context_is_cut_before_the_last_marker() -> None:
    context = f"Question: one\n\nQuestion: two{CONTEXT}"
    before, rest = MARKED.parts(context, SHARED.reference)
    assert before + rest == context
    assert rest == "\n\nQuestion: What is red?"
    without = Cut("\n\nQuestion:", keep_marker=False)
    assert without.parts(context, SHARED.reference) == (before, " What is red?")


def test_a_marker_that_stands_nowhere_is_refused() -> None:
    with pytest.raises(ConfigError, match="stands nowhere"):
        harness(Cut("### ")).generate_until([generation(CONTEXT)])


def test_all_but_the_last_tokens_are_told() -> None:
    before, rest = Cut(last_tokens=9).parts(CONTEXT, SHARED.reference)
    assert before + rest == CONTEXT
    assert len(SHARED.reference([rest])[0]) == 9
    assert Cut(last_tokens=999).parts(CONTEXT, SHARED.reference) == ("", CONTEXT)


@pytest.mark.parametrize(
    "make",
    [
        Cut,
        lambda: Cut("a", last_tokens=3),
        lambda: Cut(last_tokens=0),
        lambda: Settings(batch=0),
        lambda: Settings(window=0),
    ],
)
def test_settings_that_say_nothing_or_too_much_are_refused(make: Callable[[], object]) -> None:
    with pytest.raises(ConfigError):
        make()


@pytest.mark.parametrize("name", SYSTEMS)
def test_every_system_of_the_registry_answers_what_it_can(name: str) -> None:
    spec = spec_for(name)
    model = harness(system=spec)
    found = model.generate_until([generation(CONTEXT, max_gen_toks=2)])
    assert len(found) == 1
    if issubclass(model.system.sessions, Scores):
        ((likely, _),) = model.loglikelihood([Asked((CONTEXT, " red"))])
        (whole,) = harness(system=spec, window=16).loglikelihood_rolling([Asked((CONTEXT,))])
        assert whole < likely < 0


# Generating -------------------------------------------------------------------------------------


def test_an_answer_is_the_systems_own_after_the_told_part() -> None:
    model = harness(Cut("Question:", keep_marker=False))
    (answer,) = model.generate_until([generation(CONTEXT)])
    (reply,) = told("The keeper painted the gate red.\n\n").ask([" What is red?"], max_new_tokens=6)
    assert answer == reply.generated != ""


def test_an_answer_ends_before_the_first_of_its_stops() -> None:
    model = harness()
    (whole,) = model.generate_until([generation(CONTEXT)])
    one, other = whole[3], whole[1]
    (cut,) = model.generate_until([generation(CONTEXT, until=[one, other])])
    assert cut == whole[: min(whole.index(one), whole.index(other))]
    assert model.generate_until([generation(CONTEXT, until=other)]) == [whole.split(other)[0]]


def test_answers_come_in_the_order_of_the_requests_and_contexts_are_told_once() -> None:
    contexts = [f"{text}\n\nQuestion: {n}?" for n in range(3) for text in ("One gate.", "Two.")]
    model = harness(batch=2)
    found = model.generate_until([generation(one) for one in contexts])
    assert model.cost.sessions == 2
    assert model.cost.answers == 6
    assert model.cost.tokens == len(SHARED.encode(["One gate.", "Two."]))
    for context, answer in zip(contexts, found, strict=True):
        assert harness(batch=1).generate_until([generation(context)]) == [answer]


def test_what_is_left_over_is_taken_in_where_that_is_asked_for() -> None:
    """Without it a context shorter than a chunk is no memory at all, but text in the prompt."""
    kept, flushed = harness(), harness(flush=True)
    for model in (kept, flushed):
        model.generate_until([generation("Red.\n\nQuestion: What?")])
    assert kept.cost.most_bytes < flushed.cost.most_bytes


@pytest.mark.parametrize(
    "options",
    [
        {"do_sample": True},
        {"temperature": 0.7},
        {"temperature": 0.7, "do_sample": None},
        {"num_beams": 4},
        {"contrastive": 1},
        {"max_gen_toks": 0},
        {"max_gen_toks": -1},
        {"max_new_tokens": 0, "max_gen_toks": None},
    ],
)
def test_another_answer_than_the_most_likely_one_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(options))):
        harness().generate_until([generation(CONTEXT, **options)])


def test_options_that_change_nothing_are_let_through() -> None:
    plain = harness().generate_until([generation(CONTEXT)])
    for options in (
        {"do_sample": False, "temperature": 0.0, "top_p": 0.9},
        {"do_sample": False, "temperature": 1},  # as LongBench's tasks have it
        {"do_sample": None, "temperature": None},
        {"do_sample": None, "temperature": 0},
    ):
        assert harness().generate_until([generation(CONTEXT, **options)]) == plain


def test_a_context_of_which_nothing_is_asked_is_refused_before_anything_is_told() -> None:
    model = harness(Cut("?", keep_marker=False))
    with pytest.raises(ConfigError, match="leaves nothing to ask"):
        model.generate_until([generation("What? And"), generation("What?")])
    assert model.cost.sessions == 0


# Likelihoods ------------------------------------------------------------------------------------


def test_likelihoods_are_the_systems_own_and_a_space_belongs_to_what_follows() -> None:
    requests = [Asked((CONTEXT + tail, one)) for tail in ("", " ") for one in (" red", "blue")]
    found = harness().loglikelihood(requests)
    session = told("The keeper painted the gate red.")
    assert isinstance(session, Scores)
    rest = "\n\nQuestion: What is red?"
    (expected,) = session.score([rest], [[" red", "blue", "  red", " blue"]])
    for (total, greedy), score in zip(found, expected, strict=True):
        assert isinstance(score, Likelihood)
        assert (total, greedy) == (pytest.approx(score[0]), score.greedy)


@pytest.mark.long
def test_it_is_said_whether_a_continuation_is_what_would_be_generated() -> None:
    """Letter by letter, since the tiny tokenizer has one token for each."""
    model, letters = SHARED.mplus, [chr(number) for number in range(128)]
    true = 0
    for context in letters[65:75]:
        requests = [Asked((f"{CONTEXT}{context}", letter)) for letter in letters]
        found = harness(Cut("?", keep_marker=False)).loglikelihood(requests)
        memory = model.new_memory(0)
        model.write(memory, CONTEXT[:-1])
        ids = torch.tensor([model.encode(context)])
        best = int(model(ids, memory=memory).logits[0, -1].argmax())
        assert [one[1] for one in found] == [model.encode(one) == [best] for one in letters]
        true += sum(one[1] for one in found)
    assert 0 < true < len(letters)


def test_a_continuation_may_follow_a_question_in_the_models_template() -> None:
    cut = Cut("Question:", keep_marker=False)
    (found,) = harness(cut, template=True).loglikelihood([Asked((CONTEXT, " red"))])
    session = told("The keeper painted the gate red.\n\n")
    assert isinstance(session, Scores)
    ((score,),) = session.score([ChatPrompt(" What is red?")], [["red"]])
    assert found[0] == pytest.approx(score[0])


@pytest.mark.parametrize("template", [False, True])
def test_without_a_context_every_token_is_predicted_too(template: bool) -> None:
    (found,) = harness(template=template).loglikelihood([Asked(("", "red"))])
    session = make_systems(["mplus"], SHARED)[0].open(0)
    assert isinstance(session, Scores)
    ((score,),) = session.score(["\n"], [["red"]])
    assert score[1] == 3
    assert found[0] == pytest.approx(score[0])


@pytest.mark.parametrize("template", [False, True])
def test_a_continuation_may_follow_all_that_was_told(template: bool) -> None:
    cut = Cut("Question:", keep_marker=False)
    told_all = CONTEXT[: CONTEXT.index("Question:")] + "Question:"
    (found,) = harness(cut, template=template).loglikelihood([Asked((told_all, "red"))])
    session = told("The keeper painted the gate red.\n\n")
    assert isinstance(session, Scores)
    ((score,),) = session.score(["\n"], [["red"]])
    assert found[0] == pytest.approx(score[0])


def test_a_whole_text_is_predicted_window_by_window_behind_what_was_told() -> None:
    text = "The keeper slept by the gate, and the gate was red."
    model = harness(window=20)
    (found,) = model.loglikelihood_rolling([Asked((text,))])
    first, second, third = text[:20], text[20:40], text[40:]
    session = make_systems(["mplus"], SHARED)[0].open(0)
    assert isinstance(session, Scores)
    parts = [session.score(["\n"], [[first]]), session.score([first], [[second]])]
    session.write(first)
    parts.append(session.score([second], [[third]]))
    assert sum(part[0][0][1] for part in parts) == len(SHARED.reference([text])[0])
    assert found == pytest.approx(sum(part[0][0][0] for part in parts))
    assert model.cost.tokens == 20
    assert harness().loglikelihood_rolling([Asked(("",))]) == [0.0]


@pytest.mark.parametrize("kind", ["loglikelihood", "loglikelihood_rolling"])
def test_a_system_without_likelihoods_says_so_before_anything_is_told(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = harness()
    monkeypatch.setattr(type(model.system), "sessions", Session)
    with pytest.raises(ConfigError, match="no likelihoods"):
        getattr(model, kind)([Asked((CONTEXT, " red")[: 2 if kind == "loglikelihood" else 1])])
    assert model.cost.sessions == 0


# What is said of it -----------------------------------------------------------------------------


def test_the_cut_belongs_to_what_a_result_depends_on() -> None:
    one, other = harness().identity, harness(Cut(last_tokens=5)).identity
    assert one["system"] == other["system"] == "mplus"
    assert one["cut"] != other["cut"]
    assert one["settings"]["seed"] == 0


def test_every_answer_is_handed_on_as_it_comes() -> None:
    seen: list[tuple[str, tuple[Any, ...], object]] = []
    model = harness()
    model.answered = lambda *one: seen.append(one)
    request = generation(CONTEXT)
    answers = model.generate_until([request])
    model.loglikelihood_rolling([Asked(("Red.",))])
    assert seen[0] == ("generate_until", request.args, answers[0])
    assert seen[1][:2] == ("loglikelihood_rolling", ("Red.",))


def test_nothing_is_certain_to_follow_anything() -> None:
    seen: list[object] = []
    model = harness()
    model.answered = lambda kind, args, answer: seen.append(answer)
    requests = [Asked((CONTEXT, "")), Asked((CONTEXT, " red")), Asked((f"{CONTEXT} ", ""))]
    first, second, third = model.loglikelihood(requests)
    assert first == third == (0.0, True)
    assert second == harness().loglikelihood(requests[1:2])[0]
    assert sorted(map(str, seen)) == sorted(map(str, (first, second, third)))
    assert harness(template=True).loglikelihood([Asked((CONTEXT, " "))]) == [(0.0, True)]


def test_an_error_of_the_system_is_not_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*given: object) -> None:
        raise EmptyTextError

    monkeypatch.setattr(MemorySession, "score", fail)
    with pytest.raises(EmptyTextError):
        harness().loglikelihood([Asked((CONTEXT, " red"))])

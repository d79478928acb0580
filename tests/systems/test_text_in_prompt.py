from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tests.fakes import ADAPTERS, make_mplus
from tests.systems.conftest import SHARED, SMALL

from memplus.backbone.text_cache import TextCache
from memplus.errors import CorruptMemoryError, PositionsError
from memplus.systems.full_context import FullContextSystem
from memplus.systems.nothing import BareOptions, BareSystem
from memplus.systems.protocol import ChatPrompt, Scores
from memplus.systems.shared import Adapter, Alone, Shared, log_likelihoods
from memplus.systems.text_in_prompt import ScoringTextSession, TextOptions, TextSession

TEXT = "The gate is red, and nobody came. It rained for days; the keeper slept."
OPTIONS = [" red", " a keeper"]
QUESTIONS = ["What is red?", "Who slept?", "Was it the 7th day?"]
ADAPTED = Shared(lambda: make_mplus(config=replace(SMALL, adapters=ADAPTERS)))


def told(text: str = TEXT, shared: Shared = SHARED, **options: str) -> ScoringTextSession:
    session = FullContextSystem(shared, TextOptions(**options)).open(0)  # type: ignore[arg-type]
    session.write(text, "text")
    assert isinstance(session, ScoringTextSession)
    return session


def scored(session: Scores, *prompts: str | ChatPrompt) -> list[float]:
    found = session.score(prompts, [OPTIONS] * len(prompts))
    return [value for group in found for value, _ in group]


def uncached(session: TextSession, prompt: str | ChatPrompt, adapter: Adapter) -> list[float]:
    """The same likelihoods, everything read at once."""
    shared = session.system.shared
    ids = shared.prompt_ids(prompt, session.text.last(session.tokens))
    pairs = log_likelihoods(shared, None, ids, (" red", " a keeper"), alone=Alone(adapter))
    return [value for value, _ in pairs]


@pytest.mark.parametrize("shared", [SHARED, ADAPTED], ids=["plain", "adapted"])
@pytest.mark.parametrize("adapter", ["read", "none"])
def test_what_goes_on_from_the_kept_text_equals_what_reads_all_to_rounding(
    shared: Shared, adapter: Adapter
) -> None:
    session = told(shared=shared, adapter=adapter)
    prompts: list[str | ChatPrompt] = [ChatPrompt(one, " It is") for one in QUESTIONS]
    prompts += [" The gate", ChatPrompt(QUESTIONS[0])]
    for prompt in prompts:
        expected = uncached(session, prompt, adapter)
        assert scored(session, prompt) == pytest.approx(expected, rel=1e-4)
        assert len(session.known.ids) >= len(TEXT)
    bare = BareSystem(shared, BareOptions(adapter=adapter)).open(0)
    asked = [bare.ask([f"{TEXT}\n\n{one}"], max_new_tokens=6)[0].text for one in QUESTIONS]
    assert [one.text for one in session.ask(QUESTIONS, max_new_tokens=6)] == asked


def test_the_text_is_read_once_and_going_on_reads_only_what_is_new() -> None:
    session, read = told(), []
    embedding = SHARED.mplus.backbone.embedding
    handle = embedding.register_forward_hook(lambda module, given, out: read.append(out.shape[1]))
    try:
        session.ask(QUESTIONS, max_new_tokens=1)
        first = list(read)
        fork = session.fork()
        session.write(" A boat.", "text")
        read.clear()
        session.ask(QUESTIONS[:1], max_new_tokens=1)
        fork.ask(QUESTIONS[:1], max_new_tokens=1)
    finally:
        handle.remove()
    assert first[0] > len(TEXT)
    assert max(first[1:] + read) < len(TEXT) / 2


def test_what_is_kept_holds_nothing_of_any_question() -> None:
    session = told()
    session.ask(QUESTIONS, max_new_tokens=2)
    kept = SHARED.mplus.decode(list(session.known.ids))
    assert TEXT in kept
    other = told()
    other.ask(["Entirely different?"], max_new_tokens=2)
    assert other.known.ids == session.known.ids


@pytest.mark.parametrize("longest", [6, 20])
def test_of_a_long_text_the_end_is_read_as_far_as_the_positions_go(longest: int) -> None:
    text = "".join(chr(ord("a") + place % 26) for place in range(1000))
    session = told(text)
    model, bare = SHARED.mplus, BareSystem(SHARED).open(0)
    (found,) = session.ask([QUESTIONS[0]], max_new_tokens=longest)
    step = model.positions // 64
    beside = len(model.asker.encode(f"x\n\n{QUESTIONS[0]}")) + longest
    kept = model.positions - -(-beside // step) * step
    (expected,) = bare.ask([f"{text[-kept:]}\n\n{QUESTIONS[0]}"], max_new_tokens=longest)
    assert (found.text, found.remark) == (expected.text, f"cut {1000 - kept} of 1000 tokens")
    assert model.positions - step - 1 <= kept + beside <= model.positions
    assert session.tokens == 1000


def test_questions_of_about_the_same_length_have_the_same_text_before_them() -> None:
    session = told("abcdefghij " * 100)
    session.ask(["What is it?"], max_new_tokens=6)
    known = session.known
    session.ask(["What was it?"], max_new_tokens=6)
    assert session.known is known


def test_a_text_that_just_fits_is_not_cut() -> None:
    model = SHARED.mplus
    beside = len(model.asker.encode(f"x\n\n{QUESTIONS[0]}")) - 1
    for more, remark in ((0, ""), (1, "cut")):
        session = told("x" * (model.positions - beside - 6 + more))
        (found,) = session.ask([QUESTIONS[0]], max_new_tokens=6)
        assert found.remark[:3] == remark


def test_what_is_too_long_is_refused_on_wish_and_said() -> None:
    system = FullContextSystem(SHARED, TextOptions(too_long="refuse"))
    assert not issubclass(system.sessions, Scores)
    session = system.open(0)
    session.write(TEXT)
    (fitting,) = session.ask([QUESTIONS[0]], max_new_tokens=6)
    assert (fitting.text, fitting.remark) == (
        told().ask([QUESTIONS[0]], max_new_tokens=6)[0].text,
        "",
    )
    session.write("x" * 300)
    (found,) = session.ask([QUESTIONS[0]], max_new_tokens=6)
    # Nobody looked for an answer, so a question about what was never told is not answered rightly.
    assert (found.text, found.declined) == ("", False)
    assert found.remark == f"refused: {session.tokens + 6} positions are needed, and there are 256"


def test_a_question_that_does_not_fit_by_itself_is_an_error() -> None:
    with pytest.raises(PositionsError):
        told().ask(["x" * 300], max_new_tokens=6)


def test_the_cache_is_saved_with_the_session_and_counted(tmp_path: Path) -> None:
    session = told()
    before = session.nbytes
    session.save(tmp_path / "unasked")
    asked = session.ask(QUESTIONS, max_new_tokens=6)
    layers, heads, width = 4, 2, 8
    rows = len(session.known.ids) * layers * heads * width * 2 * 4
    assert session.nbytes == before + rows + 4 * len(session.known.ids)
    session.save(tmp_path / "s")
    saved = (tmp_path / "s").stat().st_size
    assert abs(saved - session.nbytes) < 3000
    loaded = session.system.load(tmp_path / "s")
    assert loaded.known.ids == session.known.ids
    for ours, theirs in zip(session.known.layers, loaded.known.layers, strict=True):
        assert torch.equal(ours[0], theirs[0])
        assert torch.equal(ours[1], theirs[1])
    assert loaded.ask(QUESTIONS, max_new_tokens=6) == asked
    assert loaded.nbytes == session.nbytes
    unasked = session.system.load(tmp_path / "unasked")
    assert (unasked.known, unasked.nbytes) == (TextCache(), before)


def test_a_file_whose_parts_do_not_fit_is_refused(tmp_path: Path) -> None:
    session = told()
    session.ask(QUESTIONS[:1], max_new_tokens=1)
    whole = session.known
    session.known = TextCache(whole.ids[1:], whole.layers)
    session.save(tmp_path / "s")
    with pytest.raises(CorruptMemoryError, match="keys"):
        session.system.load(tmp_path / "s")
    session.known = whole
    session.text.tokens += 1
    session.save(tmp_path / "s")
    with pytest.raises(CorruptMemoryError, match="lengths"):
        session.system.load(tmp_path / "s")


def test_the_first_token_after_an_empty_prompt_is_given() -> None:
    session = told()
    ((found, count),) = session.score([""], [[" It rained."]])[0]
    shared = SHARED
    given = shared.prompt_ids("", TEXT + " ")
    ((expected, _),) = log_likelihoods(shared, None, given, ["It rained."])
    assert count == len(" It rained.") - 1
    assert found == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("family", ["mistral-window", "qwen2-window", "gemma3"])
def test_a_model_that_looks_back_through_windows_keeps_what_its_later_tokens_see(
    family: str,
) -> None:
    shared = Shared(lambda: make_mplus(family, config=SMALL))
    session = told(shared=shared)
    for question in QUESTIONS:
        prompt = ChatPrompt(question)
        expected = uncached(session, prompt, "read")
        assert scored(session, prompt) == pytest.approx(expected, rel=1e-3)


def test_nothing_is_kept_where_frequencies_change_with_the_length() -> None:
    shared = Shared(lambda: make_mplus("phi3-longrope-long", config=SMALL))
    session = told(shared=shared)
    prompt = ChatPrompt(QUESTIONS[0])
    assert scored(session, prompt) == uncached(session, prompt, "read")
    assert session.known == TextCache()

"""One benchmark on several systems: what is recorded, resumed, counted and refused."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
from tests.evaluation.conftest import BOOKS, silent
from tests.systems.conftest import SHARED

from memplus.errors import ConfigError, DamagedRunError, RunMismatchError, UsageError
from memplus.evaluation.benchmark import Benchmark, plans_digest, run_benchmark, unable
from memplus.evaluation.engine.judging import Judge
from memplus.evaluation.engine.plan import Plan, Question, Step
from memplus.evaluation.engine.runfile import alone_in
from memplus.evaluation.made import Made
from memplus.evaluation.tasks.bench_task import BenchTask, Inputs
from memplus.systems.bm25 import BM25System
from memplus.systems.mplus import MemoryLLMSystem, MemorySession, MPlusSystem
from memplus.systems.nothing import BareSystem, NothingSession, NothingSystem
from memplus.systems.protocol import System
from memplus.systems.registry import make_systems


@dataclass(frozen=True)
class Gate(BenchTask):
    name: ClassVar[str] = "gate"
    title: ClassVar[str] = "a gate"
    axis: ClassVar[str] = "tokens"
    judge: ClassVar[Judge] = Judge("contains", max_new_tokens=2)

    colour: str = "red"
    plans_made: int = 2

    def plans(self, inputs: Inputs) -> Sequence[Plan]:
        text = f"The gate is {self.colour}. " * 5
        asked = tuple(
            Question(f"gate/{index}", "gate", "What is red?", ("gate",), wanted=index)
            for index in range(2)
        )
        step = Step((text,), len(inputs.reference([text])[0]), "text", asked)
        return [Plan(f"plan {one}", one, (step,), asked) for one in range(self.plans_made)]


@dataclass(frozen=True)
class Likely(Gate):
    judge: ClassVar[Judge] = Judge("likelihood")


INPUTS = Inputs(Path("absent"), SHARED.reference, 6, lambda: BOOKS)


def systems(*names: str) -> list[System]:
    return make_systems(names or ("mplus", "memoryllm", "nothing"), SHARED)


def run(folder: Path, *names: str, task: BenchTask | None = None) -> Benchmark:
    return run_benchmark(systems(*names), task or Gate(), INPUTS, folder, silent)


def lines(folder: Path, system: str) -> list[str]:
    return (folder / system / "answers.jsonl").read_text().splitlines()


def fail(*args: object, **kwargs: object) -> None:
    raise RuntimeError("no more room")


def answers(folder: Path, system: str) -> dict[tuple[str, str], str]:
    """What was said at last, by plan and question."""
    found = [json.loads(line) for line in lines(folder, system)[1:]]
    return {(one["plan"], one["key"]): one["said"] for one in found if "said" in one}


def test_every_system_has_its_own_file_and_all_are_summed_up(tmp_path: Path) -> None:
    found = run(tmp_path)
    assert json.loads((tmp_path / "summary.json").read_text()) == json.loads(
        json.dumps(found.to_dict())
    )
    # A head, two plans of two questions, and the end of each stream that was written.
    assert [len(lines(tmp_path, one)) for one in ("mplus", "memoryllm", "nothing")] == [7, 5, 5]
    mplus, memoryllm, nothing = found.results
    assert [(one.wanted, one.asked) for one in mplus.figures] == [(0, 2), (1, 2)]
    assert mplus.tokens_written == memoryllm.tokens_written > 0
    assert memoryllm.seconds_writing == mplus.seconds_writing > 0
    assert mplus.bytes_per_token > memoryllm.bytes_per_token > 0
    assert nothing.state_bytes == 0
    assert found.errors == 0


def test_a_system_is_added_to_a_run_and_the_others_are_not_asked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = run(tmp_path, "mplus")

    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError("asked again")

    monkeypatch.setattr(MemorySession, "ask", refuse)
    both = run(tmp_path, "mplus", "bare")
    assert both.results[0].figures == first.results[0].figures
    assert both.results[1].errors == 0


def test_what_stood_in_a_folder_stays_beside_what_is_added(tmp_path: Path) -> None:
    def made_by(name: str, *names: str) -> dict[str, str]:
        made = Made(name, "float32", 1, "", "2026-11-29", "1 x M")
        found = run_benchmark(systems(*names), Gate(), INPUTS, tmp_path, silent, made)
        summary = json.loads((tmp_path / "summary.json").read_text())
        assert [one["system"] for one in summary["results"]] == [r.system for r in found.results]
        return {one.system: one.made.command for one in found.results if one.made is not None}

    assert made_by("first", "nothing") == {"nothing": "first"}
    assert made_by("second", "bare") == {"bare": "second", "nothing": "first"}
    assert made_by("third", "nothing", "bare") == {"nothing": "first", "bare": "second"}


def test_other_systems_are_not_asked_other_questions_or_by_another_model_in_one_folder(
    tmp_path: Path,
) -> None:
    elsewhere = replace(INPUTS, backbone={"float32": "a"})
    run_benchmark(systems("mplus"), Gate(), elsewhere, tmp_path, silent)
    whole = (tmp_path / "summary.json").read_bytes()
    with pytest.raises(RunMismatchError, match=r"options\.colour, plans"):
        run_benchmark(systems("nothing"), Gate(colour="blue"), elsewhere, tmp_path, silent)
    other = replace(INPUTS, backbone={"float32": "b"})
    with pytest.raises(RunMismatchError, match=r"backbone\.float32"):
        run_benchmark(systems("nothing"), Gate(), other, tmp_path, silent)
    assert not (tmp_path / "nothing").exists()
    assert (tmp_path / "summary.json").read_bytes() == whole


def test_what_another_command_asked_meanwhile_is_summed_up_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask, begun = NothingSession.ask, []

    def meanwhile(self: NothingSession, *args: Any, **kwargs: Any) -> Any:
        if not begun:
            begun.append(run(tmp_path, "bm25"))
        return ask(self, *args, **kwargs)

    monkeypatch.setattr(NothingSession, "ask", meanwhile)
    found = run(tmp_path, "nothing")
    assert [one.system for one in found.results] == ["nothing", "bm25"]
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert [one["system"] for one in summary["results"]] == ["nothing", "bm25"]


@pytest.mark.parametrize("first", [("memoryllm",), ("mplus", "memoryllm")])
def test_a_system_that_follows_another_goes_on_with_it_and_without_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: tuple[str, ...]
) -> None:
    before = run(tmp_path, *first).results[-1]

    def said() -> list[str]:
        found = [json.loads(line) for line in lines(tmp_path, "memoryllm")]
        return [one["said"] for one in found if "said" in one]

    known = said()
    for names in (("mplus", "memoryllm"), ("memoryllm",), ("mplus", "memoryllm")):
        (result,) = [r for r in run(tmp_path, *names).results if r.system == "memoryllm"]
        assert result.errors == 0
        assert result.figures == before.figures
        assert result.tokens_written == before.tokens_written > 0
        assert result.seconds_writing > 0
        assert said() == known
    whole = (tmp_path / "memoryllm" / "answers.jsonl").read_bytes()
    monkeypatch.setattr(MemorySession, "write", None)
    for names in (("mplus", "memoryllm"), ("memoryllm",)):
        assert run(tmp_path, *names).errors == 0
    assert (tmp_path / "memoryllm" / "answers.jsonl").read_bytes() == whole


@pytest.mark.parametrize(
    ("at", "line"),
    [(2, "{}"), (2, "[]"), (2, None), (4, None), (3, '{"plan": "plan 0"}'), (6, "{}"), (7, None)],
)
def test_a_damaged_line_of_a_finished_run_is_named(
    tmp_path: Path, at: int, line: str | None
) -> None:
    run(tmp_path, "mplus")
    file = tmp_path / "mplus" / "answers.jsonl"
    whole = file.read_text().splitlines()
    whole[at - 1] = whole[at - 2] if line is None else line
    file.write_text("".join(f"{one}\n" for one in whole))
    with pytest.raises(DamagedRunError, match=f"line {at}"):
        run(tmp_path, "mplus")


def test_an_answer_that_lacks_what_figures_are_made_of_is_named(tmp_path: Path) -> None:
    run(tmp_path, "nothing")
    file = tmp_path / "nothing" / "answers.jsonl"
    whole = [json.loads(one) for one in file.read_text().splitlines()]
    del whole[3]["credit"]
    file.write_text("".join(f"{json.dumps(one)}\n" for one in whole))
    with pytest.raises(DamagedRunError, match="line 4"):
        run(tmp_path, "nothing")


def test_a_folder_that_another_command_is_running_into_is_refused(tmp_path: Path) -> None:
    with alone_in(tmp_path / "mplus"):
        with pytest.raises(UsageError, match="Another command is running into"):
            run(tmp_path, "mplus", "nothing")
        assert run(tmp_path, "nothing").errors == 0
    assert run(tmp_path, "mplus", "nothing").errors == 0


def test_a_task_that_asks_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="it asks nothing"):
        run(tmp_path, "nothing", task=Gate(plans_made=0))


def test_figures_that_were_there_keep_how_they_came_about(tmp_path: Path) -> None:
    def made_by(name: str, *names: str) -> dict[str, str]:
        made = Made(name, "float32", 1, "", "2026-11-29", "1 x M")
        found = run_benchmark(systems(*names), Gate(), INPUTS, tmp_path, silent, made)
        return {one.system: one.made.command for one in found.results if one.made is not None}

    made_by("first", "mplus", "nothing")
    file = tmp_path / "nothing" / "answers.jsonl"
    file.write_text("\n".join(file.read_text().splitlines()[:3]) + "\n")
    assert made_by("second", "mplus", "bare", "nothing") == {
        "mplus": "first", "bare": "second", "nothing": "second"
    }  # fmt: skip
    file.write_text("\n".join(file.read_text().splitlines()[:3]) + "\n")
    mplus, nothing, _ = run(tmp_path, "mplus", "nothing").results  # which does not say how
    assert mplus.made is not None
    assert nothing.made is None


@pytest.mark.long
def test_a_run_that_ends_anywhere_is_gone_on_with_to_the_same_answers(tmp_path: Path) -> None:
    run(tmp_path / "whole")
    whole = [json.loads(line) for line in lines(tmp_path / "whole", "mplus")]
    for kept in range(1, len(whole)):
        folder = tmp_path / f"cut {kept}"
        run(folder)
        file = folder / "mplus" / "answers.jsonl"
        file.write_text("\n".join(file.read_text().splitlines()[:kept]) + '\n{"half')
        run(folder)
        again = [json.loads(line) for line in lines(folder, "mplus")]
        assert [one.get("said") for one in again] == [one.get("said") for one in whole]


def test_a_run_that_is_gone_on_with_on_another_device_says_of_each_system_where(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(tmp_path, "nothing", "bm25")
    for name in ("nothing", "bm25"):
        path = tmp_path / name / "answers.jsonl"
        assert all(json.loads(line)["device"] == "CPU" for line in lines(tmp_path, name)[1:])
        path.write_text("".join(f"{line}\n" for line in lines(tmp_path, name)[:3]))
    unsaid = [json.loads(line) for line in lines(tmp_path, "nothing")]
    for line in unsaid[1:]:
        del line["device"]
    path = tmp_path / "nothing" / "answers.jsonl"
    path.write_text("".join(f"{json.dumps(line)}\n" for line in unsaid))
    monkeypatch.setattr(NothingSystem, "device", "NVIDIA H200")
    monkeypatch.setattr(BM25System, "device", "NVIDIA H200")
    nothing, bm25 = run(tmp_path, "nothing", "bm25").results
    assert nothing.devices == ("NVIDIA H200",)
    assert bm25.devices == ("CPU", "NVIDIA H200")


def test_a_failure_is_counted_costs_no_other_system_and_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(MemorySession, "ask", fail)
        broken = run(tmp_path)
    mplus, memoryllm, nothing = broken.results
    assert (mplus.errors, memoryllm.errors, nothing.errors) == (4, 4, 0)
    assert mplus.figures == ()
    assert nothing.figures
    assert mplus.first_error == "RuntimeError: no more room"
    with monkeypatch.context() as patched:
        patched.setattr(MemorySession, "write", fail)
        # What cannot be written cannot be asked: the stream's end is missing too, where it was not
        # reached before.
        assert [one.errors for one in run(tmp_path).results] == [4, 4, 0]
        assert [one.errors for one in run(tmp_path / "unwritten").results] == [6, 4, 0]
    assert run(tmp_path).errors == run(tmp_path / "unwritten").errors == 0
    run(tmp_path / "new")
    assert answers(tmp_path, "mplus") == answers(tmp_path / "new", "mplus")


def test_a_stream_that_failed_alone_is_not_missed_where_another_is_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(MemorySession, "write", fail)
        assert run(tmp_path, "memoryllm").errors == 6
    assert run(tmp_path, "mplus", "memoryllm").errors == 0
    assert run(tmp_path, "memoryllm").errors == 0


def test_one_failure_is_tried_again_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask, asked = NothingSession.ask, []

    def fail_first(self: NothingSession, texts: Sequence[str], **kwargs: Any) -> Any:
        asked.append(texts)
        if len(asked) == 1:
            raise RuntimeError("no more room")
        return ask(self, texts, **kwargs)

    monkeypatch.setattr(NothingSession, "ask", fail_first)
    monkeypatch.setattr(NothingSystem, "questions_together", 1)
    (broken,) = run(tmp_path, "nothing").results
    assert (broken.errors, len(asked)) == (1, 4)
    before = lines(tmp_path, "nothing")
    (mended,) = run(tmp_path, "nothing").results
    assert (mended.errors, len(asked)) == (0, 5)
    after = lines(tmp_path, "nothing")
    assert after[: len(before)] == before
    assert len(after) == len(before) + 1
    assert run(tmp_path / "new", "nothing").errors == 0
    assert answers(tmp_path, "nothing") == answers(tmp_path / "new", "nothing")


@pytest.mark.parametrize(
    ("where", "name", "errors"),
    [
        # Of what cannot be opened all answers are missing, and the ends of its streams.
        (MPlusSystem, "open", [6, 4, 0]),
        (NothingSystem, "open", [0, 0, 4]),
        (MemoryLLMSystem, "follow", [0, 4, 0]),
        (MemorySession, "nbytes", [6, 4, 0]),
    ],
)
def test_a_failure_anywhere_costs_no_other_system(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    where: type[object],
    name: str,
    errors: list[int],
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(where, name, property(fail) if name == "nbytes" else fail)
        broken = run(tmp_path)
    assert [one.errors for one in broken.results] == errors
    assert {one.first_error for one in broken.results} == {"", "RuntimeError: no more room"}
    assert run(tmp_path).errors == 0


def test_one_that_gives_no_likelihoods_is_left_out_and_it_is_said_why(
    tmp_path: Path,
) -> None:
    class Mute(NothingSession):
        score = None  # type: ignore[assignment]

    class MuteSystem(BareSystem):
        sessions = Mute

    assert "no likelihoods" in unable(MuteSystem(SHARED), Judge("likelihood"))
    assert not unable(MuteSystem(SHARED), Judge("choice"))
    assert not unable(MuteSystem(SHARED), Judge("exact"))
    with pytest.raises(ConfigError, match="no likelihoods"):
        run_benchmark([MuteSystem(SHARED)], Likely(), INPUTS, tmp_path, silent)


def test_another_run_is_refused_with_what_differs(tmp_path: Path) -> None:
    run(tmp_path)
    with pytest.raises(RunMismatchError, match=r"options\.colour, plans"):
        run(tmp_path, task=Gate(colour="blue"))


def test_other_texts_or_questions_have_another_digest() -> None:
    plans = Gate().plans(INPUTS)
    assert plans_digest(plans) == plans_digest(Gate().plans(INPUTS))
    assert plans_digest(plans) != plans_digest(Gate("blue").plans(INPUTS))


def test_where_turns_of_a_dialogue_part_is_no_other_text() -> None:
    plans = Gate().plans(INPUTS)
    (step,) = plans[0].steps
    by_turns = replace(plans[0], steps=(replace(step, turns=((1, 0),)),))
    assert plans_digest([by_turns]) == plans_digest([plans[0]])

"""One benchmark on any systems: run into a folder, resumed there, and what it comes to.

Every system has a file of answers of its own, so a system can be added to a run later, and one
that fails costs the others nothing. Systems that share a stream of writes run together, all others
one after another, so that seconds are those of one system alone.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence, Set
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import memplus
from memplus.errors import ConfigError, MemplusError, RunMismatchError
from memplus.errors.base import storage_errors
from memplus.evaluation.engine.figures import Figure
from memplus.evaluation.engine.judging import JUDGING, Judge
from memplus.evaluation.engine.plan import Plan
from memplus.evaluation.engine.recorder import END, FAILED
from memplus.evaluation.engine.results import SUMMARY, write_summary
from memplus.evaluation.engine.run import Report, run_plans
from memplus.evaluation.engine.runfile import RunFile, alone_in, differing_parts
from memplus.evaluation.made import Made
from memplus.evaluation.tasks.bench_task import BenchTask, Inputs
from memplus.fields import checked
from memplus.files import locked
from memplus.systems.protocol import Follows, Placed, Scores, System

__all__ = [
    "Benchmark",
    "SystemResult",
    "plans_digest",
    "run_benchmark",
    "unable",
]


@dataclass(frozen=True, slots=True)
class SystemResult:
    """What one system came to."""

    system: str
    title: str
    identity: Mapping[str, Any]
    figures: tuple[Figure, ...] = ()
    headline: Figure | None = None
    """One figure of all its answers."""
    errors: int = 0
    """Questions, and ends of streams, that a failure took the place of."""
    first_error: str = ""
    unable: str = ""
    """Why it was not asked at all."""
    tokens_written: int = 0
    seconds_writing: float = 0.0
    """Of one that follows another's stream: of that other."""
    state_bytes: int = 0
    """The largest state that was asked, or stood at the end of a stream."""
    bytes_per_token: float = 0.0
    """Of that state, by the tokens of the longest stream."""
    devices: tuple[str, ...] = ()
    """What its answers were computed on, in order; none where the run does not say."""
    made: Made | None = None
    """How its figures came about, where that is known."""


@dataclass(frozen=True, slots=True)
class Benchmark:
    """One benchmark, on every system that was asked for."""

    task: str
    title: str
    axis: str
    model: str
    run: Mapping[str, Any]
    """All that the figures depend on, beside the systems."""
    results: tuple[SystemResult, ...]

    @property
    def errors(self) -> int:
        """Of all systems."""
        return sum(one.errors for one in self.results)

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        return asdict(self)


def run_benchmark(
    systems: Sequence[System],
    task: BenchTask,
    inputs: Inputs,
    folder: Path,
    report: Report,
    made: Made | None = None,
) -> Benchmark:
    """Ask whatever is not answered yet, or failed, and write summary.json.

    Systems that were asked the same into the folder before are in it, too, behind these.

    Args:
        systems: what is compared; those that cannot be asked such questions are left out, and it
            is said why.
        task: what is told and asked.
        inputs: what that is made of.
        folder: of the results; every system gets a folder in it.
        report: called with (what, done, total).
        made: how the figures come about, for whoever reads them.

    Raises:
        ConfigError: no system can be asked such questions, or the task asks none.
        ModelError: a system lacks weights of its own, or those it has are of another model.
        MissingDataError: a file of the task is not there.
        RunMismatchError: the folder holds another run, of one of the systems or of others.
        UsageError: another command is running one of them into the folder.
        StorageError: the disk refused.
    """
    kept_out = {one.name: reason for one in systems if (reason := unable(one, task.judge))}
    able = [one for one in systems if one.name not in kept_out]
    if not able:
        reason = "; ".join(f"{name}: {why}" for name, why in kept_out.items())
        raise ConfigError("system", value=", ".join(kept_out), reason=reason)
    for one in able:
        _require_parts(one)
    plans = task.plans(inputs)
    if not any(plan.once or list(plan.questions) for plan in plans):
        raise ConfigError("task", value=task.name, reason="with these options it asks nothing")
    run = {
        "memplus": memplus.__version__,
        "backbone": dict(inputs.backbone),
        "task": task.name,
        "options": asdict(task),
        "judge": asdict(task.judge),
        "judging": JUDGING,
        "data": dict(inputs.digests),
        "plans": plans_digest(plans),
    }
    identities = {one.name: dict(one.identity) for one in able}
    with ExitStack() as held:
        files = _opened(able, identities, run, folder, held)
        answered = {name: _answered(file) for name, file in files.items()}
        for group in _groups(able):
            recorders = {one.name: files[one.name] for one in group}
            run_plans(group, plans, task.judge, recorders, report, keep_going=True)
        results = []
        for one in systems:
            reason = kept_out.get(one.name, "")
            result = SystemResult(one.name, one.title, one.identity, unable=reason)
            if one.name in files:
                leader = _leader(one, able) or one.name
                lines = _counted(files[one.name].lines, follows=leader != one.name)
                result = _result(one, task, lines, _ends(files[leader].lines))
            results.append(replace(result, made=made))
        old = {name for name, file in files.items() if _answered(file) == answered[name]}
        # Another command may have asked other systems meanwhile, and sums them up, too.
        with locked(folder / SUMMARY, wait=None):
            everyone = _with_others(results, old, _before(folder, run, able[0].model))
            found = Benchmark(task.name, task.title, task.axis, able[0].model, run, everyone)
            write_summary(folder, found.to_dict())
    return found


def _opened(
    systems: Sequence[System],
    identities: Mapping[str, Mapping[str, Any]],
    run: Mapping[str, Any],
    folder: Path,
    held: ExitStack,
) -> dict[str, RunFile]:
    """The systems' files, each this command's alone until ``held`` is closed.

    Raises:
        RunMismatchError, DamagedRunError, UsageError, StorageError: see ``run_benchmark``.
    """
    files: dict[str, RunFile] = {}
    with storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    # Of two commands that begin at the same time, the second sees what the first is about to ask.
    with locked(folder / SUMMARY, wait=None):
        _require_same_run(folder, run)
        for one in systems:
            place = folder / _folder_name(one.name)
            held.enter_context(alone_in(place))
            identity = {**run, "system": one.name, "identity": identities[one.name]}
            beside = {"device": one.device} if isinstance(one, Placed) else {}
            files[one.name] = RunFile(place / "answers.jsonl", identity, beside)
    return files


def _counted(lines: Sequence[Mapping[str, Any]], *, follows: bool) -> Sequence[Mapping[str, Any]]:
    """Lines of a system without the ends of its own streams that failed, where it follows another's
    now: nothing is missing without them, and nothing would try them again."""
    if not follows:
        return lines
    return [line for line in lines if line["key"] != END or FAILED not in line]


def _answered(file: RunFile) -> int:
    """Lines of answers and ends that did not fail."""
    return sum(FAILED not in line for line in file.lines)


def _with_others(
    results: Sequence[SystemResult], old: Set[str], before: Mapping[str, SystemResult]
) -> tuple[SystemResult, ...]:
    """With what a folder has of other systems, and how figures that are not new came about."""
    own = {one.system: one for one in results}
    for name in old & before.keys():
        own[name] = replace(own[name], made=before[name].made)
    return (*own.values(), *(one for name, one in before.items() if name not in own))


def _require_same_run(folder: Path, run: Mapping[str, Any]) -> None:
    """Refuse a folder in which other systems were asked something else, or by another model.

    Raises:
        RunMismatchError: with what differs.
    """
    wanted = json.loads(json.dumps(run))
    for file in sorted(folder.glob("*/answers.jsonl")):
        with suppress(OSError, ValueError), file.open(encoding="utf-8") as lines:
            first = json.loads(lines.readline())
            known = {name: first.get(name) for name in wanted}
            if differs := list(differing_parts(known, wanted)):
                raise RunMismatchError(folder, differs=", ".join(differs))


def _require_parts(system: System) -> None:
    """Miss what a system cannot be opened without before others have been asked.

    Any other failure to open it is counted where it is asked.

    Raises:
        MemplusError: it says what is missing.
    """
    try:
        system.open(0)
    except MemplusError:
        raise
    except Exception:
        return


def unable(system: System, judge: Judge) -> str:
    """Why a system cannot be asked what this judge looks at; empty where it can."""
    if judge.needs_scores and not issubclass(system.sessions, Scores):
        return "it gives no likelihoods"
    return ""


def _before(folder: Path, run: Mapping[str, Any], model: str) -> dict[str, SystemResult]:
    """What a folder has by system, of the same questions to the same model."""
    with suppress(OSError, ValueError, ConfigError):
        found = checked(Benchmark, json.loads((folder / SUMMARY).read_text(encoding="utf-8")))
        same = json.loads(json.dumps([found.run, found.model]))
        if same == json.loads(json.dumps([run, model])):
            return {one.system: one for one in found.results}
    return {}


def plans_digest(plans: Sequence[Plan]) -> str:
    """A SHA-256 of every text and question: other plans, other digest.

    Where the turns of a dialogue part is left out: few systems are told it, and it changes no text.
    One that answers otherwise when they part elsewhere gets another ``revision``.
    """
    found = hashlib.sha256()
    for plan in plans:
        content = asdict(plan)
        for step in content["steps"]:
            del step["turns"]
        found.update(json.dumps(content, sort_keys=True).encode())
    return found.hexdigest()


def _folder_name(system: str) -> str:
    """A system's name as a folder may be called everywhere."""
    return system.replace(":", "+").replace("/", "_")


def _leader(system: System, among: Sequence[System]) -> str:
    names = {one.name for one in among}
    return system.leader if isinstance(system, Follows) and system.leader in names else ""


def _groups(systems: Sequence[System]) -> Iterator[list[System]]:
    """Each leader with those that follow it."""
    for system in systems:
        if not _leader(system, systems):
            followers = [one for one in systems if _leader(one, systems) == system.name]
            yield [system, *followers]


def _ends(lines: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return [line for line in lines if line["key"] == END and FAILED not in line]


def _result(
    system: System,
    task: BenchTask,
    lines: Sequence[Mapping[str, Any]],
    ends: Sequence[Mapping[str, Any]],
) -> SystemResult:
    """What lines come to; the ends are those of the streams that were written for the system."""
    failed = [line for line in lines if FAILED in line]
    answered = [line for line in lines if line["key"] != END and FAILED not in line]
    longest = max((line["tokens"] for line in ends), default=0)
    state = max((line["bytes"] for line in [*_ends(lines), *answered]), default=0)
    return SystemResult(
        system.name,
        system.title,
        system.identity,
        figures=tuple(task.figures(answered)),
        headline=next(iter(task.headline(answered)), None),
        errors=len(failed),
        first_error=str(failed[0][FAILED]) if failed else "",
        tokens_written=sum(line["tokens"] for line in ends),
        seconds_writing=sum(line["write_seconds"] for line in ends),
        state_bytes=state,
        bytes_per_token=state / longest if longest else 0.0,
        devices=tuple(dict.fromkeys(str(line["device"]) for line in lines if "device" in line)),
    )

"""A page that compares systems: one figure of every benchmark first, then all tables.

Beside the page lie its figures, as JSON, so that what runs later, here or on another machine, can
be put among them: a system or a benchmark that is run again takes its old place, and all others
stay as they are.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence, Set
from dataclasses import replace
from pathlib import Path

from memplus.errors import ConfigError, NotFoundError, RunMismatchError
from memplus.errors.base import storage_errors
from memplus.evaluation.benchmark import Benchmark, SystemResult
from memplus.evaluation.benchmark_tables import markdown, names_of, overview_rows, table_lines
from memplus.evaluation.engine.results import SUMMARY
from memplus.evaluation.made import Made
from memplus.fields import checked
from memplus.files import locked
from memplus.outputs import put_text

__all__ = [
    "figures_file",
    "is_page",
    "page",
    "put_on_page",
    "put_together",
    "read_benchmarks",
    "require_page",
    "stands_on",
]

_FIGURES = ".json"
_NO_FIGURES = "it holds no figures of `memplus bench`"
_END = "<!-- end of the tables of memplus bench -->"
"""Stands unseen behind the last table; what follows it is somebody else's."""


def page(found: Sequence[Benchmark]) -> str:
    """The page as Markdown.

    Args:
        found: benchmarks that ran, at least one.
    """
    named = list(zip(names_of(found), found, strict=True))
    asked = ", ".join(f"{name} {_asked(one)}" for name, one in named)
    head = [
        "# Systems of remembering, side by side",
        "",
        *_how(named),
        "One figure of each benchmark, over all of its questions whatever their kind and length; "
        "shares in %, 95% intervals; of perplexity less is better.",
        f"Questions: {asked}; a system that keeps nothing is asked each only once.",
        "Trained systems did not all learn from as many questions: `record.json` beside their "
        "weights has the numbers.",
        "",
        *table_lines(overview_rows(found)),
        "",
    ]
    return "\n".join(head) + "\n" + markdown(found) + f"\n{_END}\n"


def put_on_page(path: Path, found: Sequence[Benchmark]) -> list[Benchmark]:
    """Put benchmarks on a page and among the figures beside it; both are made where there are none.

    What stands below the page's last table stays there.

    Args:
        path: of the page.
        found: what ran.

    Returns:
        All benchmarks of the page.

    Raises:
        ConfigError: the page is another one, or the figures beside it cannot be read.
        RunMismatchError: systems that are only on the page were asked other questions, or figures
            of another model would stand there.
        StorageError: the disk refused.
    """
    figures = figures_file(path)
    # Two commands that end at the same time would each leave the other's figures out.
    with locked(path.resolve(), wait=None):
        below = _below(path)
        before = read_benchmarks(figures) if figures.exists() else []
        together = put_together([*before, *found], str(figures))
        if not together:
            raise ConfigError("page", value=str(path), reason="there are no figures for it yet")
        _require_one_model(figures, {one.model for one in together})
        lines = ",\n".join(_compact(one) for one in together)
        put_text(figures, f"[\n{lines}\n]\n")
        put_text(path, page(together) + below)
    return together


def require_page(path: Path, model: str | None = None) -> None:
    """Refuse, before anything runs, what nothing could be put on.

    Args:
        path: of the page.
        model: whose figures are to be put there, once that is known.

    Raises:
        ConfigError, RunMismatchError, StorageError: see ``put_on_page``.
    """
    figures = figures_file(path)
    _below(path)
    known = read_benchmarks(figures) if figures.exists() else []
    if model is not None:
        _require_one_model(figures, {model, *(one.model for one in known)})


def _require_one_model(figures: Path, models: Set[str]) -> None:
    """Refuse figures of several models on one page, which sets systems side by side."""
    if len(models) > 1:
        raise RunMismatchError(figures, differs=f"model ({', '.join(sorted(models))})")


def stands_on(path: Path, found: Sequence[Benchmark]) -> bool:
    """Whether a page is what these figures give, up to the end of its tables.

    Raises:
        StorageError: it cannot be read.
    """
    return _read(path).startswith(page(found))


def _below(path: Path) -> str:
    """What stands on a page behind its tables."""
    if not path.exists():
        return ""
    _, end, rest = _read(path).partition(_END)
    if not end:
        reason = "it has not the mark that ends the tables of `memplus bench`; move it away"
        raise ConfigError("page", value=str(path), reason=reason)
    return f"\n{rest.strip()}\n" if rest.strip() else ""


def _read(path: Path) -> str:
    try:
        with storage_errors(path):
            return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ConfigError("file", value=str(path), reason="it is no text in UTF-8") from error


def is_page(path: Path) -> bool:
    """Whether it may be a page: neither a folder of a run nor a file of figures."""
    return not path.is_dir() and path.suffix != _FIGURES


def figures_file(path: Path) -> Path:
    """Where the figures of a page lie.

    Raises:
        ConfigError: the path is none of a page.
    """
    if not is_page(path):
        reason = "a page is a file such as comparison.md, with its figures beside it as JSON"
        raise ConfigError("page", value=str(path), reason=reason)
    return path.with_suffix(_FIGURES)


def read_benchmarks(path: Path) -> list[Benchmark]:
    """The figures of a run, or of a page.

    Args:
        path: a folder of `memplus bench`, or the file beside a page.

    Raises:
        NotFoundError: it is not there.
        ConfigError: it holds something else.
        StorageError: it cannot be read.
    """
    file = path / SUMMARY if path.is_dir() else path
    if not file.exists():
        ends = "when a benchmark ends" if path.is_dir() else "beside a page by `memplus bench page`"
        raise NotFoundError(file, note=f"; it is written {ends}")
    text = _read(file)
    try:
        raw = json.loads(text)
        found = [checked(Benchmark, one) for one in (raw if isinstance(raw, list) else [raw])]
    except (ValueError, ConfigError) as error:
        raise ConfigError("run", value=str(file), reason=_NO_FIGURES) from error
    if not found:
        raise ConfigError("run", value=str(file), reason=_NO_FIGURES)
    return found


def put_together(found: Iterable[Benchmark], where: str) -> list[Benchmark]:
    """One benchmark of each task and size: of a system that stands in several, the last one that
    has figures, but never one that was made before another.

    Where a size's questions changed, its benchmark can only be followed by one that has all of its
    systems.

    Args:
        found: in the order in which they ran.
        where: is named where they cannot be put together.

    Raises:
        RunMismatchError: some are of other questions or another model than the later ones, which
            leave some of their systems out or were made before them.
    """
    together: dict[str, Benchmark] = {}
    for one in found:
        size = _json([one.task, one.run.get("options")])
        before = together.get(size)
        together[size] = one if before is None else _followed(before, one, where)
    return list(together.values())


def _followed(before: Benchmark, later: Benchmark, where: str) -> Benchmark:
    fresh = {one.system: one for one in later.results}
    differs = sorted(_differing(before, later))
    if differs:
        if any(
            one.system not in fresh or _is_older(fresh[one.system], one) for one in before.results
        ):
            raise RunMismatchError(f"{where} ({later.task})", differs=", ".join(differs))
        return later
    places = {one.system: one for one in before.results}
    for one in later.results:
        known = places.get(one.system)
        if known is None or _replaces(one, known):
            places[one.system] = one
    run = {**later.run, "backbone": _backbone(before) | _backbone(later)}
    return replace(later, run=run, results=tuple(places.values()))


def _backbone(found: Benchmark) -> dict[str, str]:
    """Dtype -> digest of the model in it, of all that is known."""
    return dict(found.run.get("backbone", {}))


def _replaces(later: SystemResult, known: SystemResult) -> bool:
    """Whether a row takes another's place: a run's summary has rows of earlier runs, too, and those
    of systems that failed."""
    if known.figures and not (later.figures or later.unable):
        return False
    return not _is_older(later, known)


def _is_older(later: SystemResult, known: SystemResult) -> bool:
    return bool(later.made and known.made and later.made.date < known.made.date)


def _differing(before: Benchmark, later: Benchmark) -> Iterator[str]:
    """What of two runs of a task forbids to set their figures side by side."""
    if before.model != later.model:
        yield "model"
    for name in ("judge", "plans"):
        if _json(before.run.get(name)) != _json(later.run.get(name)):
            yield name
    if before.run.get("judging", 1) != later.run.get("judging", 1):
        yield "judging"
    # In another dtype the same weights have another digest; the page says which rows are in which.
    one, other = _backbone(before), _backbone(later)
    if any(one[dtype] != other[dtype] for dtype in one.keys() & other.keys()):
        yield "backbone"


def _json(value: object) -> str:
    """As JSON would have it: a run that was read has lists where a fresh one has tuples."""
    return json.dumps(value, sort_keys=True)


def _how(found: Sequence[tuple[str, Benchmark]]) -> Iterator[str]:
    """Where and when figures were made, which ones where there are several, and by which commands.

    Commands that differ in nothing else, such as those of one system on several benchmarks, stand
    together.
    """
    by: dict[Made, list[tuple[str, SystemResult]]] = {}
    commands: dict[Made, list[str]] = {}
    for name, benchmark in found:
        for result in benchmark.results:
            if result.made is not None:
                same = replace(result.made, command="")
                by.setdefault(same, []).append((name, result))
                told = commands.setdefault(same, [])
                told += [] if result.made.command in told else [result.made.command]
    first = max(by, key=lambda made: len(by[made]), default=None)
    for made in sorted(by, key=lambda one: (one is not first, one.date)):
        threads = "1 thread" if made.threads == 1 else f"{made.threads} threads"
        what = "Made" if made is first else f"{_what(by[made])}: made"
        where = f"{made.dtype}, {threads} of {made.machine}"
        yield f"{what} on {made.date} with {found[0][1].model} in {where}, by"
        yield from ("", *(f"    {line}" for line in _shortened(commands[made])), "")
        if made.remark:
            yield from (made.remark, "")


def _shortened(commands: Sequence[str]) -> Iterator[str]:
    """Commands, those of several benchmarks that are equal but for the benchmark as one loop."""
    tasks: dict[tuple[str, str], list[str]] = {}
    for command in commands:
        before, bench, after = command.partition("memplus bench ")
        task, space, options = after.partition(" ")
        tasks.setdefault((before + bench, space + options), []).append(task)
    for (before, after), names in tasks.items():
        if len(names) == 1:
            yield f"{before}{names[0]}{after}"
        else:
            yield f"for TASK in {' '.join(names)}; do {before}$TASK{after}; done"


def _what(results: Sequence[tuple[str, SystemResult]]) -> str:
    """Which figures: the systems of each benchmark, benchmarks of the same systems together."""
    systems: dict[str, list[str]] = {}
    for name, result in results:
        systems.setdefault(name, []).append(result.title)
    names: dict[tuple[str, ...], list[str]] = {}
    for name, titles in systems.items():
        names.setdefault(tuple(titles), []).append(name)
    return "; ".join(f"{', '.join(of)} of {', '.join(titles)}" for titles, of in names.items())


def _asked(one: Benchmark) -> int:
    return max((found.headline.asked for found in one.results if found.headline), default=0)


def _compact(one: Benchmark) -> str:
    """A benchmark as JSON, a line for each system."""
    whole = one.to_dict()
    results = ",\n".join(json.dumps(result, ensure_ascii=False) for result in whole.pop("results"))
    return json.dumps(whole, ensure_ascii=False)[:-1] + ', "results": [\n' + results + "\n]}"

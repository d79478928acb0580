"""``memplus bench``: any systems of remembering on any benchmark, side by side."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, fields
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from memplus.cli.bench_made import SMOLLM2, Given, made_by
from memplus.cli.bench_tables import show_benchmark, show_list
from memplus.cli.evaluated import open_shared
from memplus.cli.options import AsJson, Chosen, Device, Dtype, Model
from memplus.cli.output import Output
from memplus.errors import (
    BenchmarkFailedError,
    ConfigError,
    LibraryMissingError,
    MissingDataError,
    SystemWeightsError,
    UsageError,
)
from memplus.evaluation.tasks.registry import TASKS

if TYPE_CHECKING:
    from memplus.evaluation.benchmark import Benchmark
    from memplus.evaluation.comparison import Parted
    from memplus.evaluation.tasks.bench_task import Inputs
    from memplus.systems.protocol import System
    from memplus.systems.shared import Shared

__all__ = ["bench"]


class _Benchmarks(TyperGroup):
    """Says which benchmarks there are to whoever names another."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        # Of a benchmark that there is not, no flag is ever read.
        ctx.ensure_object(Chosen).as_json = "--json" in args
        return super().resolve_command(ctx, args)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        found = super().get_command(ctx, cmd_name)
        if found is None and not ctx.resilient_parsing:
            others = ", ".join(one for one in self.list_commands(ctx) if one not in TASKS)
            reason = f"the benchmarks are {', '.join(TASKS)}; other commands are {others}"
            raise ConfigError("benchmark", value=cmd_name, reason=reason)
        return found


bench = typer.Typer(
    name="bench",
    cls=_Benchmarks,
    help="Compare memory systems on benchmarks: same model, same texts, no LLM judge.",
    no_args_is_help=True,
)

_SYSTEMS = (
    "Systems to compare, comma-separated, with options after a name: `mplus,memoryllm,bm25:k=4`. "
    "`memplus bench list` lists them; `all` means all that can run, `in_weights` excepted."
)
Systems = Annotated[
    str | None,
    typer.Option("--system", help=f"{_SYSTEMS} Default: M+, MemoryLLM and no memory."),
]
AllSystems = Annotated[str | None, typer.Option("--system", help=_SYSTEMS)]
Data = Annotated[
    Path,
    typer.Option(
        "--data",
        envvar="MEMPLUS_DATA",
        help="Folder of question sets and books, laid out as in docs/bench.md.",
    ),
]
TextsOption = Annotated[
    list[Path] | None,
    typer.Option(
        "--texts",
        help="Prose in which things are told; may be repeated. Default: the data folder's "
        "Book-SORT books or, without them, Python's own documentation.",
    ),
]
Lengths = Annotated[
    str | None,
    typer.Option("--lengths", help="Distances or lengths in tokens: `0,1k,16k,160k`."),
]
Items = Annotated[int | None, typer.Option("--items", min=1, help="Number of items to ask about.")]
Seeds = Annotated[int | None, typer.Option("--seeds", min=1, help="Number of streams or books.")]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", help="Set an option of the benchmark, OPTION=VALUE; may be repeated."),
]
Small = Annotated[
    bool, typer.Option("--small", help="Use a small size, meant for ten minutes on two cores.")
]
Out = Annotated[
    Path | None,
    typer.Option(
        "--out", help="Output folder; an existing run is resumed. Default: runs/bench/TASK."
    ),
]

_OF_TODAY = "All {} benchmarks match today's questions, weights, options and code{}."
_NOT_OF_FIGURES = (
    "The page does not match the figures beside it; `memplus bench page {}` rebuilds it."
)


def _command(name: str) -> Callable[..., None]:
    def run(
        *,
        system: Systems = None,
        small: Small = False,
        lengths: Lengths = None,
        items: Items = None,
        seeds: Seeds = None,
        options: Set = None,
        data: Data = Path("data"),
        texts: TextsOption = None,
        out: Out = None,
        model: Model = SMOLLM2,
        device: Device = None,
        dtype: Dtype = None,
        as_json: AsJson = False,
    ) -> None:
        from memplus.bench import make_inputs, make_task, open_systems
        from memplus.evaluation.benchmark import run_benchmark
        from memplus.evaluation.benchmark_tables import put_table
        from memplus.evaluation.tasks.retention import parse_distances
        from memplus.fields import parse_spec

        output = Output(as_json=as_json)
        given = {"lengths": lengths, "items": items, "seeds": seeds, "set": options or []}
        command = Given(name, system, given, small, model, device, texts)
        task = make_task(
            name,
            parse_spec(":".join([name, *(options or [])]), "--set")[1],
            small=small,
            lengths=None if lengths is None else parse_distances(lengths, "lengths"),
            items=items,
            seeds=seeds,
        )
        folder = out or Path("runs/bench") / name
        shared = open_shared(model, device=device, dtype=dtype)
        opened = open_systems(_names(system, shared, output), shared)
        with output.progress() as report:
            inputs = make_inputs(shared, data, texts)
            made = made_by(command, shared)
            found = run_benchmark(opened.systems, task, inputs, folder, report, made)
        put_table(folder)
        show = {"folder": str(folder), **found.to_dict()}
        output.result(show, show=lambda console: show_benchmark(console, found, folder))
        _require_whole([found], opened.systems, output)

    return run


for _name in TASKS:
    bench.command(
        _name,
        help=f"Run the benchmark {_name}; `memplus bench list` says what it is and needs. "
        "Writes a folder of answers for each system, summary.json and table.md to OUT. An "
        "interrupted run is resumed.",
    )(_command(_name))


@bench.command("all")
def run_all(
    *,
    tasks: Annotated[
        str | None,
        typer.Option(
            "--tasks", help="Benchmarks, comma-separated. Default: all whose data is present."
        ),
    ] = None,
    system: AllSystems = "all",
    small: Small = False,
    data: Data = Path("data"),
    texts: TextsOption = None,
    out: Annotated[Path, typer.Option("--out", help="Output folder.")] = Path("runs/bench"),
    remark: Annotated[str, typer.Option("--remark", help="Remark for the top of the page.")] = "",
    model: Model = SMOLLM2,
    device: Device = None,
    dtype: Dtype = None,
    as_json: AsJson = False,
) -> None:
    """Run several benchmarks on several systems, with all tables in OUT/comparison.md."""
    from memplus.bench import make_inputs, open_systems
    from memplus.evaluation.benchmark import run_benchmark
    from memplus.evaluation.benchmark_tables import put_table
    from memplus.evaluation.page import put_on_page, require_page
    from memplus.evaluation.tasks.registry import task_class

    output = Output(as_json=as_json)
    names = [one.strip() for one in tasks.split(",")] if tasks else list(TASKS)
    kinds = [task_class(name) for name in names]
    target = out / "comparison.md"
    require_page(target)
    shared = open_shared(model, device=device, dtype=dtype)
    require_page(target, shared.mplus.name)
    opened = open_systems(_names(system, shared, output), shared)
    inputs = make_inputs(shared, data, texts)
    command = Given(
        "all", None if system == "all" else system, {"tasks": tasks}, small, model, device, texts
    )
    made = made_by(command, shared, remark)
    found: list[Benchmark] = []
    refused: UsageError | None = None
    for kind in kinds:
        missing = [need.path for need in kind.needs if not inputs.has(need)]
        if missing and tasks is None:
            output.note(f"{kind.name} is left out: {data} lacks {', '.join(missing)}.")
            continue
        with output.progress() as report:
            inputs.digests.clear()
            task = kind.small() if small else kind()
            try:
                ran = run_benchmark(opened.systems, task, inputs, out / kind.name, report, made)
            except (ConfigError, MissingDataError) as error:  # such as too few texts
                if tasks is not None:
                    raise
                refused = error
                output.note(f"{kind.name} is left out: {error.message}")
                continue
        found.append(ran)
        put_table(out / kind.name)
        put_on_page(target, [ran])
    if refused is not None and not found:
        raise refused
    show = {"folder": str(out), "benchmarks": [one.to_dict() for one in found]}

    def shown(console: Any) -> None:
        for one in found:
            show_benchmark(console, one, out / one.task)

    output.result(show, show=shown)
    _require_whole(found, opened.systems, output)


@bench.command("list")
def list_all(*, data: Data = Path("data"), as_json: AsJson = False) -> None:
    """List systems and benchmarks, what each needs and whether it is present."""
    from memplus.evaluation.tasks.registry import task_class
    from memplus.systems.registry import described

    output = Output(as_json=as_json)
    systems = described()
    tasks = [
        {
            "name": name,
            "title": (kind := task_class(name)).title,
            "options": [one.name for one in fields(kind)],
            "needs": [
                {**need.described(data), "required": need in kind.needs}
                for need in (*kind.needs, *kind.uses)
            ],
        }
        for name in TASKS
    ]
    listed = {"systems": systems, "tasks": tasks}
    output.result(listed, show=lambda console: show_list(console, systems, tasks))


@bench.command("plot")
def plot(
    runs: Annotated[
        list[Path],
        typer.Argument(help="Folders of benchmark runs, or a page's JSON file of figures."),
    ],
    *,
    out: Annotated[
        Path | None, typer.Option("--out", help="Picture file. Default: RUN/plot.png.")
    ] = None,
    measure: Annotated[
        str | None, typer.Option("--measure", help="Measure to plot. Default: the first one.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Plot quality against distance or length, against bytes, and against seconds."""
    from memplus.evaluation.benchmark_plots import draw_benchmarks
    from memplus.evaluation.page import read_benchmarks

    found = [one for run in runs for one in read_benchmarks(run)]
    picture = out or (runs[0] if runs[0].is_dir() else runs[0].parent) / "plot.png"
    draw_benchmarks(found, picture, measure)
    Output(as_json=as_json).result(
        {"picture": str(picture)},
        show=lambda console: console.print(f"Picture: {picture}", markup=False),
    )


@bench.command("page")
def put(
    page: Annotated[Path, typer.Argument(help="The page, such as docs/comparison.md.")],
    runs: Annotated[
        list[Path] | None, typer.Argument(help="Folders of benchmark runs, newest last.")
    ] = None,
    *,
    as_json: AsJson = False,
) -> None:
    """Add runs to a page of tables and to its figures, a JSON file beside it.

    A system or benchmark that was run again replaces its old entry; all others stay. Without runs,
    the page is rebuilt from its figures.
    """
    from memplus.evaluation.benchmark_tables import names_of
    from memplus.evaluation.page import put_on_page, read_benchmarks

    found = put_on_page(page, [one for run in runs or [] for one in read_benchmarks(run)])
    there = {
        name: [result.system for result in one.results]
        for name, one in zip(names_of(found), found, strict=True)
    }
    lines = [f"{task}: {', '.join(systems)}" for task, systems in there.items()]
    Output(as_json=as_json).result(
        {"page": str(page), "benchmarks": there},
        show=lambda console: console.print("\n".join(lines), markup=False),
    )


@bench.command("check")
def check(
    page: Annotated[
        Path,
        typer.Argument(help="A page such as docs/comparison.md, its figures, or a run folder."),
    ],
    *,
    data: Data = Path("data"),
    texts: TextsOption = None,
    model: Annotated[
        str | None, typer.Option("--model", help="The model. Default: that of the figures.")
    ] = None,
    device: Device = None,
    dtype: Annotated[
        str | None, typer.Option("--dtype", help="Default: that of the figures.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List figures that were made with other questions, weights, options or code than today's.

    Systems whose weights are missing are listed, but not compared.
    """
    from memplus.bench import make_inputs
    from memplus.evaluation.comparison import parted
    from memplus.evaluation.page import figures_file, is_page, read_benchmarks, stands_on
    from memplus.evaluation.tasks.registry import task_class
    from memplus.fields import checked
    from memplus.systems.registry import make_systems

    paged = is_page(page)
    known = read_benchmarks(figures_file(page) if paged else page)
    whole = not paged or stands_on(page, known)
    absent: dict[str, str] = {}

    @cache
    def opened(name: str, of: str | None) -> Shared:
        return open_shared(model or name, device=device, dtype=dtype or of)

    @cache
    def made(name: str, of: str | None, spec: str) -> System | None:
        try:
            return make_systems([spec], opened(name, of))[0]
        except (SystemWeightsError, LibraryMissingError) as error:
            absent[spec] = error.message
            return None

    @cache  # so that prose is read and counted once
    def inputs(name: str, of: str | None) -> Inputs:
        return make_inputs(opened(name, of), data, texts)

    def inputs_of(found: Benchmark) -> Inputs:
        dtypes = (one.made.dtype for one in found.results if one.made)
        return inputs(found.model, next(dtypes, None))

    found = parted(
        known,
        lambda name, options: checked(task_class(name), options),
        lambda one, row: made(one.model, row.made.dtype if row.made else None, row.system),
        inputs_of,
    )
    lines = [] if whole else [_NOT_OF_FIGURES.format(page)]
    lines += [_parted(one) for one in found]
    lines += [f"{name} is not compared: {reason}" for name, reason in absent.items()]
    old = bool(found) or not whole
    if not old:
        lines.append(_OF_TODAY.format(len(known), ", as far as they were compared" * bool(absent)))
    Output(as_json=as_json).result(
        {
            "page": str(page),
            "of_its_figures": whole,
            "parted": [asdict(one) for one in found],
            "not_compared": sorted(absent),
        },
        show=lambda console: console.print("\n".join(lines), markup=False),
    )
    if old:
        raise typer.Exit(1)


def _parted(one: Parted) -> str:
    differs = f" ({', '.join(one.differs)})" if one.differs else ""
    return f"{one.task}: {one.what} changed since the figures were made{differs}"


def _names(system: str | None, shared: Shared, output: Output) -> list[str] | None:
    """Names of systems as they are opened; ``all`` are those that the model can serve."""
    if system is None:
        return None
    if system != "all":
        return [name.strip() for name in system.split(",")]
    from memplus.bench import servable

    names, reasons = servable(shared)
    for name, reason in reasons.items():
        output.note(f"{name} is left out: {reason}")
    return names


def _require_whole(found: list[Benchmark], systems: Sequence[System], output: Output) -> None:
    """Refuse to end well where something failed: what failed has no figure.

    Args:
        found: the benchmarks.
        systems: of this command; others may stand in a folder beside them.
        output: is told.

    Raises:
        Exit: some answers are missing; which has been said beside the result.
    """
    asked = {one.name for one in systems}
    failed = [(one.task, result) for one in found for result in one.results if result.errors]
    failed = [(task, result) for task, result in failed if result.system in asked]
    if failed:
        task, first = failed[0]
        error = BenchmarkFailedError(
            ", ".join(f"{task}/{result.system}" for task, result in failed),
            count=sum(result.errors for _, result in failed),
            first=f"{task}/{first.system}: {first.first_error}",
        )
        output.error(error)
        raise typer.Exit(error.exit_code)

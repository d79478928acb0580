"""``memplus eval``: how long what was told is kept, and what a full memory costs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from memplus.cli.eval_confidence import confidence
from memplus.cli.eval_table import table
from memplus.cli.eval_tables import (
    show_perplexity,
    show_results,
    show_statements,
)
from memplus.cli.evaluated import TextFiles, open_bench, read_texts
from memplus.cli.options import AsJson, Device, Dtype, Model, Seed
from memplus.cli.output import Output
from memplus.errors import UsageError

if TYPE_CHECKING:
    from memplus.data.passages import Split
    from memplus.evaluation.engine.bench import Bench
    from memplus.evaluation.engine.results import Results
    from memplus.evaluation.engine.run import Report
    from memplus.evaluation.experiments import Streams

__all__ = ["evaluation"]

evaluation = typer.Typer(
    name="eval", help="Measure what a model keeps in its memory.", no_args_is_help=True
)

Seeds = Annotated[
    int, typer.Option("--seeds", min=1, help="Number of streams, with seeds 0, 1, ...")
]
Out = Annotated[Path, typer.Option("--out", help="Output folder; an existing run is resumed.")]
Systems = Annotated[
    str | None,
    typer.Option(
        "--system",
        help="Systems to compare, comma-separated: `mplus`, `memoryllm`, `nothing`, `bare`, "
        "`full_context`, `window`, `bm25`, `embeddings` or any other listed by `memplus bench "
        "list`. Default: the first three.",
    ),
]
Distances = Annotated[
    str, typer.Option("--distances", help="Tokens between a note and its question.")
]
_DISTANCES = "0,250,500,1k,2k,4k,8k,16k,32k,64k,160k,320k,640k,1M"


@evaluation.callback()
def root() -> None:
    """Measure what a model keeps in its memory."""


@evaluation.command()
def retention(
    texts: TextFiles = None,
    *,
    distances: Distances = _DISTANCES,
    notes: Annotated[
        int, typer.Option("--notes", min=1, help="Notes (or questions of the set) per seed.")
    ] = 200,
    seeds: Seeds = 3,
    questions: Annotated[
        Path | None,
        typer.Option(
            "--questions",
            help="Tell passages of this SQuAD, Natural Questions or FairytaleQA file, not notes.",
        ),
    ] = None,
    split: Annotated[
        Literal["held_out", "train", "all"],
        typer.Option("--split", help="Passages of that file to ask about."),
    ] = "held_out",
    paper_protocol: Annotated[
        bool,
        typer.Option(
            "--paper-protocol",
            help="Give each question its own memory: its passage first, then unrelated ones; short "
            "answers, within the first 10 tokens. By default one stream tells many passages, and "
            "answers may be of any length.",
        ),
    ] = False,
    longest_answer: Annotated[
        int | None,
        typer.Option(
            "--longest-answer",
            min=1,
            help="Maximum answer tokens of --paper-protocol. Default: 3 for SQuAD, else 4.",
        ),
    ] = None,
    out: Out = Path("runs/retention"),
    system: Systems = None,
    model: Model = "nano",
    device: Device = None,
    dtype: Dtype = None,
    as_json: AsJson = False,
) -> None:
    """Ask about what was told at growing distances; by default M+, MemoryLLM and no memory.

    Writes answers.jsonl, summary.json and curve.png to OUT.
    """
    from memplus.evaluation.experiments import Streams, evaluate_retention
    from memplus.evaluation.tasks.retention import RetentionSizes, parse_distances

    output = Output(as_json=as_json)
    streams = Streams(RetentionSizes(notes, parse_distances(distances)), seeds, out)
    if questions is None:
        if paper_protocol:
            raise UsageError("--paper-protocol needs --questions FILE.")
        given = read_texts(texts)
        bench = open_bench(system, model, device=device, dtype=dtype)
        with output.progress() as report:
            results = evaluate_retention(bench, given, streams, report)
    else:
        if paper_protocol:
            run = _paper_protocol(questions, split, longest_answer, streams)
        else:
            run = _passages_told(texts, questions, split, streams)
        bench = open_bench(system, model, device=device, dtype=dtype)
        with output.progress() as report:
            results = run(bench, report)
    _hand_over(output, results, out)


_Run = Callable[["Bench", "Report"], "Results"]


def _passages_told(texts: list[Path] | None, file: Path, split: Split, streams: Streams) -> _Run:
    """Passages of a file in one stream per seed, as it is run on a bench."""
    from memplus.data.passages import read_passages
    from memplus.evaluation.experiments import Tellings, evaluate_told
    from memplus.evaluation.tasks.held_out import HeldOut, passage_items
    from memplus.evaluation.tasks.passages import QUESTION

    given = read_texts(texts)
    asked = passage_items(QUESTION, read_passages(file, split), streams.sizes.distances)
    pool = HeldOut(asked, tuple(read_passages(file)))
    tellings = Tellings(pool, streams.sizes.notes, streams.seeds, streams.folder)
    return lambda bench, report: evaluate_told(bench, given, tellings, report)


def _paper_protocol(file: Path, split: Split, longest_answer: int | None, streams: Streams) -> _Run:
    from memplus.data.questions import read_questions
    from memplus.evaluation.experiments import evaluate_questions

    asked = read_questions(file, longest_answer, split)
    return lambda bench, report: evaluate_questions(bench, asked, streams, report)


@evaluation.command()
def notes(
    texts: TextFiles = None,
    *,
    distances: Distances = "0,1k,16k",
    notes: Annotated[
        int, typer.Option("--notes", min=1, help="Questions per layout, distance and seed.")
    ] = 100,
    seeds: Seeds = 1,
    names: Annotated[
        str | None,
        typer.Option(
            "--names",
            help="File of people's names, one per line, or `bundled`: 200 names from many "
            "countries, none generated. Notes about them are compared with usual ones.",
        ),
    ] = None,
    same_attribute: Annotated[
        bool,
        typer.Option(
            "--same-attribute",
            help="Tell many notes of one attribute, each with four digits, side by side.",
        ),
    ] = False,
    out: Out = Path("runs/notes"),
    system: Systems = None,
    model: Model = "nano",
    device: Device = None,
    dtype: Dtype = None,
    as_json: AsJson = False,
) -> None:
    """Ask about notes in other layouts, or about people with other names.

    Layouts: several in a paragraph, across a chunk border, corrected later, two people with the
    same first name. `--names` and `--same-attribute` use other notes instead of these layouts.
    """
    from memplus.data.outside import BUNDLED_NAMES, read_names
    from memplus.evaluation.experiments import Streams, evaluate_layouts, evaluate_names
    from memplus.evaluation.tasks.outside_names import Names
    from memplus.evaluation.tasks.retention import RetentionSizes, parse_distances

    output = Output(as_json=as_json)
    streams = Streams(RetentionSizes(notes, parse_distances(distances)), seeds, out)
    given = read_texts(texts)
    path = BUNDLED_NAMES if names == "bundled" else Path(names or "")
    people = Names(tuple(read_names(path)) if names else (), same_attribute)
    bench = open_bench(system, model, device=device, dtype=dtype)
    with output.progress() as report:
        if people == Names():
            results = evaluate_layouts(bench, given, streams, report)
        else:
            results = evaluate_names(bench, given, streams, people, report)
    _hand_over(output, results, out)


@evaluation.command()
def statements(
    *,
    file: Annotated[
        Path | None,
        typer.Option(
            "--file", help="JSON Lines with statement, question, answers. Default: 40 bundled ones."
        ),
    ] = None,
    min_confidence: Annotated[
        float | None,
        typer.Option(
            "--min-confidence",
            min=0,
            max=1,
            help="Decline below this confidence. Default: the model's own threshold.",
        ),
    ] = None,
    out: Out = Path("runs/statements"),
    system: Systems = None,
    model: Model = "nano",
    device: Device = None,
    dtype: Dtype = None,
    as_json: AsJson = False,
) -> None:
    """Tell ordinary statements, each to a new memory, and ask about each at once.

    Counts right, declined and wrong answers; a model should decline what it cannot understand.
    """
    from memplus.data.outside import BUNDLED_STATEMENTS, read_statements
    from memplus.evaluation.experiments import evaluate_statements

    output = Output(as_json=as_json)
    told = read_statements(file or BUNDLED_STATEMENTS)
    bench = open_bench(system, model, device=device, dtype=dtype)
    with output.progress() as report:
        results = evaluate_statements(bench, told, out, min_confidence, report)
    output.result(
        {"folder": str(out), **results.to_dict()},
        show=lambda console: show_statements(console, results, out),
    )


evaluation.command()(table)


@evaluation.command()
def perplexity(
    texts: TextFiles = None,
    *,
    tokens: Annotated[
        str, typer.Option("--tokens", help="Tokens in the full memory, e.g. 160k.")
    ] = "160k",
    windows: Annotated[
        int, typer.Option("--windows", min=1, help="Number of windows to predict.")
    ] = 64,
    length: Annotated[
        int, typer.Option("--length", min=2, help="Tokens per window, up to the end of a sentence.")
    ] = 256,
    system: Annotated[
        str,
        typer.Option("--system", help="Systems, comma-separated; each is compared with the last."),
    ] = "mplus,memoryllm,nothing,bare",
    model: Model = "nano",
    seed: Seed = 0,
    device: Device = None,
    dtype: Dtype = None,
    as_json: AsJson = False,
) -> None:
    """Measure perplexity on unseen plain text, with a full memory and without."""
    from memplus.data.stream import Texts
    from memplus.evaluation.probes.perplexity import Windows, measure_perplexity
    from memplus.evaluation.tasks.retention import parse_tokens

    output = Output(as_json=as_json)
    count = parse_tokens(tokens)
    given = read_texts(texts)
    bench = open_bench(system, model, device=device, dtype=dtype)
    known = Texts.of(given, bench.reference)
    with output.progress() as report:
        found = measure_perplexity(
            bench.systems,
            known,
            tokens=count,
            windows=Windows(windows, length),
            seed=seed,
            report=report,
        )
    output.result(asdict(found), show=lambda console: show_perplexity(console, found))


evaluation.command()(confidence)


def _hand_over(output: Output, results: Results, out: Path) -> None:
    output.result(
        {"folder": str(out), **results.to_dict()},
        show=lambda console: show_results(console, results, out),
    )

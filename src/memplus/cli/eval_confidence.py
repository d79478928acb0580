"""``memplus eval confidence``: what withholding unsure answers gains and costs."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from memplus.cli.eval_tables import show_trade_off
from memplus.cli.evaluated import TextFiles, make_folder, open_bench, read_texts
from memplus.cli.held_out import Nq, Squad, held_out_pool
from memplus.cli.options import AsJson, Device, Dtype, Model, Seed
from memplus.cli.output import Output

if TYPE_CHECKING:
    from memplus.evaluation.engine.bench import Bench
    from memplus.evaluation.engine.results import Results
    from memplus.evaluation.engine.run import Report

__all__ = ["confidence"]


def confidence(
    texts: TextFiles = None,
    *,
    squad: Squad = None,
    nq: Nq = None,
    held_out: Annotated[
        bool,
        typer.Option(
            "--held-out",
            help="Use held-out statements instead of notes, and passages of `--squad` and `--nq` "
            "(which imply it): the quarter that no figure of `memplus eval table` uses.",
        ),
    ] = False,
    distances: Annotated[
        str, typer.Option("--distances", help="Tokens between a note and its question.")
    ] = "16k",
    notes: Annotated[
        int,
        typer.Option("--notes", min=1, help="Notes to tell and ask about, or items of each kind."),
    ] = 200,
    most_declined: Annotated[
        float,
        typer.Option(
            "--most-declined",
            min=0,
            max=1,
            help="Maximum share of told items that the chosen threshold may decline.",
        ),
    ] = 0.1,
    out: Annotated[
        Path, typer.Option("--out", help="Output folder; an existing run is resumed.")
    ] = Path("runs/confidence"),
    system: Annotated[
        str, typer.Option("--system", help="System whose confidence is measured.")
    ] = "mplus",
    model: Model = "nano",
    seed: Seed = 0,
    device: Device = None,
    dtype: Dtype = None,
    as_json: AsJson = False,
) -> None:
    """Plot what `--min-confidence` gains and costs (OUT/confidence.png), and choose a threshold.

    On held-out notes, or with `--held-out` on statements and passages. The threshold is the one
    that best separates what was never told from what was; use it as the model's `min_confidence`.
    """
    from memplus.evaluation.engine.curves import draw_trade_off
    from memplus.evaluation.experiments import Tellings, evaluate_confidence, evaluate_told
    from memplus.evaluation.probes import confidence as probe
    from memplus.evaluation.tasks.retention import RetentionSizes, parse_distances

    output = Output(as_json=as_json)
    sizes = RetentionSizes(notes, parse_distances(distances))
    given = read_texts(texts)

    def run(bench: Bench, report: Report) -> Results:
        if not (held_out or squad or nq):
            return evaluate_confidence(bench, given, sizes, seed, out, report)
        pool = held_out_pool(squad, nq, sizes.distances, ())
        tellings = Tellings(pool, notes, 1, out, "threshold", seed)
        return evaluate_told(bench, given, tellings, report)

    bench = open_bench(system, model, device=device, dtype=dtype)
    probe.require_confidence(bench.systems[0])
    plot = make_folder(out) / "confidence.png"
    with output.progress() as report:
        answers = probe.asked_of(run(bench, report).lines, bench.systems[0])
    found = probe.trade_off(answers)
    chosen = probe.choose(found, most_declined)
    title = f"{len(answers)} questions, asked after {distances} tokens"
    draw_trade_off(found, title=title, path=plot)
    data = {
        "asked": len(answers),
        "plot": str(plot),
        "chosen": asdict(chosen),
        "thresholds": [asdict(one) for one in found],
    }
    output.result(data, show=lambda console: show_trade_off(console, found, chosen, plot))

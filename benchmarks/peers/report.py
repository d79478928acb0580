"""The rows of all systems on one plan, judged by one judge.

    python benchmarks/peers/report.py runs/peers/plan.jsonl runs/peers/*.jsonl
    python benchmarks/peers/report.py ... --page docs/comparison.md

An answer is right where one of the right answers stands in what was said; a text is found where one
that was retrieved stands in what was told, or holds it, and states one of the right answers. Shares
come with 95% intervals (Wilson). A question without an answer, or with an error, is counted, shown,
and makes the command fail.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

from lines import Line, Plan, Results, read_plan, read_results

from memplus.evaluation.engine.judging import Judge, contains
from memplus.evaluation.engine.summary import wilson

JUDGE = Judge("contains")
_HEAD = "## Programs that others wrote"

Row = dict[str, Any]


def main() -> None:
    """Print the table, or JSON, or put the table at the end of a page."""
    given = _arguments()
    plan = read_plan(given.plan)
    paths = [path for path in given.results if path.resolve() != given.plan.resolve()]
    rows = [row_of(plan, read_results(path, plan)) for path in paths]
    kinds = list(dict.fromkeys(one["kind"] for one in plan.questions))
    if given.page is not None:
        text = with_section(
            given.page.read_text(encoding="utf-8"), section(plan, rows, kinds, given.remark)
        )
        given.page.write_text(text, encoding="utf-8")
    elif given.json:
        print(json.dumps({"plan": plan.header, "questions": len(plan.questions), "rows": rows}))
    else:
        print(table(rows, kinds))
    missing = {row["system"]: row["without"] for row in rows if row["without"]}
    if missing:
        sys.exit(f"questions without an answer: {missing}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("plan", type=Path)
    parser.add_argument("results", type=Path, nargs="+")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--page", type=Path, help="a page such as docs/comparison.md")
    parser.add_argument("--remark", default="", help="said on the page, above the table")
    return parser.parse_args()


def row_of(plan: Plan, results: Results) -> Row:
    """The figures of one system.

    Args:
        plan: what it was told and asked.
        results: what it made of that.
    """
    answered = [
        (one, results.answers[one["key"]])
        for one in plan.questions
        if "error" not in results.answers.get(one["key"], {"error": "no line"})
    ]
    finds = any("retrieved" in line for _, line in answered)
    verdicts = [(one["kind"], (_found if finds else _right)(one, line)) for one, line in answered]
    kinds = dict.fromkeys(one["kind"] for one in plan.questions)
    end, killed = results.end, results.killed
    return {
        "system": results.header["system"],
        "by": results.header["by"],
        "counts": "text found" if finds else "right answers",
        "all": _share([right for _, right in verdicts]),
        **{kind: _share([right for one, right in verdicts if one == kind]) for kind in kinds},
        "bytes_per_token": end and end["bytes"] / end["tokens"],
        "seconds_per_write": end and end["write_seconds"] / end["writes"],
        "seconds_per_1000_tokens": end and 1000 * end["write_seconds"] / end["tokens"],
        "seconds_per_question": _mean([line["seconds"] for _, line in answered]),
        "killed": killed and {name: value for name, value in killed.items() if name != "key"},
        "without": len(plan.questions) - len(answered),
    }


def _right(question: Line, line: Line) -> bool:
    return JUDGE.right(line["said"], question["answers"])


def _found(question: Line, line: Line) -> bool:
    """Whether a retrieved text states the answer, and is what was told, not one that looks so."""
    told = question["told"]
    stated = [one for one in question["answers"] if contains(told, one)] or [told]
    return any(
        (contains(told, text) or contains(text, told))
        and any(contains(text, one) for one in stated)
        for text in line["retrieved"]
    )


def _share(verdicts: Sequence[bool]) -> Row:
    right, asked = sum(verdicts), len(verdicts)
    return {"right": right, "asked": asked, "interval": list(wilson(right, asked))}


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


def table(rows: Sequence[Row], kinds: Sequence[str]) -> str:
    """The rows in Markdown.

    Args:
        rows: as ``row_of`` gives them.
        kinds: of questions.
    """
    heads = ["system", "by", "what counts", "all", *kinds, "bytes per token"]
    heads += ["seconds per write", "per 1000 tokens", "per question", "kill -9 in a write"]
    lines = [heads, ["---"] * len(heads), *(_cells(row, kinds) for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def section(plan: Plan, rows: Sequence[Row], kinds: Sequence[str], remark: str = "") -> str:
    """The table as the last section of a page that compares systems."""
    return (
        f"{_HEAD}\n\n"
        "Not memplus: these run by themselves, in environments of their own, on one plan of "
        f"{len(plan.questions)} questions, beside rows of ours (by memplus). Their questions are "
        "not those of the tables above.\n"
        "[benchmarks/peers](../benchmarks/peers/README.md) says how each is run. Made on "
        f"{date.today().isoformat()}.{f' {remark}' if remark else ''}\n\n{table(rows, kinds)}\n"
    )


def with_section(page: str, made: str) -> str:
    """The page with that section at its end, in the place of an older one.

    Args:
        page: in Markdown.
        made: what ``section`` gave.
    """
    return f"{page.partition(_HEAD)[0].rstrip()}\n\n{made}"


def _cells(row: Row, kinds: Sequence[str]) -> list[str]:
    seconds = ("seconds_per_write", "seconds_per_1000_tokens", "seconds_per_question")
    shares = [_shown_share(row[name]) for name in ("all", *kinds)]
    size = row["bytes_per_token"]
    return [
        row["system"],
        row["by"],
        row["counts"],
        *shares,
        "" if size is None else f"{size:,.0f}",
        *("" if row[name] is None else f"{row[name]:.3g}" for name in seconds),
        _shown_killed(row["killed"]),
    ]


def _shown_share(share: Row) -> str:
    if not share["asked"]:
        return ""
    low, high = share["interval"]
    return f"{share['right']} of {share['asked']} ({low:.0%}-{high:.0%})"


def _shown_killed(killed: Mapping[str, Any] | None) -> str:
    if killed is None:
        return "not kept on disk"
    if killed["note"]:
        return str(killed["note"])
    torn = f", {killed['torn']} in part" if killed["torn"] else ""
    return f"{killed['left']} of {killed['acknowledged']} writes said to be done{torn}"


if __name__ == "__main__":
    main()

"""Two systems of one run of ``memplus bench`` question by question: how far they are apart.

    python benchmarks/paired.py RUN --system memlong --against memlong:top_k=0
    python benchmarks/paired.py RUN --system FIRST --against SECOND --kind note --wanted 4000

Intervals of two rows of a table overlap where the questions differ more than the systems do; the
same questions' differences do not. Printed is the mean of what the first system has more than the
second, with its 95% interval: of credit, 0 to 1; of ``perplexity`` nats a token, where less is
better; of ``recognition`` the right value's share of the probability.

But for ``perplexity`` the right answers follow, for each kind of question at each distance: how
many are right by each, how many by one of the two alone, the difference of the shares with its 95%
interval (Newcombe's for pairs), and how likely such a split is by chance (McNemar's exact test).
Questions whose answer was never told have a row of their own and no part in the row ``all``. The
last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from intervals import Pairs, interval

from memplus.evaluation.tasks.recognition import RecognitionTask, share_of_right

__all__ = ["difference", "main", "measured", "right_answers"]

_PERPLEXITY = "perplexity"
_Key = tuple[str, int, str]
"""The plan, its seed, and the question's key within it."""
_Lines = dict[_Key, Mapping[str, Any]]


def main() -> None:
    """Read both, and print the difference."""
    given = _arguments()
    task, named = _read(given.run)
    for name in (given.system, given.against):
        if name not in named:
            sys.exit(f"{given.run} has no answers of {name}; there are {', '.join(sorted(named))}")
    one, other = (_asked_for(named[name], given) for name in (given.system, given.against))
    if not one.keys() & other.keys():
        sys.exit(f"{given.run} has no such questions that both were asked")
    mean, half, count = difference(_values(task, one), _values(task, other))
    print(f"{given.system} - {given.against}: {mean:+.4f} +- {half:.4f}, {count} questions")
    rows = [] if task == _PERPLEXITY else right_answers(one, other)
    if rows:
        print("\n| kind | tokens | right | against | by one alone | difference | by chance |")
        print("|---|---|---|---|---|---|---|")
    for row in rows:
        print(_shown(row))
    print(json.dumps({"difference": mean, "half": half, "questions": count, "right": rows}))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path, help="folder of the run")
    parser.add_argument("--system", required=True, help="by its name, with options")
    parser.add_argument("--against", required=True)
    parser.add_argument("--kind", help="questions of this kind alone, such as note")
    parser.add_argument("--wanted", type=int, help="those of this distance or length alone")
    return parser.parse_args()


def _read(run: Path) -> tuple[str, dict[str, _Lines]]:
    """The benchmark, and of each system every answer by its question; what failed is left out."""
    task, found = "", dict[str, _Lines]()
    for path in sorted(run.glob("*/answers.jsonl")):
        head, *lines = (json.loads(line) for line in path.read_text("utf-8").split("\n") if line)
        task = str(head["task"])
        found[str(head["system"])] = {
            (line.get("plan", ""), line["seed"], line["key"]): {"wanted": None, **line}
            for line in lines
            if ("credit" in line or "scores" in line) and "error" not in line
        }
    return task, found


def _asked_for(lines: _Lines, given: argparse.Namespace) -> _Lines:
    return {
        key: line
        for key, line in lines.items()
        if given.kind in (None, line.get("kind")) and given.wanted in (None, line["wanted"])
    }


def _values(task: str, lines: _Lines) -> dict[_Key, float]:
    return {key: measured(task, line) for key, line in lines.items()}


def measured(task: str, line: Mapping[str, Any]) -> float:
    """Credit, nats a token, or the right option's share of the probability.

    Args:
        task: the benchmark's name.
        line: an answer.
    """
    if task == RecognitionTask.name:
        return share_of_right(line)
    if task != _PERPLEXITY:
        return float(line["credit"])
    ((log_probability, tokens),) = line["scores"]
    return -float(log_probability) / int(tokens)


def difference(one: Mapping[_Key, float], other: Mapping[_Key, float]) -> tuple[float, float, int]:
    """The mean difference over the questions that both were asked, half of its 95% interval, and
    how many they are.
    """
    found = [one[key] - other[key] for key in one if key in other]
    return *interval(found), len(found)


def right_answers(one: _Lines, other: _Lines) -> list[dict[str, Any]]:
    """Of every kind of question at every distance, and of all that have an answer, what is right.

    Args:
        one: by question, what the first system answered.
        other: the second; what both were asked counts.
    """
    groups: dict[tuple[str, int | None], list[tuple[bool, bool]]] = {}
    everything = []
    for key, line in one.items():
        if key in other:
            pair = bool(line["right"]), bool(other[key]["right"])
            groups.setdefault((str(line["kind"]), line["wanted"]), []).append(pair)
            everything += [pair] if line["answers"] else []
    groups["all", None] = everything
    return [_row(*group, Pairs.of(pairs)) for group, pairs in groups.items() if pairs]


def _row(kind: str, wanted: int | None, pairs: Pairs) -> dict[str, Any]:
    low, high = pairs.interval
    one, other = pairs.shares
    return {
        "kind": kind,
        "wanted": wanted,
        "asked": pairs.asked,
        "right": [pairs.both + pairs.first, pairs.both + pairs.second],
        "alone": [pairs.first, pairs.second],
        "difference": one - other,
        "low": low,
        "high": high,
        "chance": pairs.chance,
    }


def _shown(row: Mapping[str, Any]) -> str:
    right, against = (f"{count} of {row['asked']}" for count in row["right"])
    alone = " and ".join(map(str, row["alone"]))
    points = " to ".join(f"{100 * row[end]:+.0f}" for end in ("low", "high"))
    at = "" if row["wanted"] is None else f"{row['wanted']:,}"
    shown = f"{100 * row['difference']:+.0f} ({points})"
    return (
        f"| {row['kind']} | {at} | {right} | {against} | {alone} | {shown} | {row['chance']:.3g} |"
    )


if __name__ == "__main__":
    main()

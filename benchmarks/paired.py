"""Two systems of one run of ``memplus bench`` question by question: how far they are apart.

    python benchmarks/paired.py RUN --system memlong --against memlong:top_k=0

Intervals of two rows of a table overlap where the questions differ more than the systems do; the
same questions' differences do not. Printed is the mean of what the first system has more than the
second, with its 95% interval: of credit, 0 to 1; of the benchmark ``perplexity`` nats a token,
where less is better. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from intervals import interval

__all__ = ["difference", "main", "measured"]

_Key = tuple[int, str]


def main() -> None:
    """Read both, and print the difference."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path, help="folder of the run")
    parser.add_argument("--system", required=True, help="by its name, with options")
    parser.add_argument("--against", required=True)
    given = parser.parse_args()
    named = _read(given.run)
    for name in (given.system, given.against):
        if name not in named:
            sys.exit(f"{given.run} has no answers of {name}; there are {', '.join(sorted(named))}")
    mean, half, count = difference(named[given.system], named[given.against])
    print(f"{given.system} - {given.against}: {mean:+.4f} +- {half:.4f}, {count} questions")
    print(json.dumps({"difference": mean, "half": half, "questions": count}))


def _read(run: Path) -> dict[str, dict[_Key, float]]:
    """Of each system what every question gave."""
    found = {}
    for path in sorted(run.glob("*/answers.jsonl")):
        head, *lines = (json.loads(line) for line in path.read_text().splitlines())
        found[str(head["system"])] = {
            (line["seed"], line["key"]): measured(head["task"], line)
            for line in lines
            if line.get("wanted") is not None
        }
    return found


def measured(task: str, line: Mapping[str, Any]) -> float:
    """Credit, or nats a token.

    Args:
        task: the benchmark's name.
        line: an answer.
    """
    if task != "perplexity":
        return float(line["credit"])
    ((log_probability, tokens),) = line["scores"]
    return -float(log_probability) / int(tokens)


def difference(one: Mapping[_Key, float], other: Mapping[_Key, float]) -> tuple[float, float, int]:
    """The mean difference over the questions that both were asked, half of its 95% interval, and
    how many they are.
    """
    found = [one[key] - other[key] for key in one if key in other]
    return *interval(found), len(found)


if __name__ == "__main__":
    main()

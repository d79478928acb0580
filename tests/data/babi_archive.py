"""A small archive that looks like bAbI's."""

from __future__ import annotations

import zipfile
from pathlib import Path

PEOPLE = ("Mary", "John", "Daniel", "Sandra")
PLACES = ("garden", "kitchen", "office", "hallway", "bathroom", "bedroom")


def story(number: int) -> str:
    """Two moves and a question, another two and the same question."""
    who, other = PEOPLE[number % 4], PEOPLE[(number + 1) % 4]
    first, second, third = (PLACES[(number * step + step) % 6] for step in (1, 2, 5))
    return (
        f"1 {who} went to the {first}.\n"
        f"2 {other} moved to the {second}.\n"
        f"3 Where is {who}? \t{first}\t1\n"
        f"4 {who} journeyed to the {third}.\n"
        f"5 {other} went back to the {first}.\n"
        f"6 Where is {who}? \t{third}\t4\n"
    )


def make_archive(path: Path, tasks: range = range(1, 11), stories: int = 3) -> Path:
    """The test file of each task, all alike."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for task in tasks:
            archive.writestr(f"en/qa{task}_some-name_test.txt", "".join(map(story, range(stories))))
    return path

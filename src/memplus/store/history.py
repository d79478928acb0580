"""What the journal tells of a memory: its texts, the states that are kept, the manifest at one."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from memplus.errors import ConfigError, CorruptMemoryError, HistoryError, UsageError
from memplus.memory.checks import require
from memplus.memory.written_text import WrittenText
from memplus.store.folder import Folder, trimmed
from memplus.store.journal import Commit, Journal, now
from memplus.store.manifest import Generation, LogPart, Manifest

__all__ = [
    "committed_texts",
    "has_label",
    "held_labels",
    "kept_commits",
    "kept_generations",
    "labelled_write",
    "manifest_at",
    "nothing_behind",
    "require_place",
    "sought_state",
    "state_after",
]

_LONGEST_LABEL = 200


def committed_texts(
    journal: Journal, manifest: Manifest, writes: set[int]
) -> dict[int, WrittenText]:
    """What writes said, by id; those that are not committed yet are left out.

    Raises:
        CorruptMemoryError: the journal lacks one.
    """
    found = journal.texts(sorted(writes), manifest.writes)
    missing = {write for write in writes if write <= manifest.writes} - found.keys()
    if missing:
        raise CorruptMemoryError(journal.path, reason=f"it lacks write {min(missing)}")
    return found


def labelled_write(label: str) -> str:
    """What a commit of writes with that label is called.

    Raises:
        ConfigError: it is no label.
    """
    ok = isinstance(label, str) and 0 < len(label) <= _LONGEST_LABEL and label.isprintable()
    if not ok or " " in label:
        reason = f"a label has 1 to {_LONGEST_LABEL} printable characters, none of them a space"
        raise ConfigError("label", value=label, reason=reason)
    return f"write {label}"


def has_label(journal: Journal, manifest: Manifest, label: str) -> bool:
    """Whether one of the memory's commits has that label, those that are not kept included.

    Raises:
        ConfigError: it is no label.
        CorruptMemoryError: that commit was changed.
    """
    return journal.has_commit(labelled_write(label), manifest.commit)


def held_labels(journal: Journal, manifest: Manifest, labels: Iterable[str]) -> set[str]:
    """Those of some labels that the memory's commits have; see ``has_label``.

    Raises:
        ConfigError: one is no label.
        CorruptMemoryError: one of those commits was changed.
    """
    by_name = {labelled_write(label): label for label in labels}
    return {by_name[what] for what in journal.named(sorted(by_name), manifest.commit)}


def kept_commits(journal: Journal, manifest: Manifest) -> list[Commit]:
    """The states that can be gone back to, oldest first; the last is the present."""
    kept = {generation.snapshot for generation in manifest.generations}
    return [one for one in journal.commits(manifest.commit) if one.place.snapshot in kept]


def kept_generations(folder: Folder, generations: list[Generation], most: int) -> list[Generation]:
    """The newest generations whose files take at most so many bytes together."""
    kept: list[Generation] = []
    for generation in reversed(generations):
        most -= folder.size(generation)
        if most < 0:
            break
        kept.insert(0, generation)
    return kept


def state_after(journal: Journal, manifest: Manifest, write: int) -> Commit:
    """The last kept state in which ``write`` was the memory's last write.

    Raises:
        HistoryError: no such state is kept; says which are.
    """
    kept = kept_commits(journal, manifest)
    found = [commit for commit in kept if commit.writes == write]
    if not found:
        listed = ", ".join(str(number) for number in sorted({c.writes for c in kept}))
        raise HistoryError(write, kept=listed)
    require_place(found[-1], manifest, journal.path)
    return found[-1]


def sought_state(
    journal: Journal, manifest: Manifest, to_write: int | None, commit: int | None
) -> Commit:
    """A kept state by its last write or by the number of its commit.

    Raises:
        UsageError: both are given, or neither.
        HistoryError: no such state is kept; says which are.
    """
    if commit is None and to_write is not None:
        return state_after(journal, manifest, to_write)
    if commit is None or to_write is not None:
        raise UsageError("Name the write or the commit to go back to, and not both.")
    kept = kept_commits(journal, manifest)
    found = [one for one in kept if one.number == commit]
    if not found:
        listed = ", ".join(str(one.number) for one in kept)
        raise HistoryError(commit, kept=listed, what="commit")
    require_place(found[0], manifest, journal.path)
    return found[0]


def require_place(commit: Commit, manifest: Manifest, path: Path) -> None:
    """Refuse a kept commit whose state lies nowhere in the logs that the manifest names.

    Raises:
        CorruptMemoryError: naming it; ``path`` is the journal's.
    """
    place = commit.place
    logs = next(one.logs for one in manifest.generations if one.snapshot == place.snapshot)
    lengths = {"": 0} | {part.name: part.length for part in logs}
    field = f"commit {commit.number}"
    require(place.log in lengths, path, f"{field}.log", f"is {place.log!r}, which is not kept")
    most = lengths[place.log]
    require(place.length <= most, path, f"{field}.length", f"is {place.length} of {most} bytes")


def manifest_at(manifest: Manifest, commit: Commit) -> Manifest:
    """What the manifest would say had that commit been the last one; the journal keeps its name."""
    at = [g.snapshot for g in manifest.generations].index(commit.place.snapshot)
    generation = manifest.generations[at]
    logs: list[LogPart] = []
    if commit.place.log:
        names = [part.name for part in generation.logs]
        logs = generation.logs[: names.index(commit.place.log)]
        logs = [*logs, LogPart(commit.place.log, commit.place.length)]
    return replace(
        manifest,
        commit=commit.number,
        numbered=max(manifest.numbered, manifest.commit),
        writes=commit.writes,
        tokens=commit.tokens,
        waiting=commit.waiting,
        changed=now(),
        log_open=False,
        segments=trimmed(manifest.segments, generation.physical),
        generations=[*manifest.generations[:at], replace(generation, logs=logs)],
    )


def nothing_behind(folder: Folder, manifest: Manifest) -> tuple[Manifest, dict[str, str]]:
    """The manifest with new files for those that hold more than it counts, such as what was taken
    back; they are on the disk, their names are not yet. Copies, since others read the old ones.

    Returns:
        It, and what its new logs are called by the old ones' names.

    Raises:
        OSError: the disk refused.
        CorruptMemoryError: what is to be copied is damaged.
    """
    logs: dict[str, str] = {}
    for name, length in manifest.log_lengths.items():
        if (folder.path / name).stat().st_size > length:
            path = folder.new("log")
            folder.disk.copy(folder.path / name, path, length)
            logs[name] = path.name
    generations = [
        replace(
            one, logs=[LogPart(logs.get(part.name, part.name), part.length) for part in one.logs]
        )
        for one in manifest.generations
    ]
    segments = [folder.shortened(entry) for entry in manifest.segments]
    return replace(manifest, generations=generations, segments=segments), logs

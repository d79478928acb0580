"""Episodes made ahead of their steps, in processes of their own.

An episode takes tens of milliseconds of Python. On a CPU that is little beside a step; a GPU would
wait for it. What is made does not depend on who makes it.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context, parent_process
from threading import Thread
from typing import Any

import torch

from memplus.training.notes.episodes import EpisodeMaker
from memplus.training.notes.jobs import Episode, JobSource, NotesJob

__all__ = ["made_ahead"]

_AHEAD = 3
"""Steps that each process is ahead."""
_makers: list[EpisodeMaker] = []
"""The maker of a process that makes episodes."""
_Key = tuple[int, int, int, int]
"""Seed, step, part and stage: the arguments of ``draw``."""
_Made = tuple[NotesJob, dict[str, Any]]
"""A job without its tensors, and those as arrays: tensors would go through shared memory."""


@contextlib.contextmanager
def made_ahead(maker: EpisodeMaker, processes: int) -> Iterator[JobSource]:
    """A source of the maker's own jobs, made ahead by so many processes; by none with 0."""
    if not processes:
        yield maker
        return
    # Spawned: a fork would copy the state of a GPU that is in use.
    pool = ProcessPoolExecutor(
        processes, mp_context=get_context("spawn"), initializer=_begin, initargs=(maker,)
    )
    try:
        yield _Ahead(pool, _AHEAD * processes)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


class _Ahead:
    """Asks for the next steps' jobs whenever one is drawn."""

    def __init__(self, pool: ProcessPoolExecutor, depth: int) -> None:
        self._pool = pool
        self._depth = depth
        self._asked: dict[_Key, Future[_Made]] = {}

    def draw(self, seed: int, step: int, part: int, stage: int) -> NotesJob:
        """The job of a step; those of other stages and of steps gone by are dropped."""
        ahead = [(seed, step + more, part, stage) for more in range(self._depth)]
        for key in self._asked.keys() - set(ahead):
            self._asked.pop(key).cancel()
        for key in ahead:
            if key not in self._asked:
                self._asked[key] = self._pool.submit(_draw, key)
        job, arrays = self._asked.pop(ahead[0]).result()
        parts = {name: torch.from_numpy(array) for name, array in arrays.items()}
        return replace(job, episode=Episode(**parts))


def _begin(maker: EpisodeMaker) -> None:
    Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(1)
    _makers[:] = [maker]


def _end_with_parent() -> None:
    """A killed process tells its pool nothing: what it started would wait for work for ever."""
    parent = parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _draw(key: _Key) -> _Made:
    job = _makers[0].draw(*key)
    arrays = {name: part.numpy() for name, part in vars(job.episode).items()}
    nothing: Any = None
    return replace(job, episode=nothing), arrays

"""How the threads of one product wait for each other: asleep, so that other programs cost little.

At the end of each product its threads meet. By default they wait awake, for milliseconds, on a core
that the last of them may need. Where nothing else runs that is faster by some twenty percent; where
other programs hold the cores, a small model was ten to twenty times as slow (LOG.md).
"""

from __future__ import annotations

from collections.abc import MutableMapping

__all__ = ["wait_asleep"]

_POLICY = "OMP_WAIT_POLICY"
_DECIDED = (_POLICY, "OMP_NUM_THREADS", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")


def wait_asleep(environment: MutableMapping[str, str]) -> None:
    """Have threads sleep while they wait, unless somebody has said how many or how they wait.

    OpenMP reads this once, when torch is loaded: later it changes nothing.

    Args:
        environment: of the process, ``os.environ``; changed.
    """
    if not any(name in environment for name in _DECIDED):
        environment[_POLICY] = "PASSIVE"

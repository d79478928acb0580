"""Random weights of LongMem for the tiny model of ``tests.systems.conftest``."""

from tests.systems.latent.toy import tiny_weights

from memplus.systems.longmem.options import LongMemOptions
from memplus.systems.longmem.system import LongMemSystem

SIZES = {
    "reduction": 2,
    "memory_layer": 2,
    "chunk_tokens": 2,
    "retrieved_tokens": 8,
    "segment_tokens": 12,
    "gate_rate": 1.0,
}


def options() -> dict[str, str]:
    """As the command line has them."""
    made = LongMemOptions(**SIZES, init="published")  # type: ignore[arg-type]
    folder = tiny_weights(LongMemSystem, made)
    return {"weights": str(folder), **{name: str(value) for name, value in SIZES.items()}}

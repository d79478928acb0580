"""A slow, readable M+ and MemoryLLM in plain torch: what the library is compared with."""

from tests.reference.checkpoints import Shape, random_checkpoint
from tests.reference.config import ReferenceConfig
from tests.reference.model import Read, Reference, Write
from tests.reference.state import Row, State, empty_state

__all__ = [
    "Read",
    "Reference",
    "ReferenceConfig",
    "Row",
    "Shape",
    "State",
    "Write",
    "empty_state",
    "random_checkpoint",
]

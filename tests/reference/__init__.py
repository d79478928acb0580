"""A slow, readable M+ and MemoryLLM in plain torch: what the library is compared with."""

from tests.reference.checkpoints import Shape, random_checkpoint
from tests.reference.config import ReferenceConfig
from tests.reference.model import Read, Reference
from tests.reference.state import Row, State

__all__ = [
    "Read",
    "Reference",
    "ReferenceConfig",
    "Row",
    "Shape",
    "State",
    "random_checkpoint",
]

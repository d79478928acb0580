"""Many memories on disk: durable writes, mapped rows, a journal. Never heard of model libraries."""

from memplus.store.leases import Lease
from memplus.store.sharded import ShardedStore
from memplus.store.store import MemoryStore
from memplus.store.stored import StoredMemory

__all__ = ["Lease", "MemoryStore", "ShardedStore", "StoredMemory"]

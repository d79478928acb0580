"""MemLong (2408.16967): chunks of the past as one layer's keys and values, looked up by text."""

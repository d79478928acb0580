"""The facade: weights with a memory, and what can be done to memories with them."""

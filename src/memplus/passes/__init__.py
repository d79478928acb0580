"""Where memory meets backbone: the write pass and the read pass."""

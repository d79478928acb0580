"""Memories in use: documents written into them, conversations held with them."""

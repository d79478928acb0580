"""The nano's recipe: questions about notes."""

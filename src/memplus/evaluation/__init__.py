"""Evaluation: what a memory recalls, by distance."""

"""Runs on running text, from a YAML config."""

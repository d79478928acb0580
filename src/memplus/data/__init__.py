"""Texts, notes and questions as they come; knows no model."""

"""Fitting the rule that says which spans a later one replaces, on what a model's own keys tell."""

"""LongMem (2306.07174): keys and values of one layer, found again by a side network."""

"""LaMemo (2204.07341): a window of remembered positions that what comes after them refreshes."""

"""The command line: flags and output, no logic."""

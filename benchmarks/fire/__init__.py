"""Robustness of the library: damaged files, killed processes, two processes at once."""

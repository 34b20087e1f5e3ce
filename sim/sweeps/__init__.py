"""Sweeps: every combination of values, resumable, by one process, many or a cluster."""

"""Micro-benchmarks: one experiment a table, one line a point, medians with their spread."""

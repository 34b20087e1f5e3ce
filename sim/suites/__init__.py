"""Suites: published measurements predicted row by row, one file each, found by its name.

A suite has its settings and rows in workloads/suites; its module says how a row becomes a scenario.
"""

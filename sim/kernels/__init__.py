"""Kernel models: what each kernel of a pass asks for, in bytes and multiplications. No time in here.

A file per family turns shapes into demands; `lower.py` strings them together as the execution plan says. A kernel model
does not know what else is running.
"""

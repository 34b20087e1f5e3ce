"""Measurement: the reference decoder on a real device, driven by the very schedules that the simulator plays.

Needs torch, numpy, pandas, pyyaml and the standard library; never the insides of the simulated machine.
"""

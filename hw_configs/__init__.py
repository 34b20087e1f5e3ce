"""Data only: GPUs, software stacks, DRAM timings. Found by speedsim.registry."""

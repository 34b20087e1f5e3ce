"""A small card for the cycle tier."""

from __future__ import annotations

from dataclasses import replace

from speedsim.catalog import load_dram, load_gpu

HBM3 = load_dram("hbm3_6400").value
H200 = load_gpu("h200_sxm").value
GPU = replace(H200, sm=replace(H200.sm, count=8),
              l2=replace(H200.l2, slices=8, capacity_bytes=8 * 640 * 1024, bandwidth_bytes_per_s=0.6e12,
                         link_bytes_per_s=0.15e12),
              hbm=replace(H200.hbm, channels=16, refresh="none",
                          bandwidth_bytes_per_s=H200.hbm.bandwidth_bytes_per_s / 12))
"""A twelfth of an H200, without refresh, so that a request can be alone."""

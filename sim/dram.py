"""A DRAM timing set: how one (pseudo-)channel is built and what must lie between two commands, after JEDEC.

    channel = bank groups x banks, each with one open row; a column command moves `access` bytes in `burst` clocks

What belongs to the interface is counted in clocks (burst, CCD, length of an activate), what belongs to the array is a
time: a card with another data rate keeps the times and rounds them up to its own clocks.
Ignored: temperature, row-hammer mitigation (RFM), stack identifiers (SID), training.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

from .units import InputError

_TIMES = ("cl", "cwl", "rcd_read", "rcd_write", "rp", "ras", "rc", "wr", "rtp", "rrd_s", "rrd_l", "faw", "wtr_s",
          "wtr_l", "rtw", "refi", "rfc_all", "rfc_bank", "rrefd")


@dataclass(frozen=True, slots=True, kw_only=True)
class Dram:
    """One channel; times are picoseconds. `name` is its file's."""

    name: str
    title: str
    clock_hz: float
    """The command clock (CK) for which the set was written."""
    bytes_per_clock: int
    """What the data bus moves in a clock."""
    access_bytes: int
    """What one column command moves."""
    bank_groups: int
    banks: int
    """In each group."""
    row_bytes: int
    ccd_s_clocks: int
    """Between column commands of two bank groups."""
    ccd_l_clocks: int
    """Between column commands of one."""
    activate_half_clocks: int
    """How long an activate holds the row commands' bus."""
    ppd_clocks: int
    """Between two precharges."""
    half_clock_precharge: bool
    """Whether a precharge may start in the middle of a clock."""
    cl_ps: int
    """From a read to its first data."""
    cwl_ps: int
    rcd_read_ps: int
    """From an activate to a read."""
    rcd_write_ps: int
    rp_ps: int
    """From a precharge to an activate."""
    ras_ps: int
    """From an activate to a precharge."""
    rc_ps: int
    """Between activates of one bank."""
    wr_ps: int
    """From the last written data to a precharge."""
    rtp_ps: int
    """From a read to a precharge."""
    rrd_s_ps: int
    """Between activates of two bank groups."""
    rrd_l_ps: int
    """Between activates of one."""
    faw_ps: int
    """In which at most four activates may fall."""
    wtr_s_ps: int
    """From the last written data to a read of another bank group."""
    wtr_l_ps: int
    rtw_ps: int
    """From a read to a write."""
    refi_ps: int
    """Between refreshes of all banks; of one bank, so much over the number of banks."""
    rfc_all_ps: int
    """How long a refresh of all banks takes."""
    rfc_bank_ps: int
    rrefd_ps: int
    """From the refresh of a bank to an activate of another."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, int | float) and not isinstance(value, bool) and value <= 0:
                raise ValueError(f"{field.name}={value} is not above 0")
        for low, high in (("rrd_s", "faw"), ("ras", "rc"), ("rrd_s", "rrd_l"), ("wtr_s", "wtr_l")):
            less, more = getattr(self, f"{low}_ps"), getattr(self, f"{high}_ps")
            if more < less:
                raise ValueError(f"{high}={more} ps is below {low}={less} ps")
        if self.ccd_l_clocks < self.ccd_s_clocks:
            raise ValueError(f"ccd_l={self.ccd_l_clocks} is below ccd_s={self.ccd_s_clocks}")
        if self.access_bytes % self.bytes_per_clock:
            raise ValueError(f"access={self.access_bytes} is no multiple of bytes_per_clock={self.bytes_per_clock}")
        if self.row_bytes % self.access_bytes:
            raise ValueError(f"row={self.row_bytes} is no multiple of access={self.access_bytes}")

    @property
    def warnings(self) -> tuple[str, ...]:
        """What is odd but can be played."""
        if self.rc_ps >= self.ras_ps + self.rp_ps:
            return ()
        return (f"{self.name}: rc={self.rc_ps} ps is below ras + rp = {self.ras_ps + self.rp_ps} ps; the sum holds",)

    def clock_fs(self, bytes_per_s: float) -> int:
        """The command clock's period in femtoseconds on a channel of this rate."""
        if bytes_per_s <= 0:
            raise InputError(f"a channel of {bytes_per_s:g} bytes/s")
        return round(self.bytes_per_clock * 1e15 / bytes_per_s)

    def clocks(self, name: str, clock_fs: int) -> int:
        """A time in whole clocks of this period."""
        if name not in _TIMES:
            raise ValueError(f"{name} is no time of a DRAM set")
        time_ps: int = getattr(self, f"{name}_ps")
        # A set's own times are whole numbers of its clock, rounded to picoseconds: 1 ps is no further clock.
        return max(1, -(-(time_ps * 1000 - 1000) // clock_fs))

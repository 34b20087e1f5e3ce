"""The verb `kernel`: what one linear layer, or one decode attention, takes by itself and why.

Every number of a shape may be a list or a range (`1,8,64`, `1:16`); each combination is a line of the table, an entry
of the JSON, a row of the CSV.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..units import InputError

if TYPE_CHECKING:
    from ..machine.work import Timed
    from ..one_kernel import Attention, Bench, Linear

SCHEMA = "speedsim-kernel/1"
HELP = "one linear layer or attention by itself: time, parts, tile, waves"

MOST = 10_000
"""Combinations at a time."""
PROBE_FS = 50_000_000
"""Between two samples of a probe, at first."""
LARGEST = 2**31
_MASKED = ("triton",)
"""Attention backends whose source takes a mask among the rows of a sequence."""
_WIDE = ("flash2",)
"""Those that take no keys and values of 8 bits."""
_SHAPES = {
    "linear": (("rows", "M", None), ("n", "N", None), ("k", "K", None)),
    "attention": (("batch", "B", None), ("context", "C", None), ("heads", "H", None), ("kv-heads", "K", None),
                  ("head-dim", "D", None), ("rows", "M", "1"), ("window", "W", "0")),
}
_WORDS = {
    "rows": "rows of the layer, or queries of each sequence", "n": "outputs", "k": "inputs", "batch": "sequences",
    "context": "keys, those of the last query", "heads": "query heads", "kv-heads": "heads of keys and values",
    "head-dim": "elements of a head", "window": "latest keys that a query sees, 0: all",
}


def options(parser: argparse.ArgumentParser) -> None:
    """Add the verb's operations and their options."""
    deeds = parser.add_subparsers(dest="op", metavar="linear|attention", required=True)
    for op, words in (("linear", "y[rows, n] = x[rows, k] W[n, k]^T"), ("attention", "decode attention")):
        one = deeds.add_parser(op, help=words, allow_abbrev=False)
        one.add_argument("--gpu", default="h200_sxm", metavar="NAME", help="what is soldered (default h200_sxm)")
        for name, letter, default in _SHAPES[op]:
            one.add_argument(f"--{name}", metavar=letter, required=default is None, default=default,
                             help=_WORDS[name] + (f" (default {default})" if default else ""))
        if op == "attention":
            one.add_argument("--tree", action="store_true", help="the queries are nodes of a tree, under a mask")
        _state_options(one, op)


def _state_options(parser: argparse.ArgumentParser, op: str) -> None:
    add = parser.add_argument
    what, usual = ("weights", "--rotate 6") if op == "linear" else ("keys and values", "--warm")
    state = parser.add_mutually_exclusive_group()
    state.add_argument("--warm", action="store_true", help=f"one buffer of {what}, read again and again")
    state.add_argument("--cold", action="store_true", help="nothing in the L2, as in most decode steps")
    state.add_argument("--rotate", type=int, metavar="N", help=f"N buffers in turn; as published: {usual} (default)")
    add("--dtype", default="bf16", metavar="TYPE", help=f"of {what} and activations (default bf16)")
    add("--stack", default="torch_graph", metavar="NAME", help="software (default torch_graph)")
    add("--tier", default="fluid", metavar="TIER", help="roofline, fluid (default) or cycle")
    add("--probe", metavar="FILE", help="tier cycle: counters of slices, channels and SMs over time, as Parquet")
    add("--csv", metavar="FILE", help="write a table")
    add("--json", metavar="FILE", help="write the whole answer; - is standard output")


def call(given: argparse.Namespace) -> int:
    """Answer, on the screen, as CSV or as JSON."""
    from ..files import to_json, write_text

    found = document(given)
    if given.csv is not None:
        write_text(given.csv, _csv(found))
    if given.json == "-":
        print(to_json(found))
        return 0
    if given.json is not None:
        write_text(given.json, to_json(found) + "\n")
    print(text(found))
    return 0


def document(given: argparse.Namespace) -> dict[str, Any]:
    """The answer: the first combination's entries at the top, all of them in `points` where there are more."""
    from ..catalog import load_gpu, load_stack
    from ..one_kernel import Bench
    from ..scenario import TIERS

    if given.tier not in TIERS:
        raise InputError(f"--tier {given.tier}: tier: must be one of {', '.join(TIERS)}")
    gpu, stack = load_gpu(given.gpu), load_stack(given.stack)
    bench = Bench(gpu.value, stack.value, given.tier)
    buffers = _buffers(given)
    watched = None if given.probe is None else bench.watch(PROBE_FS)
    points = [_point(bench, kernel, buffers) for kernel in _kernels(given)]
    if watched is not None:
        _write_probe(given.probe, watched)
    if given.op == "attention":
        points = [point | _rule(bench, kernel, buffers, given.tree)  # type: ignore[arg-type]
                  for point, kernel in zip(points, _kernels(given), strict=True)]
    head: dict[str, Any] = {
        "schema": SCHEMA, "op": given.op,
        "gpu": {"name": gpu.value.name, "title": gpu.value.title, "hash": gpu.digest},
        "stack": {"name": stack.value.name, "hash": stack.digest},
        "tier": given.tier, "buffers": buffers,
    }
    return head | points[0] | ({"points": points} if len(points) > 1 else {})


def _write_probe(path: str, watched: Sequence[Mapping[str, Mapping[str, Any]]]) -> None:
    """One row per kernel, time, part and counter."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from ..files import whole_file

    tables = []
    for number, parts in enumerate(watched):
        for part, counters in parts.items():
            times = counters["time_fs"]
            for name, values in counters.items():
                if name == "time_fs":
                    continue
                count = values.shape[1]
                tables.append(pa.table({
                    "kernel": pa.array([number] * values.size, pa.int32()),
                    "time_ps": (times // 1000).repeat(count),
                    "part": pa.array([part] * values.size).dictionary_encode(),
                    "index": pa.array(list(range(count)) * len(times), pa.int32()),
                    "counter": pa.array([name] * values.size).dictionary_encode(),
                    "value": values.reshape(-1),
                }))
    with whole_file(path) as stream:
        pq.write_table(pa.concat_tables(tables).unify_dictionaries(), stream, compression="zstd")


def _buffers(given: argparse.Namespace) -> int:
    """How many buffers the cache saw in turn before."""
    from ..one_kernel import COLD, ROTATED, WARM

    if given.cold:
        return COLD
    if given.warm:
        return WARM
    if given.rotate is None:
        return ROTATED if given.op == "linear" else WARM
    if not 1 <= given.rotate <= MOST:
        raise InputError(f"--rotate {given.rotate}: 1 to {MOST} buffers")
    return int(given.rotate)


def _kernels(given: argparse.Namespace) -> list[Linear | Attention]:
    """Every combination of the shape's numbers."""
    from ..hardware import DTYPE_BITS, FORMATS
    from ..one_kernel import Attention, Linear

    known = FORMATS if given.op == "linear" else DTYPE_BITS
    if given.dtype not in known:
        raise InputError(f"--dtype {given.dtype}: must be one of {', '.join(known)}")
    names = [name for name, _, _ in _SHAPES[given.op]]
    lists = [_numbers(name, getattr(given, name.replace("-", "_"))) for name in names]
    count = 1
    for values in lists:
        count *= len(values)
    if count > MOST:
        raise InputError(f"{count} combinations of {', '.join(f'--{name}' for name in names)}: at most {MOST:,}")
    shapes = itertools.product(*lists)
    if given.op == "linear":
        return [Linear(rows, n, k, given.dtype) for rows, n, k in shapes]
    made: list[Linear | Attention] = []
    for batch, context, heads, kv_heads, head_dim, rows, window in shapes:
        made.append(_checked(Attention(batch, context, heads, kv_heads, head_dim, rows, given.dtype, window)))
    return made


def _checked(kernel: Attention) -> Attention:
    """The attention; one that no model has is refused."""
    if kernel.heads % kernel.kv_heads:
        raise InputError(f"--heads {kernel.heads}: not a multiple of --kv-heads {kernel.kv_heads}")
    if kernel.rows > kernel.context:
        raise InputError(f"--rows {kernel.rows}: more queries than the --context of {kernel.context} keys")
    if kernel.batch * kernel.rows > MOST:
        raise InputError(f"--batch {kernel.batch} x --rows {kernel.rows}: at most {MOST:,} rows")
    return kernel


def _numbers(name: str, given: str) -> list[int]:
    """`4096`, `1,8,64` or `1:16`, both ends included."""
    found: list[int] = []
    least = 0 if name == "window" else 1
    for part in given.split(","):
        low, colon, high = part.partition(":")
        try:
            ends = int(low), int(high if colon else low)
        except ValueError:
            raise InputError(f"--{name} {given}: whole numbers are expected, such as 8, 1,8,64 or 1:16") from None
        if not least <= ends[0] <= ends[1] < LARGEST:
            raise InputError(f"--{name} {given}: must be {least} or more, ranges rising (and below 2^31)")
        if ends[1] - ends[0] >= MOST:
            raise InputError(f"--{name} {given}: at most {MOST:,} numbers")
        found += range(ends[0], ends[1] + 1)
    return found


def _point(bench: Bench, kernel: Linear | Attention, buffers: int) -> dict[str, Any]:
    """One kernel's answer."""
    from ..one_kernel import COLD, WARM

    told = bench.predict(kernel, buffers)
    return {
        "shape": kernel._asdict(), "bytes": kernel.bytes, "time_us": told.time_ps / 1e6,
        "parts_us": {why: time / 1e6 for why, time in told.parts_ps.items()},
        "l2_hit_fraction": told.hit, "near_knee": told.near_knee,
        "tile": told.tile, "splits": told.splits, "ctas": told.ctas, "waves": told.waves,
        "warm_us": bench.predict(kernel, WARM).time_ps / 1e6, "cold_us": bench.predict(kernel, COLD).time_ps / 1e6,
        "gap_us": bench.gpu.launch.node_gap_ps / 1e6, "kernels": [_kernel(timed) for timed in told.kernels],
    }


def _rule(bench: Bench, kernel: Attention, buffers: int, tree: bool) -> dict[str, Any]:
    """Whose rule cut the attention; where no source tells it, the time between two that bound it.

    A tree's mask: its nodes packed like the rows of a chain, or each a sequence of its own that reads the prefix again.
    Keys and values narrower than the library takes, so that another runs: its own cut, or splits while SMs are idle.
    """
    from dataclasses import replace

    from ..hardware import DTYPE_BITS
    from ..one_kernel import Bench
    from ..stack import of_generation

    kernels = bench.stack.kernels
    library = of_generation(kernels.attention.backend, bench.gpu.generation)
    if tree and kernel.rows > 1 and library not in _MASKED:
        other = bench.predict(kernel._replace(batch=kernel.batch * kernel.rows, rows=1), buffers)
    elif library in _WIDE and DTYPE_BITS[kernel.dtype] < 16:
        idle = replace(kernels.attention, backend={"default": "fill"})
        other = Bench(bench.gpu, replace(bench.stack, kernels=replace(kernels, attention=idle)), bench.tier).predict(
            kernel, buffers)
    else:
        return {"rule": {"library": library, "known": True}}
    ends = sorted((bench.predict(kernel, buffers).time_ps, other.time_ps))
    return {"rule": {"library": library, "known": False, "low_us": ends[0] / 1e6, "high_us": ends[1] / 1e6}}


def _kernel(timed: Timed) -> dict[str, Any]:
    work = timed.work
    return {
        "name": work.name.partition(".")[2], "time_us": timed.duration_ps / 1e6,
        "parts_us": {why: time / 1e6 for why, time in timed.parts}, "flop": work.flop,
        "l2_bytes": work.issued_bytes, "hbm_bytes": work.hbm_bytes, "ctas": work.grid.ctas, "steps": work.grid.steps,
    }


_COLUMNS = ("time_us", "warm_us", "cold_us", "l2_hit_fraction", "tile", "splits", "ctas", "waves")
_PARTS = ("launch", "latency", "l2", "hbm", "flop")


def _rows(found: dict[str, Any]) -> tuple[list[str], list[list[Any]]]:
    """(names of the columns, a row for each point)."""
    points = found.get("points", [found])
    shape = list(points[0]["shape"])
    head = [*shape, *_COLUMNS, *(f"{part}_us" for part in _PARTS)]
    return head, [[*point["shape"].values(), *(point[column] for column in _COLUMNS),
                   *(point["parts_us"].get(part, 0.0) for part in _PARTS)] for point in points]


def _csv(found: dict[str, Any]) -> str:
    head, rows = _rows(found)
    same = [found["gpu"]["name"], found["stack"]["name"], found["tier"], found["buffers"]]
    lines = [["gpu", "stack", "tier", "buffers", *head], *([*same, *row] for row in rows)]
    return "".join(",".join("" if cell is None else str(cell) for cell in line) + "\n" for line in lines)


def text(found: dict[str, Any]) -> str:
    """The answer for the screen."""
    state = {0: "cold", 1: "one buffer read again"}.get(found["buffers"], f"{found['buffers']} buffers in turn")
    what = "linear layer" if found["op"] == "linear" else "decode attention"
    lines = [f"{what}, {found['shape']['dtype']}, {found['gpu']['title']}, {found['stack']['name']}, tier "
             f"{found['tier']}, {state}: predicted", ""]
    head, rows = _rows(found)
    gone = head.index("dtype")
    cells = [[_cell(cell) for i, cell in enumerate(row) if i != gone] for row in (head, *rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(cells[0]))]
    lines += ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in cells]
    rules = [point["rule"] for point in found.get("points", [found]) if "rule" in point]
    for rule in [rule for rule in rules if not rule["known"]]:
        lines += ["", f"note: how {found['stack']['name']} cuts this is not known from a source: between "
                      f"{rule['low_us']:.2f} and {rule['high_us']:.2f} us"]
    if any(point["near_knee"] for point in found.get("points", [found])):
        lines += ["", "note: the reuse lies near the knee of the two-sided L2, which is hard to predict; the time is "
                      "between warm_us and cold_us"]
    return "\n".join(lines)


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.2f}" if isinstance(value, float) else str(value)

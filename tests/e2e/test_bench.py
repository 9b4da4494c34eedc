"""`galen bench` against running servers: every door, closed and open, and what it says when
something is wrong.
"""

import json
import signal
import subprocess
import tempfile
from pathlib import Path

import pytest

from support.demo import example, records
from support.server import BINARY, MODELS, PATIENCE, Server, environment, run, until

USAGE = 64
DOORS = ["rest-json", "rest-binary", "rest-typed", "grpc"]
SHORT = {"--duration": "300ms", "--warm-up": "50ms"}


def addresses(server: Server) -> list[str]:
    http = server.http if server.http.startswith("unix:") else f"http://{server.http}"
    return ["--url", http, "--grpc", server.grpc]


def bench(server: Server, model: str, *flags: str, cwd: Path, code: int = 0) -> list[dict]:
    """The runs of the JSON report."""
    short = [word for pair in SHORT.items() if pair[0] not in flags for word in pair]
    done = run("bench", model, *addresses(server), *short, "--json", *flags, cwd=cwd)
    assert done.returncode == code, done.stdout + done.stderr
    assert done.stderr == ""
    report = json.loads(done.stdout)
    assert report["schema"] == "galen.bench/1"
    assert report["model"] == model
    assert report["server"].startswith("galen ")
    for one in report["runs"]:
        assert one["requests"] == one["succeeded"] + one["failed"] + one["dropped"]
        assert one["failed"] == sum(error["count"] for error in one["errors"])
        latency = one["latency_us"]
        if latency:
            keys = ("p50", "p90", "p99", "p99_9", "max")
            assert [latency[key] for key in keys] == sorted(latency[key] for key in keys)
    return report["runs"]


@pytest.mark.parametrize("load", ["closed", "open"])
@pytest.mark.parametrize("door", DOORS)
def test_every_door_closed_and_open(shared, door, load, tmp_path):
    flags = ["--callers", "4"] if load == "closed" else ["--rate", "50", "--arrivals", "poisson"]
    pid = str(shared.process.pid)
    (one,) = bench(shared, "add-sub", "--door", door, *flags, "--pid", pid, cwd=tmp_path)
    assert (one["door"], one["loop"]) == (door, load)
    assert (one["callers"], one["rate"]) == ((4, None) if load == "closed" else (None, 50.0))
    assert one["succeeded"] == one["requests"] > 0
    assert one["per_second"] > 0
    assert one["late_us"] if load == "open" else one["late_us"] is None
    if Path("/proc/self/stat").exists():
        assert one["cpu_us"] >= 0
    served = one["served"]
    assert served["requests"] >= one["succeeded"]
    assert served["rows_per_batch"] >= 1
    assert 0 <= served["queue_share"] + served["compute_share"] <= 1


def test_a_grid_of_loads(shared, tmp_path):
    flags = ["--door", "grpc,rest-typed", "--callers", "1,2", "--rate", "20"]
    runs = bench(shared, "add-sub", *flags, "--requests", "5", cwd=tmp_path)
    assert [(one["door"], one["callers"] or one["rate"]) for one in runs] == [
        (door, load) for door in ("grpc", "rest-typed") for load in (1, 2, 20.0)
    ]
    assert all(one["succeeded"] == one["requests"] == 5 for one in runs)


@pytest.mark.parametrize("model, typed, tensors", [
    ("breast-cancer", "example", "made up"),
    ("breast-cancer/1", "example", "made up"),
    ("ecg-rhythm", "example", "example"),
    ("identity", "example", "example"),
])
def test_the_request_is_the_servers_example_where_it_has_one(
    shared, model, typed, tensors, tmp_path
):
    flags = [word for door in DOORS for word in ("--door", door)]
    runs = bench(shared, model, *flags, "--requests", "3", cwd=tmp_path)
    wanted = {door: typed if door == "rest-typed" else tensors for door in DOORS}
    assert {one["door"]: one["request"] for one in runs} == wanted
    assert all(one["succeeded"] == 3 for one in runs)


def test_a_request_of_ones_own(shared, tmp_path):
    rows = example("breast-cancer", "2")
    body = {**rows.body(), "records": records(rows)}
    (tmp_path / "request.json").write_text(json.dumps(body))
    flags = ["--data", "request.json", "--requests", "4", "--callers", "1"]
    flags += [word for door in DOORS for word in ("--door", door)]
    for one in bench(shared, "breast-cancer/2", *flags, cwd=tmp_path):
        assert (one["request"], one["succeeded"]) == ("file", 4)
        assert one["served"]["rows_per_batch"] == len(rows.inputs[0].values)


def test_over_unix_sockets(start, tmp_path):
    with tempfile.TemporaryDirectory(prefix="galen") as folder:
        doors = {door: f"unix:{folder}/{door}.sock" for door in ("http", "grpc", "metrics")}
        server = start(MODELS, **doors).wait_ready()
        flags = ["--door", "grpc,rest-binary", "--requests", "5"]
        runs = bench(server, "add-sub", *flags, cwd=tmp_path)
        assert [one["succeeded"] for one in runs] == [5, 5]
        assert server.stop() == 0


class TestASlowModel:
    """One that computes one request at a time, 50 a second at best."""

    DELAY_US = 20_000

    @pytest.fixture
    def slow(self, registry, start) -> Server:
        settings = "[batching]\nbatch_size_max = 1\nqueue_depth_max = 500"
        registry.add_echo("slow", delay_us=self.DELAY_US, shape=(-1, 4), settings=settings)
        settings = "[batching]\nbatch_size_max = 1\nqueue_depth_max = 1"
        registry.add_echo("full", delay_us=self.DELAY_US, shape=(-1, 4), settings=settings)
        return start(registry.path).wait_ready()

    def test_an_open_loop_shows_the_wait_that_a_closed_one_hides(self, slow, tmp_path):
        """Coordinated omission: at twice what the server can do, users wait longer and longer; a
        caller that waits for its answer just asks less, and sees nothing of it."""
        flags = ["--callers", "1", "--rate", "100", "--duration", "1s"]
        closed, opened = bench(slow, "slow", *flags, cwd=tmp_path)
        assert opened["requests"] == opened["succeeded"] == 100
        assert closed["latency_us"]["p50"] >= 0.95 * self.DELAY_US
        assert opened["latency_us"]["p99"] > 5 * closed["latency_us"]["p99"]
        # All the server says is that they waited.
        assert opened["served"]["queue_share"] > 0.7

    def test_what_is_due_beyond_the_limit_is_dropped_and_counted(self, slow, tmp_path):
        flags = ["--rate", "200", "--in-flight", "2"]
        (one,) = bench(slow, "slow", *flags, cwd=tmp_path)
        assert one["requests"] == 60
        assert one["dropped"] > 0 and one["succeeded"] > 0

    @pytest.mark.parametrize("door, status", [
        ("rest-json", "429"), ("rest-typed", "429"), ("grpc", "RESOURCE_EXHAUSTED"),
    ])
    def test_refusals_are_counted_and_timed(self, slow, door, status, tmp_path):
        flags = ["--door", door, "--callers", "8"]
        (one,) = bench(slow, "full", *flags, cwd=tmp_path)
        assert [error["status"] for error in one["errors"]] == [status]
        assert one["errors"][0]["first"] != ""
        assert one["succeeded"] > 0
        assert 0 < one["refused_after_us"] < one["latency_us"]["p50"]

    def test_what_has_no_answer_at_the_end_is_no_success(self, slow, tmp_path):
        flags = ["--rate=1000", "--warm-up", "0s", "--duration", "200ms", "--timeout", "0s"]
        (one,) = bench(slow, "slow", *flags, cwd=tmp_path)
        unanswered = {error["status"]: error["count"] for error in one["errors"]}["unanswered"]
        assert unanswered > 0
        assert unanswered + one["succeeded"] + one["dropped"] == one["requests"] == 200


@pytest.mark.parametrize("door", DOORS)
def test_if_every_request_fails_so_does_the_command(shared, door, tmp_path):
    wrong = {"name": "INPUT0", "datatype": "FP32", "shape": [1, 3], "data": [1, 2, 3]}
    body = {"inputs": [wrong], "records": [{"INPUT0": [1, 2, 3]}]}
    (tmp_path / "wrong.json").write_text(json.dumps(body))
    flags = ["--door", door, "--data", "wrong.json", "--requests", "3"]
    (one,) = bench(shared, "add-sub", *flags, cwd=tmp_path, code=1)
    assert one["failed"] == one["requests"] == 3
    assert one["latency_us"] is None
    (error,) = one["errors"]
    status = {"rest-typed": "422", "grpc": "INVALID_ARGUMENT"}.get(door, "400")
    assert (error["status"], error["count"]) == (status, 3)
    assert error["first"] != ""


def test_ctrl_c_ends_early_and_still_reports(shared, tmp_path):
    def answered() -> int:
        (stats,) = shared.get("/v2/models/identity/stats").json()["model_stats"]
        return stats["inference_stats"]["success"]["count"]

    before = answered()
    command = [BINARY, "bench", "identity", *addresses(shared), "--warm-up", "0s", "--json"]
    command += ["--duration", "10m", "--callers", "1", "--door", "rest-json,grpc"]
    process = subprocess.Popen(
        command, cwd=tmp_path, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    try:
        until(lambda: answered() > before)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=PATIENCE)
    finally:
        process.kill()
        process.wait(PATIENCE)
    assert (process.returncode, err) == (0, b"")
    (one,) = json.loads(out)["runs"]
    assert one["succeeded"] > 0
    assert one["seconds"] < PATIENCE


def test_the_table(shared, tmp_path):
    flags = [*addresses(shared), "--callers", "2", "--rate", "20", "--requests", "5"]
    done = run("bench", "add-sub/1", *flags, cwd=tmp_path)
    # No terminal, no bar.
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0].startswith("add-sub/1 on galen ")
    assert "the server's example" in lines[1]
    assert lines[3].split()[:3] == ["door", "load", "answers/s"]
    assert [" ".join(line.split()[:3]) for line in lines[4:6]] == [
        "rest-json 2 callers", "rest-json 20/s constant",
    ]


def test_an_unknown_model_is_told_with_its_neighbour(shared, tmp_path):
    for model, words in [
        ("brest-cancer", "did you mean 'breast-cancer'"),
        ("breast-cancer/9", "no such model"),
        ("zebra", "no such model"),
    ]:
        done = run("bench", model, *addresses(shared), cwd=tmp_path)
        assert (done.returncode, done.stdout) == (1, "")
        assert words in done.stderr, done.stderr


def test_a_server_that_is_not_there(shared, tmp_path):
    gone = f"unix:{tmp_path}/none.sock"
    done = run("bench", "add-sub", "--url", gone, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert "none.sock" in done.stderr
    # The model is known, but one of its doors is shut.
    flags = ["--url", f"http://{shared.http}", "--grpc", gone, "--door", "grpc"]
    done = run("bench", "add-sub", *flags, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert "none.sock" in done.stderr


@pytest.mark.parametrize("arguments, words", [
    ([], "MODEL"),
    (["add-sub", "--caller", "1"], "--callers"),
    (["add-sub", "--door", "rest-jsn"], "rest-json"),
    (["add-sub", "--callers", "0"], "--callers: expected 1"),
    (["add-sub", "--rate", "0"], "--rate: expected"),
    (["add-sub", "--duration", "5h"], "expected a time"),
    (["add-sub", "--arrivals", "posson"], "poisson"),
    (["add-sub", "--url", "https://127.0.0.1:1"], "TLS"),
    (["add-sub", "--grpc", "nowhere"], "--grpc: 'nowhere'"),
    (["add-sub", "--data", "none.json"], "none.json"),
    (["add-sub", "--data", "empty.json"], "neither"),
    (["add-sub", "--data", "records.json"], "'inputs'"),
    (["a/b/c"], "'b/c'"),
    (["../add-sub"], "MODEL/VERSION"),
], ids=lambda value: " ".join(value) if isinstance(value, list) else "")
def test_what_is_mistyped_is_told(tmp_path, arguments, words):
    (tmp_path / "empty.json").write_text("{}")
    (tmp_path / "records.json").write_text('{"records": []}')
    done = run("bench", *arguments, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (USAGE, "")
    assert words in done.stderr, done.stderr

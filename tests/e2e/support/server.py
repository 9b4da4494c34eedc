"""Galen as a process: started on ports of its own choosing, watched through its log, always ended.

What this file must not know: models, and what a test wants of the server.
"""

import json
import os
import signal
import subprocess
import threading
import time
from pathlib import Path

import grpc
import requests
from grpc_health.v1 import health_pb2, health_pb2_grpc

REPOSITORY = Path(__file__).resolve().parents[3]
BINARY = Path(os.environ.get("GALEN_BINARY", REPOSITORY / "target/debug/galen")).resolve()
MODELS = REPOSITORY / "models"

# How long anything may take that ought to take a moment: two busy cores, a debug build.
PATIENCE = 30.0
LOOPBACK = "127.0.0.1:0"
# On a unix socket, gRPC's C core names the path as the authority, which HTTP/2 does not allow.
AUTHORITY = (("grpc.default_authority", "localhost"),)


def environment() -> dict[str, str]:
    """This process's environment without what would configure a server behind a test's back."""
    return {key: value for key, value in os.environ.items() if not key.startswith("GALEN_")}


def run(*arguments: str, cwd: Path, timeout: float = PATIENCE) -> subprocess.CompletedProcess:
    """Runs a command of galen that ends by itself. `cwd` is a folder without a galen.toml."""
    return subprocess.run(
        [BINARY, *arguments],
        cwd=cwd,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


def until(condition, patience: float = PATIENCE):
    """The first true value of `condition`, which is asked again and again: a look at the server."""
    deadline = time.monotonic() + patience
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise TimeoutError(f"still {value!r} after {patience} s")


class Log:
    """The lines of a stream, read on a thread of their own, for whoever waits for one."""

    def __init__(self, stream):
        self.lines: list[str] = []
        self.ended = False
        self._news = threading.Condition()
        self._thread = threading.Thread(target=self._read, args=(stream,), daemon=True)
        self._thread.start()

    def _read(self, stream):
        with stream:
            for line in stream:
                with self._news:
                    self.lines.append(line.rstrip("\n"))
                    self._news.notify_all()
        with self._news:
            self.ended = True
            self._news.notify_all()

    def text(self) -> str:
        with self._news:
            return "\n".join(self.lines)

    def records(self) -> list[dict]:
        """The lines that are JSON objects, as such."""
        with self._news:
            lines = list(self.lines)
        return [record for record in map(parse, lines) if record is not None]

    def wait_for(self, count: int = 1, patience: float = PATIENCE, **fields) -> list[dict]:
        """The records that have these fields, once there are `count` of them."""
        deadline = time.monotonic() + patience
        while True:
            with self._news:
                seen, ended = len(self.lines), self.ended
            found = [r for r in self.records() if all(r.get(k) == v for k, v in fields.items())]
            if len(found) >= count:
                return found
            if ended or time.monotonic() > deadline:
                raise AssertionError(f"{len(found)} log lines with {fields}, not {count}")
            with self._news:
                self._news.wait_for(
                    lambda: len(self.lines) > seen or self.ended, deadline - time.monotonic()
                )

    def join(self):
        self._thread.join(PATIENCE)


def parse(line: str) -> dict | None:
    try:
        record = json.loads(line)
    except ValueError:
        return None
    return record if isinstance(record, dict) else None


class Server:
    """`galen serve` over a registry, from its first line of log to its exit code."""

    def __init__(self, models: Path, *flags: str, cwd: Path, **doors: str):
        command = [BINARY, "serve", "--models", models, "--log-format", "json"]
        self.doors = {"http": LOOPBACK, "grpc": LOOPBACK, "metrics": LOOPBACK, **doors}
        for door, address in self.doors.items():
            command += [f"--{door}", address]
        self.process = subprocess.Popen(
            [*command, *flags],
            cwd=cwd,
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
        )
        self.log = Log(self.process.stderr)
        self.session = requests.Session()
        self.addresses: dict[str, str] = {}

    def __enter__(self) -> "Server":
        try:
            for door in (door for door, address in self.doors.items() if address != "off"):
                line = self.log.wait_for(message="listening", door=door)[0]
                self.addresses[door] = line["address"]
        except BaseException:
            self.process.kill()
            self.process.wait(PATIENCE)
            raise AssertionError(f"galen did not start:\n{self.log.text()}") from None
        return self

    def __exit__(self, kind, *_):
        code = self.stop()
        if kind is None:
            self.check()
            assert code == 0, f"galen ended with {code}"

    def stop(self) -> int:
        """Ends the server as an orchestrator would; by force where it does not listen."""
        self.session.close()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(PATIENCE)
        self.log.join()
        return self.process.returncode

    def check(self):
        """Whatever a test is about: nothing panicked."""
        assert "panicked" not in self.log.text()

    def wait_ready(self) -> "Server":
        """Returns once the server says that it is ready."""
        with grpc.insecure_channel(self.grpc, AUTHORITY) as channel:
            request = health_pb2.HealthCheckRequest()
            states = health_pb2_grpc.HealthStub(channel).Watch(request, timeout=PATIENCE)
            for state in states:
                if state.status == health_pb2.HealthCheckResponse.SERVING:
                    break
        return self

    @property
    def http(self) -> str:
        return self.addresses["http"]

    @property
    def grpc(self) -> str:
        return self.addresses["grpc"]

    def get(self, path: str, **arguments) -> requests.Response:
        return self.call("GET", path, **arguments)

    def post(self, path: str, body=None, **arguments) -> requests.Response:
        """A POST; `body` goes as JSON."""
        return self.call("POST", path, json=body, **arguments)

    def call(self, verb: str, path: str, door: str = "http", **arguments) -> requests.Response:
        url = f"http://{self.addresses[door]}{path}"
        return self.session.request(verb, url, timeout=PATIENCE, **arguments)

    def metrics(self) -> requests.Response:
        return self.get("/metrics", door="metrics")

    def memory_bytes(self) -> int:
        """Resident memory now."""
        status = Path(f"/proc/{self.process.pid}/status")
        if status.exists():
            lines = status.read_text().splitlines()
            line = next(line for line in lines if line.startswith("VmRSS:"))
            return int(line.split()[1]) * 1024
        ps = ["ps", "-o", "rss=", "-p", str(self.process.pid)]
        return int(subprocess.run(ps, capture_output=True, check=True).stdout) * 1024

    def cpu_s(self) -> float:
        """Processor time that it has used, of Linux."""
        stat = Path(f"/proc/{self.process.pid}/stat").read_text()
        fields = stat[stat.rindex(")") + 1 :].split()
        return sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")

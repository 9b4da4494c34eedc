"""Fixtures: servers on the demo registry, registries for special models, and the log of whatever
server a failed test had.
"""

import os

import pytest

from support.registry import Registry
from support.server import BINARY, MODELS, Server

# Nothing here may leave the machine, and no proxy stands between a test and its server.
for name in list(os.environ):
    if name.lower().endswith("_proxy"):
        del os.environ[name]

# Lines of log that a failed test shows, and which ones say nothing about a failure.
LOG_LINES = 20
FINE = '"status":200'


def pytest_configure():
    if not BINARY.is_file():
        pytest.exit(f"there is no {BINARY}: build first, or set GALEN_BINARY", returncode=2)


@pytest.fixture(scope="session", params=["onnxruntime", "tract"])
def engine(request) -> str:
    """Both engines that compute ONNX: whoever uses it runs once on each."""
    return request.param


@pytest.fixture(scope="session")
def demo(engine, tmp_path_factory):
    """A server of the demo models on one engine."""
    cwd = tmp_path_factory.mktemp(engine)
    with Server(MODELS, "--backend", engine, cwd=cwd) as server:
        yield server.wait_ready()


@pytest.fixture(scope="session")
def shared(tmp_path_factory):
    """A server of the demo models as `make serve` starts it, for tests that leave no trace."""
    with Server(MODELS, cwd=tmp_path_factory.mktemp("shared")) as server:
        yield server.wait_ready()


@pytest.fixture
def registry(tmp_path) -> Registry:
    """An empty registry of the test's own."""
    return Registry(tmp_path / "models")


@pytest.fixture
def start(tmp_path):
    """Starts servers of the test's own, and ends them with it."""
    servers: list[Server] = []

    def start(models, *flags: str, **doors: str) -> Server:
        server = Server(models, *flags, cwd=tmp_path, **doors)
        servers.append(server)
        return server.__enter__()

    # For the report of a failed test.
    start.servers = servers
    yield start
    for server in servers:
        server.stop()
    for server in servers:
        server.check()


FIGURES = pytest.StashKey[list[str]]()


@pytest.fixture(scope="session")
def figures(pytestconfig) -> list[str]:
    """Lines for the end of the report: what a test has measured beside passing."""
    return pytestconfig.stash.setdefault(FIGURES, [])


def pytest_terminal_summary(terminalreporter, config):
    lines = config.stash.get(FIGURES, [])
    if lines:
        terminalreporter.section("figures")
    for line in lines:
        terminalreporter.line(line)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """Puts the log of each server that a failed test had beside the failure."""
    report = yield
    if report.failed:
        had: dict[Server, str] = {}
        for name, value in getattr(item, "funcargs", {}).items():
            servers = [value] if isinstance(value, Server) else getattr(value, "servers", [])
            had.update(dict.fromkeys(servers, name))
        for server, name in had.items():
            lines = [line for line in server.log.text().splitlines() if FINE not in line]
            lines = lines[-LOG_LINES:]
            report.sections.append((f"log of galen ({name})", "\n".join(lines)))
    return report

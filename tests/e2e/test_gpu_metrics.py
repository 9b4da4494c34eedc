"""NVIDIA's GPUs on the metrics port, with a stand-in for the driver's library: what two of them
say, and that a server without one, with a broken one or with one that hangs serves like any other.
"""

import ctypes
import os
import subprocess
import sys
from pathlib import Path

import pytest

from support.exposition import Scrape
from support.server import REPOSITORY, until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="it is looked for on Linux")

LIBRARY = "libnvidia-ml.so.1"
FIRST, SECOND = (f"GPU-00000000-0000-0000-0000-00000000000{letter}" for letter in "ab")
GAUGES = {
    FIRST: {
        "nv_gpu_utilization": 0.37,
        "nv_gpu_memory_total_bytes": 42949672960,
        "nv_gpu_memory_used_bytes": 33763098624,
        "nv_gpu_power_usage": 51.091,
        "nv_gpu_power_limit": 400,
    },
    # It does not say what it draws.
    SECOND: {
        "nv_gpu_utilization": 1,
        "nv_gpu_memory_total_bytes": 8589934592,
        "nv_gpu_memory_used_bytes": 0,
        "nv_gpu_power_limit": 350,
    },
}
ENERGY = "nv_energy_consumption"


def is_installed() -> bool:
    try:
        ctypes.CDLL(LIBRARY)
    except OSError:
        return False
    return True


@pytest.fixture(scope="session")
def built(tmp_path_factory) -> Path:
    """The folder of the stand-in."""
    folder = tmp_path_factory.mktemp("nvml")
    source = REPOSITORY / "tests/nvml/fake.c"
    command = [os.environ.get("CC", "cc"), "-shared", "-fPIC", "-o", folder / LIBRARY, source]
    subprocess.run(command, check=True)
    return folder


@pytest.fixture
def nvml(built, monkeypatch):
    """Lets servers find the stand-in, and says what is wrong with it."""

    def nvml(wrong: str = ""):
        paths = [str(built), os.environ.get("LD_LIBRARY_PATH", "")]
        monkeypatch.setenv("LD_LIBRARY_PATH", ":".join(filter(None, paths)))
        monkeypatch.setenv("FAKE_NVML", wrong)

    return nvml


def of_gpus(scrape: Scrape) -> dict[str, dict[str, float]]:
    """Gauges by GPU."""
    found: dict[str, dict[str, float]] = {}
    for family in scrape.families.values():
        for sample in family.samples:
            if sample.name.startswith("nv_gpu_"):
                assert family.type == "gauge"
                assert sample.labels.keys() == {"gpu_uuid"}
                found.setdefault(sample.labels["gpu_uuid"], {})[sample.name] = sample.value
    return found


def energy(server) -> float:
    return Scrape(server).value(ENERGY, gpu_uuid=FIRST)


def warnings(server) -> list[dict]:
    return [record for record in server.log.records() if record["level"] in {"WARN", "ERROR"}]


def threads(server) -> set[str]:
    tasks = Path(f"/proc/{server.process.pid}/task").glob("*/comm")
    return {task.read_text().strip() for task in tasks}


def has_library(server) -> bool:
    return LIBRARY in Path(f"/proc/{server.process.pid}/maps").read_text()


def test_two_gpus_are_told_in_tritons_units(registry, start, nvml):
    nvml()
    registry.add_demo("add-sub")
    server = start(registry.path).wait_ready()
    # The energy is what the server reads last: all figures are there once it has grown.
    joules = until(lambda: energy(server))
    assert joules % 5 == 0, "five more at each look, and none from before the server started"
    scrape = Scrape(server)
    assert of_gpus(scrape) == GAUGES
    (sample,) = scrape.samples(ENERGY)
    assert sample.labels == {"gpu_uuid": FIRST}
    assert scrape.families[ENERGY].type == "counter"
    assert len(server.log.wait_for(message="GPUs are measured", gpus=2)) == 1
    assert "galen-gpus" in threads(server)
    assert not warnings(server)


def test_a_gpu_that_goes_is_told_of_once(registry, start, nvml):
    nvml("lost")
    server = start(registry.add_demo("add-sub").parent).wait_ready()
    (gone,) = server.log.wait_for(message="a GPU has gone")
    assert gone["level"] == "WARN" and gone["gpu_uuid"] == SECOND
    assert "fell off the bus" in gone["reason"]
    before = energy(server)
    until(lambda: energy(server) > before)
    assert warnings(server) == [gone]
    assert of_gpus(Scrape(server)) == GAUGES, "its last figures stay"


def test_a_library_that_does_not_start_is_told_of_and_the_server_serves(registry, start, nvml):
    nvml("no-driver")
    server = start(registry.add_demo("add-sub").parent).wait_ready()
    (warning,) = server.log.wait_for(message="GPUs are not measured")
    assert warning["level"] == "WARN"
    assert warning["detail"] == "NVIDIA driver is not loaded"
    assert server.get("/v2/health/ready").ok
    until(lambda: "galen-gpus" not in threads(server))
    assert warnings(server) == [warning]
    assert not of_gpus(Scrape(server))


def test_a_driver_that_hangs_holds_up_nothing(registry, start, nvml):
    nvml("hangs")
    server = start(registry.add_demo("add-sub").parent).wait_ready()
    server.log.wait_for(message="GPUs are measured")
    assert server.get("/v2/health/ready").ok
    assert not of_gpus(Scrape(server))
    assert server.stop() == 0, "the server ends, too"


def test_without_metrics_it_is_not_opened(registry, start, nvml):
    nvml()
    server = start(registry.add_demo("add-sub").parent, metrics="off").wait_ready()
    assert not has_library(server)
    assert "galen-gpus" not in threads(server)


@pytest.mark.skipif(is_installed(), reason="this machine has NVIDIA's library")
def test_without_the_library_nobody_hears_of_it(registry, start):
    server = start(registry.add_demo("add-sub").parent).wait_ready()
    until(lambda: "galen-gpus" not in threads(server))
    text = server.metrics().text
    assert "nv_gpu_" not in text and ENERGY not in text
    assert not warnings(server)
    assert not [record for record in server.log.records() if "GPU" in record["message"]]

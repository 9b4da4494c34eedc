"""Runs what kserve_clients.py says of KServe's clients, in a process of its own: KServe and Triton
both register their own protobufs under the same names, and one process takes only one of them.
"""

import subprocess
import sys
from pathlib import Path

import pytest

CLIENTS = Path(__file__).with_name("kserve_clients.py")


@pytest.mark.timeout(300)
def test_kserve_clients(figures):
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "--quiet", CLIENTS],
        cwd=CLIENTS.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    figures.append(f"KServe's clients: {done.stdout.splitlines()[-1]}")

"""Starting, watching and ending a server's process tree, by what /proc says of it."""

import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def tree(root: int) -> list[int]:
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                stat = (entry / "stat").read_text()
            except OSError:
                continue
            parent = int(stat[stat.rindex(")") + 1 :].split()[1])
            children.setdefault(parent, []).append(int(entry.name))
    found = [root]
    for pid in found:
        found.extend(children.get(pid, []))
    return found


def rss_mib(root: int, field: str = "VmHWM") -> float:
    """Peak resident memory, summed over the tree; shared pages count once per process. What is
    resident now is `VmRSS`.
    """
    total = 0
    for pid in tree(root):
        try:
            for line in Path(f"/proc/{pid}/status").read_text().splitlines():
                if line.startswith(f"{field}:"):
                    total += int(line.split()[1])
        except OSError:
            continue
    return total / 1024


class Server:
    """A child process that is ready once every address of `ready` answers 200."""

    def __init__(self, command: list, env: dict, cwd: Path, ready: list[str], log: Path):
        self.begun = time.monotonic()
        with log.open("wb") as out:
            # A session of its own, so that all of it can be ended together.
            self.process = subprocess.Popen(
                [str(part) for part in command],
                env={**os.environ, **env},
                cwd=cwd,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )
        self.pid = self.process.pid
        try:
            for url in ready:
                self.wait(url, log)
        except BaseException:
            self.stop()
            raise
        self.ready_s = time.monotonic() - self.begun

    def wait(self, url: str, log: Path) -> None:
        while time.monotonic() - self.begun < 60:
            if self.process.poll() is not None:
                break
            try:
                with urllib.request.urlopen(url, timeout=2) as answer:
                    if answer.status == 200:
                        return
            except (OSError, urllib.error.URLError):
                time.sleep(0.01)
        raise RuntimeError(f"not ready; its log ends:\n{log.read_text(errors='replace')[-1500:]}")

    def stop(self) -> None:
        for number, patience in ((signal.SIGTERM, 5), (signal.SIGKILL, 5)):
            try:
                os.killpg(self.pid, number)
                self.process.wait(patience)
            except subprocess.TimeoutExpired:
                continue
            except ProcessLookupError:
                break
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass

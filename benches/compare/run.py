#!/usr/bin/env python3
"""Galen beside other servers: the same models, the same rows, one load generator.

    python benches/compare/run.py [--repeats 5] [--seconds 1.5] [--only galen,fastapi]

Builds Galen and the load generator (`benches/overhead.rs --drive`), installs each peer into an
environment of its own, and starts one after the other, over and over, so that a disturbance of the
machine meets all of them. Prints markdown. A peer that can not be installed or started is left out,
with the reason. Needs Linux, Python 3.11, cargo; nothing beyond the standard library.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import cells
import peers
from process import rss_mib

ROOT = Path(__file__).resolve().parents[2]


@dataclass
class Context:
    work: Path
    registry: Path
    models: list
    galen: Path
    driver: Path


@dataclass
class Cell:
    """The measurements of one request form of one server, by the number of callers."""

    runs: dict[int, list[dict]] = field(default_factory=dict)

    def median(self, key: str, callers: int) -> float:
        return statistics.median(run[key] for run in self.runs[callers])

    def least_cpu(self, callers: int) -> float:
        return min(run["cpu_us"] for run in self.runs[callers])


def build() -> tuple[Path, Path]:
    """The server and the load generator, as cargo names them."""
    command = ["cargo", "bench", "--locked", "--no-run", "--bench", "overhead"]
    command += ["--message-format", "json"]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    found = {}
    for line in done.stdout.splitlines():
        message = json.loads(line)
        if message.get("executable"):
            found[message["target"]["name"]] = Path(message["executable"])
    return found["galen"], found["overhead"]


def registry(work: Path) -> Path:
    """The models of the comparison alone: what others load, Galen loads."""
    folder = work / "models"
    folder.mkdir(exist_ok=True)
    for name in ("identity", "breast-cancer", "ecg-rhythm"):
        link = folder / name
        if not link.exists():
            subprocess.run(["cp", "-r", ROOT / "models" / name, link], check=True)
    return folder


def drive(context: Context, pid: int, call, callers: list[int], seconds: float) -> list[dict]:
    body = context.work / "body"
    body.write_bytes(call.body)
    command = [context.driver, "--drive", call.url, "--body", body]
    command += ["--content-type", call.content_type, "--tensor", call.tensor]
    command += ["--callers", ",".join(map(str, callers)), "--pid", pid]
    command += ["--seconds", seconds, "--warm-up", 0.5]
    for header in call.headers:
        command += ["--header", header]
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr.strip())
    return [json.loads(line) for line in done.stdout.splitlines()]


def check(call, model, expected: dict) -> None:
    """The first number of an answer must be the model's, whoever gives it."""
    if call.form not in ("typed", "array"):
        return
    request = urllib.request.Request(call.url, call.body, {"content-type": call.content_type})
    with urllib.request.urlopen(request, timeout=10) as answer:
        numbers = list(floats(json.load(answer)))
    wanted = expected[model.key]
    if not any(abs(number - wanted) < 1e-4 for number in numbers):
        raise RuntimeError(f"{call.url} answers without {wanted}: {numbers[:8]}")


def floats(value):
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for part in value:
            yield from floats(part)
    elif isinstance(value, float):
        yield value


def expectations(folder: Path, models: list, floor: dict) -> dict:
    """What the examples say; the engine alone, where there are none."""
    found = {}
    for model in models:
        path = folder / model.name / model.version / "examples.json"
        if path.exists():
            found[model.key] = float(json.loads(path.read_text())["outputs"][-1]["data"][0])
        else:
            found[model.key] = floor[model.key]["first"]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.5)
    parser.add_argument("--callers", default="1,8,64", help="separated by commas")
    parser.add_argument("--only", default="", help="names of peers, separated by commas")
    parser.add_argument("--galen", type=Path, help="another binary of Galen")
    options = parser.parse_args()
    options.callers = [int(count) for count in options.callers.split(",")]

    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")).absolute()
    work = target / "compare"
    work.mkdir(parents=True, exist_ok=True)
    library = target / "lib" / "libonnxruntime.so"
    if library.exists():
        os.environ.setdefault("ORT_DYLIB_PATH", str(library))
    galen, driver = build()
    folder = registry(work)
    models = cells.models(folder)
    context = Context(work, folder, models, options.galen or galen, driver)
    maker = peers.Maker(context)
    maker.install()
    maker.make()
    bare = peers.Floor(context)
    bare.install()
    floor = {model.key: bare.measure(model) for model in models}
    expected = expectations(folder, models, floor)

    wanted = [name for name in options.only.lower().split(",") if name]
    chosen = []
    for kind in peers.ALL:
        peer = kind(context)
        if wanted and not any(peer.name.lower().startswith(name) for name in wanted):
            continue
        try:
            peer.install()
            chosen.append(peer)
        except Exception as error:
            print(f"left out: {peer.name}: {error}\n")

    table: dict[tuple, Cell] = {}
    servers: dict[str, list] = {}
    for repeat in range(options.repeats):
        for peer in list(chosen):
            print(f"repeat {repeat + 1}: {peer.name}", file=sys.stderr)
            try:
                measure(context, options, peer, expected, table, servers)
            except Exception as error:
                chosen.remove(peer)
                servers.pop(peer.name, None)
                table = {key: cell for key, cell in table.items() if key[2] != peer.name}
                print(f"left out: {peer.name}: {error}\n")
    report(options, models, table, servers, floor)


def measure(context, options, peer, expected, table, servers) -> None:
    server = peer.start()
    try:
        for model in context.models:
            for call in peer.calls(model):
                check(call, model, expected)
                cell = table.setdefault((model.key, call.form, peer.name), Cell())
                for run in drive(context, server.pid, call, options.callers, options.seconds):
                    cell.runs.setdefault(run["callers"], []).append(run)
        servers.setdefault(peer.name, []).append((server.ready_s, rss_mib(server.pid)))
    finally:
        server.stop()


FIGURES = ("per_second", "p50_us", "p99_us")
# The yardstick of each form: FastAPI has no binary forms, so its lean one stands for them.
YARDSTICK = {"typed": "typed", "array": "array", "v2 binary": "array", "gRPC raw": "array"}


def yardstick(table: dict, model: str, form: str, callers: int) -> Cell | None:
    """FastAPI run in the cheaper of its two ways."""
    names = ("FastAPI", "FastAPI, thread pool")
    found = [table.get((model, YARDSTICK[form], name)) for name in names]
    return min((cell for cell in found if cell), key=lambda c: c.least_cpu(callers), default=None)


def report(options, models, table, servers, floor) -> None:
    heads = ["model", "form", "server"]
    for callers in options.callers:
        heads += ["callers", "requests/s", "p50 us", "p99 us", "CPU us/request", "of FastAPI's"]
    print(f"| {' | '.join(heads)} |\n|---|---|---|{'---:|' * (len(heads) - 3)}")
    for model in models:
        if bare := floor[model.key]:
            # Under CPU: a row alone, and in the cheapest batch.
            line = [model.key, "call", "bare onnxruntime"]
            for callers in options.callers:
                cost = bare["alone"] if callers == 1 else bare["least"]
                rows = 1 if callers == 1 else bare["rows"]
                line += [f"{rows} rows", "", "", "", f"{cost:.1f}", ""]
            print(f"| {' | '.join(line)} |")
        for (key, form, name), cell in table.items():
            if key != model.key:
                continue
            line = [key, form, name]
            for callers in options.callers:
                cpu = cell.least_cpu(callers)
                base = yardstick(table, key, form, callers)
                share = f"{cpu / base.least_cpu(callers):.2f}" if base else ""
                rate, p50, p99 = (cell.median(what, callers) for what in FIGURES)
                line += [str(callers), f"{rate:,.0f}", f"{p50:,.0f}", f"{p99:,.0f}"]
                line += [f"{cpu:,.1f}", share]
            print(f"| {' | '.join(line)} |")
    print(f"\n{options.repeats} repeats: medians, CPU the minimum.\n")
    print("| server | ready after s | peak RSS MiB |\n|---|---:|---:|")
    for name, runs in servers.items():
        ready, rss = (statistics.median(column) for column in zip(*runs, strict=True))
        print(f"| {name} | {ready:.2f} | {rss:.0f} |")


if __name__ == "__main__":
    main()

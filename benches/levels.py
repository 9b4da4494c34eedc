#!/usr/bin/env python3
"""What Galen keeps up under pressure: its latency near capacity, its goodput beyond, its memory
over a million requests, and its other callers' latency while a large model loads.

    python benches/levels.py [--only overload] [--seconds 5] [--repeats 3] [--apart]

Wants `make build`, for `load` the transformer that `make test` fetches, and for the slow model of
`overload` the one that compare/run.py makes. The server and the load generator (`galen bench`) share
this machine: what is called capacity is that of both together. With `--apart` each has one half of
the processors (taskset), which is nearer to callers on other machines.
Prints markdown: medians of the repeats. Needs Linux and Python 3.11, nothing beyond the standard
library.
"""

import argparse
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import urllib.request
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent / "compare"))
from process import Server, free_port, rss_mib

ROOT = Path(__file__).resolve().parents[1]
GALEN = ROOT / "target/release/galen"
TRANSFORMER = ROOT / "target/minilm/minilm"
SLOW = ROOT / "target/compare/models/ecg-12-lead"
# Of capacity, and of latency: what the open loops ask for.
NEAR, BEYOND = 0.8, 3.0
# Requests that wait, at most, where the server is to refuse: a few milliseconds of work.
QUEUE = 64
# By then the store of predictions that wait for their labels (100,000) has filled and turned over.
FIRST, MILLION = 250_000, 1_000_000
DEPTH = re.compile(r"^queue_depth_max = \d+$", re.MULTILINE)
# What starts the server and the generator, where each has processors of its own.
APART: dict[str, list[str]] = {"server": [], "generator": []}


@contextmanager
def serving(
    work: Path, models: list[str], *flags: str, queue: int = 0, metrics: str = "127.0.0.1:0"
):
    """A server of these demo models; gives back how to ask it, and its process."""
    registry = work / "models"
    shutil.rmtree(registry, ignore_errors=True)
    for name in models:
        shutil.copytree(SLOW if name == SLOW.name else ROOT / "models" / name, registry / name)
        if queue:
            toml = registry / name / "model.toml"
            text = toml.read_text()
            short, changes = DEPTH.subn(f"queue_depth_max = {queue}", text)
            if changes == 0:
                short = f"{text}\n[batching]\nqueue_depth_max = {queue}\n"
            toml.write_text(short)
    http, grpc = free_port(), free_port()
    url = f"http://127.0.0.1:{http}"
    command = [*APART["server"], GALEN, "serve", "--models", registry, "--http", f"127.0.0.1:{http}"]
    command += ["--grpc", f"127.0.0.1:{grpc}", "--metrics", metrics, *flags]
    server = Server(command, {}, work, [f"{url}/v2/health/ready"], work / "log")
    try:
        yield (url, f"127.0.0.1:{grpc}"), server.pid
    finally:
        server.stop()


def bench(doors: tuple[str, str], model: str, door: str, *load: str) -> dict:
    """One run of the load generator."""
    url, grpc = doors
    command = [*APART["generator"], GALEN, "bench", model, "--url", url, "--grpc", grpc]
    command += ["--door", door, "--json", *load]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, timeout=600)
    return json.loads(done.stdout)["runs"][0]


def capacity(doors, model: str, door: str, seconds: str) -> float:
    return bench(doors, model, door, "--callers", "64", "--duration", seconds)["per_second"]


def near(args, work: Path):
    """Open loops at a share of what closed ones reach."""
    print(f"\nAt {NEAR:.0%} of capacity, by chance as Poisson has it, identity:\n")
    print("| door | capacity/s | asked/s | p50 us | p99 us | p99 over p50 |")
    print("|---|---:|---:|---:|---:|---:|")
    with serving(work, ["identity"]) as (doors, _):
        for door in ("rest-binary", "rest-typed", "grpc"):
            runs = []
            for _ in range(args.repeats):
                most = capacity(doors, "identity", door, args.duration)
                rate = ("--rate", f"{most * NEAR:.0f}", "--arrivals", "poisson")
                run = bench(doors, "identity", door, *rate, "--duration", args.duration)
                runs.append((most, run["latency_us"]["p50"], run["latency_us"]["p99"]))
            most, p50, p99 = (statistics.median(column) for column in zip(*runs, strict=True))
            print(f"| {door} | {most:.0f} | {most * NEAR:.0f} | {p50:.0f} | {p99:.0f} "
                  f"| {p99 / p50:.1f} |", flush=True)


def overload(args, work: Path):
    """Open loops at a multiple of what closed ones reach, and a short queue."""
    models = ["ecg-rhythm", SLOW.name]
    if not SLOW.is_dir():
        models.pop()
        print(f"\n{SLOW.name}: left out, for there is no {SLOW.relative_to(ROOT)} (compare/run.py)")
    print(f"\nAt {BEYOND:.0f} times capacity, with {QUEUE} places in the queue:\n")
    print("| model | door | peak/s | goodput/s | of peak | refused/s | refused after, ms (p50) "
          "| answered after, ms (p99) |")
    print("|---|---|---:|---:|---:|---:|---:|---:|")
    for model in models:
        with serving(work, [model], queue=QUEUE) as (doors, _):
            for door in ("rest-binary", "grpc"):
                runs = [beyond(args, doors, model, door) for _ in range(args.repeats)]
                peak, good, refused, after, p99 = map(statistics.median, zip(*runs, strict=True))
                print(f"| {model} | {door} | {peak:.0f} | {good:.0f} | {good / peak:.2f} "
                      f"| {refused:.0f} | {after:.1f} | {p99:.1f} |", flush=True)


def beyond(args, doors, model: str, door: str) -> tuple:
    # As many callers as the queue admits: more would be refused, and ask again at once.
    peak = bench(doors, model, door, "--callers", str(QUEUE // 2),
                 "--duration", args.duration)["per_second"]
    load = ("--rate", f"{peak * BEYOND:.0f}", "--in-flight", "4096")
    run = bench(doors, model, door, *load, "--duration", args.duration)
    refused = sum(error["count"] for error in run["errors"])
    return (peak, run["succeeded"] / run["seconds"], refused / run["seconds"],
            (run["refused_after_us"] or 0) / 1e3, run["latency_us"]["p99"] / 1e3)


def memory(_args, work: Path):
    """Resident memory over a million requests."""
    print("\nA million requests of 64 callers, breast-cancer:\n")
    print("| door | metrics | MiB after 250,000 | MiB after 1,000,000 more | change |")
    print("|---|---|---:|---:|---:|")
    for door, metrics in (("rest-typed", "127.0.0.1:0"), ("grpc", "off")):
        with serving(work, ["breast-cancer"], metrics=metrics) as (doors, pid):
            marks = []
            for count in (FIRST, MILLION):
                bench(doors, "breast-cancer", door, "--callers", "64", "--requests", str(count))
                marks.append(rss_mib(pid, "VmRSS"))
        print(f"| {door} | {'off' if metrics == 'off' else 'on'} | {marks[0]:.1f} | {marks[1]:.1f} | {marks[1] / marks[0] - 1:+.1%} |",
              flush=True)


def load(args, work: Path):
    """What one model's callers wait while another one of 90 MB loads, over and over."""
    if not TRANSFORMER.is_dir():
        print(f"\nload: left out, for there is no {TRANSFORMER.relative_to(ROOT)} (make test)")
        return
    print("\nIdentity at a tenth of capacity, over REST, beside loads of a 90 MB transformer:\n")
    print("| | p50 us | p99 us | loads |\n|---|---:|---:|---:|")
    flags = ("--model-control-mode", "explicit", "--load-model", "identity")
    with serving(work, ["identity"], *flags) as (doors, _):
        shutil.copytree(TRANSFORMER, work / "models/minilm")
        rate = capacity(doors, "identity", "rest-binary", args.duration) / 10
        rows: dict[str, list] = {"alone": [], "beside loads": []}
        for _ in range(args.repeats):
            for name, runs in rows.items():
                ended, loads = threading.Event(), []
                loader = threading.Thread(target=keep_loading, args=(doors[0], ended, loads))
                if name != "alone":
                    loader.start()
                run = bench(doors, "identity", "rest-binary", "--rate", f"{rate:.0f}",
                            "--arrivals", "poisson", "--duration", args.duration)
                ended.set()
                if name != "alone":
                    loader.join()
                runs.append((run["latency_us"]["p50"], run["latency_us"]["p99"], len(loads)))
        for name, runs in rows.items():
            p50, p99, count = map(statistics.median, zip(*runs, strict=True))
            print(f"| {name} | {p50:.0f} | {p99:.0f} | {count:.0f} |", flush=True)


def keep_loading(url: str, ended: threading.Event, loads: list):
    while not ended.is_set():
        for verb in ("load", "unload"):
            path = f"{url}/v2/repository/models/minilm/{verb}"
            request = urllib.request.Request(path, b"{}", {"content-type": "application/json"})
            with urllib.request.urlopen(request, timeout=120) as answer:
                assert answer.status == 200
        loads.append(1)


PARTS = {part.__name__: part for part in (near, overload, memory, load)}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default=",".join(PARTS), help="some of " + ", ".join(PARTS))
    parser.add_argument("--seconds", type=float, default=5, help="of one run")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--apart", action="store_true", help="half of the processors for each")
    args = parser.parse_args()
    if args.apart:
        processors = sorted(os.sched_getaffinity(0))
        half = (len(processors) + 1) // 2
        for name, some in (("server", processors[:half]), ("generator", processors[half:])):
            APART[name] = ["taskset", "-c", ",".join(map(str, some))]
    args.duration = f"{args.seconds:g}s"
    if not GALEN.is_file():
        sys.exit(f"there is no {GALEN}: make build")
    os.environ.setdefault("ORT_DYLIB_PATH", str(ROOT / "target/lib/libonnxruntime.so"))
    with tempfile.TemporaryDirectory() as folder:
        for name in args.only.split(","):
            PARTS[name](args, Path(folder))


if __name__ == "__main__":
    main()

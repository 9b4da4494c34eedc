#!/usr/bin/env python3
"""Fetches perf_analyzer, Triton's load generator, into a folder, once.

Usage: fetch_perf_analyzer.py FOLDER

The program comes out of the PyPI wheel pinned, with its hash, in tests/perf_analyzer.txt; the
libraries that it is linked to, and calls only for GPUs, are made from perf_analyzer_stubs.c. There
is no such wheel but for Linux x86_64: elsewhere nothing is done, and the tests that need it say so.
Needs a C compiler (CC, default cc) and Python 3.8 or newer with pip; no other package.
"""

import hashlib
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path

from fetch_onnxruntime import download, unpack

TOOLS = Path(__file__).resolve().parent
PIN = TOOLS.parent / "perf_analyzer.txt"
STUBS = TOOLS / "perf_analyzer_stubs.c"
MEMBER = "tritonclient-2.51.0.data/data/bin/perf_analyzer"
# The CUDA runtime's symbols have a version, which the linker asks for.
CUDA_VERSIONS = "libcudart.so.12 { global: cuda*; };\n"


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit("usage: fetch_perf_analyzer.py FOLDER")
    folder = Path(sys.argv[1])
    if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        print("perf_analyzer: there is none for this machine")
        return
    digest = hashlib.sha256(PIN.read_bytes() + STUBS.read_bytes()).hexdigest()
    stamp = folder / ".perf_analyzer"
    if stamp.is_file() and stamp.read_text() == digest:
        return
    print("perf_analyzer: fetching", flush=True)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".perf_analyzer-", dir=folder) as name:
        scratch = Path(name)
        wheel = download(PIN, "manylinux1_x86_64", scratch)
        unpack(wheel, {MEMBER: "perf_analyzer"}, scratch, folder)
        (folder / "perf_analyzer").chmod(0o755)
        versions = scratch / "versions"
        versions.write_text(CUDA_VERSIONS)
        compile_stubs(folder / "libb64.so.0d")
        compile_stubs(folder / "libcudart.so.12", f"-Wl,--version-script={versions}")
        # Last, so that the stamp never speaks of files that are not there.
        (scratch / "stamp").write_text(digest)
        (scratch / "stamp").replace(stamp)


def compile_stubs(library: Path, *flags: str) -> None:
    command = [os.environ.get("CC", "cc"), "-shared", "-fPIC", f"-Wl,-soname,{library.name}"]
    subprocess.run([*command, *flags, "-o", str(library), str(STUBS)], check=True)


if __name__ == "__main__":
    main()

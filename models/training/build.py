"""Rebuilds the demo registry.

    python models/training/build.py                   every model
    python models/training/build.py breast-cancer     some models
    python models/training/build.py --check           rebuild elsewhere and compare

Everything is seeded and runs on one thread: on the same machine and the pinned
requirements, every rebuild gives the same bytes.
"""

from __future__ import annotations

import os
import sys

# Before numpy is loaded: the order of a threaded sum depends on the thread count.
for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"
sys.dont_write_bytecode = True

import argparse  # noqa: E402
import shutil  # noqa: E402
import tempfile  # noqa: E402
from pathlib import Path  # noqa: E402

import make_add_sub  # noqa: E402
import make_identity  # noqa: E402
import train_breast_cancer  # noqa: E402
import train_diabetes_progression  # noqa: E402
import train_ecg_rhythm  # noqa: E402

REGISTRY = Path(__file__).resolve().parent.parent
BUILDERS = {
    module.NAME: module.build
    for module in (
        make_add_sub,
        make_identity,
        train_breast_cancer,
        train_diabetes_progression,
        train_ecg_rhythm,
    )
}


def main() -> int:
    parser = argparse.ArgumentParser(description="Rebuild the demo model registry.")
    parser.add_argument("models", nargs="*", metavar="MODEL", help=", ".join(BUILDERS))
    parser.add_argument(
        "--check",
        action="store_true",
        help="rebuild in a temporary directory and compare with the files here",
    )
    args = parser.parse_args()
    for name in args.models:
        if name not in BUILDERS:
            parser.error(f"no model '{name}'; there are {', '.join(BUILDERS)}")
    names = args.models or list(BUILDERS)

    if not args.check:
        for name in names:
            BUILDERS[name](REGISTRY / name)
        return 0

    differing = []
    with tempfile.TemporaryDirectory() as scratch:
        for name in names:
            built = Path(scratch) / name
            built.mkdir()
            for file in ("model.toml", "README.md"):
                shutil.copy(REGISTRY / name / file, built / file)
            BUILDERS[name](built)
            differing += compare(REGISTRY / name, built)
    for line in differing:
        print(line, file=sys.stderr)
    print("differs" if differing else "identical")
    return 1 if differing else 0


def compare(here: Path, built: Path) -> list[str]:
    """Files that differ, or that only one of the two directories has.

    make_profiles.py writes profile.json, with the server's help.
    """
    paths = {
        path.relative_to(root)
        for root in (here, built)
        for path in root.rglob("*")
        if path.is_file() and path.name != "profile.json"
    }
    return [
        f"{here.name}/{path}"
        for path in sorted(paths)
        if not (here / path).is_file()
        or not (built / path).is_file()
        or (here / path).read_bytes() != (built / path).read_bytes()
    ]


if __name__ == "__main__":
    sys.exit(main())

"""Writes the profile.json of every version that was trained.

    python models/training/make_profiles.py [GALEN]

GALEN is the server's binary, target/release/galen by default. The rows that a model was trained on
are written as CSV, and `galen profile` sends them through every version of it, and after them the
rows that were held out, which say what is no drift. Run build.py first: a profile also holds what
the model answers. (Of the ECG there is one strip: its end is no sample of the rest.)
"""

from __future__ import annotations

import argparse
import csv
import subprocess
import sys
import tempfile
from pathlib import Path

sys.dont_write_bytecode = True

import train_breast_cancer  # noqa: E402
import train_diabetes_progression  # noqa: E402
import train_ecg_rhythm  # noqa: E402

REGISTRY = Path(__file__).resolve().parent.parent
TRAINED = (train_breast_cancer, train_diabetes_progression, train_ecg_rhythm)


def write_rows(path: Path, columns: dict) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        # str() of a float32 is the shortest decimal that reads back as that float32.
        writer.writerows([str(x) for x in row] for row in zip(*columns.values(), strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description="Write the demo models' reference profiles.")
    default = REGISTRY.parent / "target" / "release" / "galen"
    parser.add_argument("galen", nargs="?", default=default, help="the server's binary")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        for module in TRAINED:
            data = Path(scratch) / f"{module.NAME}-train.csv"
            write_rows(data, module.training_rows())
            held_out = []
            if hasattr(module, "held_out_rows"):
                others = Path(scratch) / f"{module.NAME}-held-out.csv"
                write_rows(others, module.held_out_rows())
                held_out = ["--held-out", others]
            for model in sorted((REGISTRY / module.NAME).glob("*/model.onnx")):
                version = f"{module.NAME}/{model.parent.name}"
                command = [args.galen, "profile", version, "--data", data, *held_out]
                subprocess.run([*command, "--models", REGISTRY], check=True)


if __name__ == "__main__":
    main()

"""identity: gives back what it is sent.

There is no model file: Galen's identity engine needs only model.toml. This
writes the examples.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

import common

NAME = "identity"
VERSION = "1"


def build(model_dir: Path) -> None:
    # Values that any loss of precision on the way would change.
    rows = np.array(
        [
            [0.0, 1.0, -1.0, 0.5],
            [0.1, 1 / 3, np.pi, 1e-3],
            [16777216.0, -16777215.0, 65504.0, 1e6],
            [np.finfo(np.float32).max, np.finfo(np.float32).tiny, np.finfo(np.float32).eps, 2.5e-10],
        ],
        dtype=np.float32,
    )
    path = model_dir / VERSION / "examples.json"
    common.write_examples(
        path, source="made-up numbers", inputs={"INPUT0": rows}, outputs={"OUTPUT0": rows}
    )
    print(f"{NAME}/{VERSION}: no model file")

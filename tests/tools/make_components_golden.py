"""Writes tests/golden/drift/components_golden.json: the principal components that NumPy finds in
rows that the unit tests of src/stats make by the same formulas.

    target/venv/bin/python tests/tools/make_components_golden.py
"""

import json
from pathlib import Path

import numpy as np

OUT = Path(__file__).resolve().parents[1] / "golden" / "drift" / "components_golden.json"
GOLDEN = 0.618033988749895
# (rows, width, components)
CASES = [(60, 6, 4), (200, 40, 8), (30, 64, 4), (50, 3, 3)]


def rows(count: int, width: int) -> np.ndarray:
    """frac(i step)^2, each column on another scale and with a part of its neighbour, as FP32."""
    plain = np.array([((i * GOLDEN) % 1.0) ** 2 for i in range(1, count * width + 1)])
    plain = plain.reshape(count, width)
    scales = 8.0 / np.arange(1, width + 1)
    return (plain * scales + np.roll(plain, -1, axis=1) / 2.0).astype(np.float32)


def case(count: int, width: int, components: int) -> dict:
    data = rows(count, width).astype(np.float64)
    mean = data.mean(axis=0)
    _, singular, directions = np.linalg.svd(data - mean, full_matrices=False)
    directions = directions[:components]
    largest = np.abs(directions).argmax(axis=1)
    directions *= np.sign(directions[np.arange(components), largest])[:, None]
    return {
        "rows": count,
        "width": width,
        "count": components,
        "mean": mean.tolist(),
        "variances": (singular[:components] ** 2 / count).tolist(),
        "directions": directions.tolist(),
    }


def main() -> None:
    golden = {"versions": {"numpy": np.__version__}, "cases": [case(*sizes) for sizes in CASES]}
    OUT.write_text(json.dumps(golden) + "\n")


if __name__ == "__main__":
    main()

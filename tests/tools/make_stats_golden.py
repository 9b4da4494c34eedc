"""Writes tests/golden/drift/scipy_golden.json: what SciPy, NumPy and scikit-learn say of data that
the unit tests of src/stats make by the same formulas.

    models/training/.venv/bin/python tests/tools/make_stats_golden.py

models/README.md says how to make that environment.

drift_golden.json and performance_golden.json beside it came from the tools themselves (Evidently,
NannyML, Deepchecks, scikit-learn; versions inside). Those can not all be installed together, so
there is no script for them.
"""

import json
from pathlib import Path

import numpy as np
import scipy
import sklearn
from scipy import stats
from scipy.spatial.distance import cdist
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.preprocessing import StandardScaler

OUT = Path(__file__).resolve().parents[1] / "golden" / "drift" / "scipy_golden.json"
GOLDEN = 0.618033988749895
ROOT = 0.4142135623730951
# Rows of three numbers for the embeddings.
WIDTH = 3
FOLDS = 5


def spread(count: int, step: float, power: int = 1, shift: float = 0.0) -> np.ndarray:
    """frac(i step)^power + shift: evenly spread, and the same in every language."""
    values = [((i * step) % 1.0) for i in range(1, count + 1)]
    return np.array([(x * x if power == 2 else x) + shift for x in values])


# (n, m, power, shift) of the second sample.
KS = [
    (5, 7, 1, 0.3),
    (30, 30, 2, 0.0),
    (64, 1000, 1, 0.1),
    (500, 300, 2, 0.0),
    (2000, 2000, 1, 0.03),
    # Beyond 10,000: asymptotic, over every branch of the one-sample distribution.
    (10001, 20, 2, 0.0),
    (10001, 120, 1, 0.05),
    (10001, 120, 2, 0.0),
    (10001, 140, 1, 0.4),
    (10001, 9000, 1, 0.008),
    (10001, 9000, 1, 0.03),
    (12000, 12000, 1, 0.012),
]
TABLES = [
    [[10, 20], [30, 5]],
    [[1, 0, 7], [3, 4, 9]],
    [[100, 200, 300, 400], [110, 190, 310, 390]],
    [[5, 5, 5, 5, 5, 5, 5, 5], [1, 2, 3, 4, 5, 6, 7, 8]],
    [[9000, 1000], [8000, 2000]],
]
TAILS = [
    (x, dof)
    for dof in (1, 2, 3, 4, 5, 9, 10, 31, 100, 999, 2000)
    for x in (1e-3, 0.5, 3.0, 12.0, 60.0, 400.0, 2100.0)
]


def ks(n: int, m: int, power: int, shift: float) -> dict:
    answer = stats.ks_2samp(spread(n, GOLDEN), spread(m, ROOT, power, shift))
    return {
        "n": n,
        "m": m,
        "power": power,
        "shift": shift,
        "statistic": float(answer.statistic),
        "p": float(answer.pvalue),
    }


def chi_square(table: list[list[int]]) -> dict:
    answer = stats.chi2_contingency(table, correction=False)
    # Bergsma (2013), "A bias-correction for Cramer's V and Tschuprow's T".
    n, (r, k) = np.sum(table), np.shape(table)
    phi2 = max(0.0, answer.statistic / n - (k - 1) * (r - 1) / (n - 1))
    sides = [size - (size - 1) ** 2 / (n - 1) - 1 for size in (r, k)]
    return {
        "table": table,
        "statistic": float(answer.statistic),
        "p": float(answer.pvalue),
        "dof": int(answer.dof),
        "cramers_v": float(np.sqrt(phi2 / min(sides))),
    }


def embedding() -> dict:
    a = spread(40 * WIDTH, GOLDEN).reshape(-1, WIDTH)
    b = spread(35 * WIDTH, ROOT, 1, 0.2).reshape(-1, WIDTH)
    pooled = np.vstack([a, b])
    squares = cdist(pooled, pooled, "sqeuclidean")
    median = np.median(squares[np.triu_indices(len(pooled), 1)])
    kernel = np.exp(-squares / median)
    np.fill_diagonal(kernel, 0)
    n, m = len(a), len(b)
    mmd2 = (
        kernel[:n, :n].sum() / (n * (n - 1))
        + kernel[n:, n:].sum() / (m * (m - 1))
        - 2 * kernel[:n, n:].sum() / (n * m)
    )
    labels = np.repeat([0, 1], [n, m])
    folds = np.concatenate([np.arange(n) % FOLDS, np.arange(m) % FOLDS])
    areas = []
    for fold in range(FOLDS):
        train, test = folds != fold, folds == fold
        scaler = StandardScaler().fit(pooled[train])
        model = LogisticRegression(C=1.0, tol=1e-12, max_iter=10000)
        model.fit(scaler.transform(pooled[train]), labels[train])
        scores = model.decision_function(scaler.transform(pooled[test]))
        areas.append(roc_auc_score(labels[test], scores))
    return {"n": n, "m": m, "mmd2": float(mmd2), "classifier_auc": float(np.mean(areas))}


def main() -> None:
    golden = {
        "versions": {
            "numpy": np.__version__,
            "scipy": scipy.__version__,
            "sklearn": sklearn.__version__,
        },
        "ks": [ks(*case) for case in KS],
        "chi_square": [chi_square(table) for table in TABLES],
        "chi_square_tails": [
            {"x": x, "dof": dof, "p": float(stats.chi2.sf(x, dof))} for x, dof in TAILS
        ],
        "embedding": embedding(),
    }
    OUT.write_text(json.dumps(golden, indent=1) + "\n")


if __name__ == "__main__":
    main()

"""diabetes-progression: disease progression one year after baseline.

Data: the diabetes study of Efron, Hastie, Johnstone and Tibshirani (2004), the
copy inside scikit-learn, in its original units. The model is a standardised
ridge regression.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from skl2onnx import convert_sklearn
from skl2onnx.common.data_types import FloatTensorType
from sklearn.datasets import load_diabetes
from sklearn.linear_model import Ridge
from sklearn.metrics import mean_absolute_error, r2_score, root_mean_squared_error
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import common

NAME = "diabetes-progression"
VERSION = "1"
EXAMPLES = 40

# The output is a score of 25 to 346, where float32 resolves about 1.5e-5.
TOLERANCE = 1e-3

# scikit-learn's column names, and what the data set's description calls them.
COLUMNS = {
    "age": "age",
    "sex": "sex",
    "bmi": "bmi",
    "bp": "bp",
    "s1": "total_cholesterol",
    "s2": "ldl",
    "s3": "hdl",
    "s4": "tch_ratio",
    "s5": "ltg_log",
    "s6": "glucose",
}


def load():
    """Names of the columns, and the rows of both parts: x_train, x_test, y_train, y_test."""
    data = load_diabetes(scaled=False)
    # Clients send float32: train and evaluate on the values the server will see.
    features = data.data.astype(np.float32)
    names = [COLUMNS[name] for name in data.feature_names]
    parts = train_test_split(features, data.target, test_size=0.25, random_state=common.SEED)
    return names, parts


def training_rows() -> dict[str, np.ndarray]:
    names, (x_train, _, _, _) = load()
    return dict(zip(names, x_train.T, strict=True))


def held_out_rows() -> dict[str, np.ndarray]:
    names, (_, x_test, _, _) = load()
    return dict(zip(names, x_test.T, strict=True))


def build(model_dir: Path) -> None:
    names, (x_train, x_test, y_train, y_test) = load()
    features = np.concatenate([x_train, x_test])
    common.require_contract(model_dir, dict(zip(names, features.T, strict=True)))
    model = make_pipeline(StandardScaler(), Ridge(alpha=1.0))
    model.fit(x_train.astype(np.float64), y_train)
    predicted = model.predict(x_test.astype(np.float64))
    expected = predicted.astype(np.float32).reshape(-1, 1)

    graph = convert_sklearn(
        model,
        name=NAME,
        initial_types=[("features", FloatTensorType([None, len(names)]))],
        final_types=[("progression", FloatTensorType([None, 1]))],
        target_opset=common.OPSET,
    )
    path = model_dir / VERSION / "model.onnx"
    common.save_model(graph, path)
    worst = common.require_agreement(
        path, {"features": x_test}, {"progression": expected}, TOLERANCE
    )
    common.report(NAME, VERSION, path, worst)

    common.write_examples(
        path.with_name("examples.json"),
        source=(
            f"{EXAMPLES} held-out rows of the diabetes data set, as shipped with scikit-learn; "
            "outputs predicted by scikit-learn"
        ),
        inputs={"features": x_test[:EXAMPLES]},
        outputs={"progression": expected[:EXAMPLES]},
        tolerance=TOLERANCE,
    )
    baseline = np.full_like(y_test, y_train.mean())
    common.write_metrics(
        model_dir / "README.md",
        task=("tabular-regression", "Disease progression after one year"),
        dataset=("diabetes", "Diabetes (Efron et al. 2004)"),
        metrics={
            VERSION: {
                "r2": ("R2", float(r2_score(y_test, predicted))),
                "mae": ("Mean absolute error", float(mean_absolute_error(y_test, predicted))),
                "rmse": (
                    "Root mean squared error",
                    float(root_mean_squared_error(y_test, predicted)),
                ),
                "baseline_rmse": (
                    "Root mean squared error of the training mean",
                    float(root_mean_squared_error(y_test, baseline)),
                ),
            }
        },
    )

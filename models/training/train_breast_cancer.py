"""breast-cancer: malignant or benign, from 30 measurements of cell nuclei.

Data: Breast Cancer Wisconsin (Diagnostic), the copy inside scikit-learn.
Version 1 is a standardised logistic regression, version 2 gradient boosting.
Both are fitted on the same training rows and judged on the same held-out rows.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from skl2onnx import convert_sklearn
from skl2onnx.common.data_types import FloatTensorType
from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import (
    accuracy_score,
    brier_score_loss,
    confusion_matrix,
    log_loss,
    roc_auc_score,
)
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import common

NAME = "breast-cancer"
MALIGNANT = 0  # scikit-learn's coding: 0 malignant, 1 benign
EXAMPLES = 40


def load():
    """Names of the columns, and the rows of both parts: x_train, x_test, y_train, y_test."""
    data = load_breast_cancer()
    # Clients send float32, so training and evaluation use float32 values too.
    # A tree then never sees a value that rounding moves across a threshold.
    features = data.data.astype(np.float32)
    names = [name.replace(" ", "_") for name in data.feature_names]
    parts = train_test_split(
        features, data.target, test_size=0.25, stratify=data.target, random_state=common.SEED
    )
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
    models = {
        "1": make_pipeline(StandardScaler(), LogisticRegression(tol=1e-8, max_iter=1000)),
        "2": GradientBoostingClassifier(
            n_estimators=60, max_depth=3, learning_rate=0.1, random_state=common.SEED
        ),
    }
    metrics = {}
    for version, model in models.items():
        # The linear model computes in float64, on values that are exact in
        # float32; scikit-learn's trees convert their input to float32.
        model.fit(x_train.astype(np.float64), y_train)
        expected = predict(model, x_test)

        path = model_dir / version / "model.onnx"
        common.save_model(export(model), path)
        worst = common.require_agreement(path, {"features": x_test}, expected)
        common.report(NAME, version, path, worst)

        common.write_examples(
            path.with_name("examples.json"),
            source=(
                f"{EXAMPLES} held-out rows of Breast Cancer Wisconsin (Diagnostic), as shipped with "
                "scikit-learn; outputs predicted by scikit-learn"
            ),
            inputs={"features": x_test[:EXAMPLES]},
            outputs={name: array[:EXAMPLES] for name, array in expected.items()},
        )
        metrics[version] = evaluate(model, x_test, y_test)

    common.write_metrics(
        model_dir / "README.md",
        task=("tabular-classification", "Malignant or benign"),
        dataset=("wdbc", "Breast Cancer Wisconsin (Diagnostic)"),
        metrics=metrics,
    )


def predict(model, rows: np.ndarray) -> dict[str, np.ndarray]:
    rows = rows.astype(np.float64)
    return {
        "label": model.predict(rows).astype(np.int64),
        "probabilities": model.predict_proba(rows).astype(np.float32),
    }


def evaluate(model, rows: np.ndarray, labels: np.ndarray) -> dict:
    """Held-out metrics; malignant is the positive class."""
    rows = rows.astype(np.float64)
    risk = model.predict_proba(rows)[:, MALIGNANT]
    truth = (labels == MALIGNANT).astype(int)
    called = (model.predict(rows) == MALIGNANT).astype(int)
    tn, fp, fn, tp = (int(count) for count in confusion_matrix(truth, called).ravel())
    return {
        "accuracy": ("Accuracy", float(accuracy_score(truth, called))),
        "roc_auc": ("ROC AUC", float(roc_auc_score(truth, risk))),
        "brier_score": ("Brier score", float(brier_score_loss(truth, risk))),
        "log_loss": ("Log loss", float(log_loss(truth, risk))),
        "sensitivity": ("Sensitivity", tp / (tp + fn)),
        "specificity": ("Specificity", tn / (tn + fp)),
        "true_positives": ("Malignant, called malignant", tp),
        "false_negatives": ("Malignant, called benign", fn),
        "true_negatives": ("Benign, called benign", tn),
        "false_positives": ("Benign, called malignant", fp),
    }


def export(model):
    return convert_sklearn(
        model,
        name=NAME,
        initial_types=[("features", FloatTensorType([None, 30]))],
        target_opset=common.OPSET,
        options={id(model): {"zipmap": False}},
    )

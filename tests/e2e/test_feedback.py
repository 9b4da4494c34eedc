"""What became true, said by clients that anybody could write: requests over REST, stubs that protoc
makes of `proto/` over gRPC. The figures are scikit-learn's.
"""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from grpc_tools import protoc
from sklearn import metrics

from support import held_out
from support.server import PATIENCE, REPOSITORY

CANCER = held_out.breast_cancer()
LABELS = ("malignant", "benign")
# scikit-learn's data say 0 for malignant.
TRUTH = [LABELS[truth] for truth in CANCER.truth]
SITES = ["A" if row % 3 else "B" for row in range(len(TRUTH))]
ROWS = 50
CLIENT = Path(__file__).with_name("grpc_labeller.py")


@pytest.fixture(scope="module")
def stubs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stubs")
    protos = REPOSITORY / "proto"
    names = ("feedback.proto", "inference.proto", "model_config.proto")
    arguments = [f"-I{protos}", f"--python_out={folder}", f"--grpc_python_out={folder}", *names]
    assert protoc.main(["protoc", *arguments]) == 0
    return folder


def serve(start, registry):
    """The demo model with a state folder of its own."""
    registry.add_demo("breast-cancer")
    return start(registry.path).wait_ready()


def probabilities(server, version: str) -> np.ndarray:
    """Of malignant, as the server says itself."""
    found = []
    for first in range(0, len(TRUTH), ROWS):
        part = CANCER.held_out[first : first + ROWS]
        body = {"inputs": [{"name": "features", "datatype": "FP32", "shape": list(part.shape),
                            "data": part.ravel().tolist()}]}
        answer = server.post(f"/v2/models/breast-cancer/versions/{version}/infer", body).json()
        data = next(o["data"] for o in answer["outputs"] if o["name"] == "probabilities")
        found.extend(data[::2])
    return np.array(found, np.float32).astype(np.float64)


def check(found: dict, scores: np.ndarray, truth: np.ndarray):
    """Figures of the server against scikit-learn's."""
    called = scores >= 0.5
    expected = {
        "n": len(truth),
        "auc": metrics.roc_auc_score(truth, scores),
        "brier": metrics.brier_score_loss(truth, scores),
        "log_loss": metrics.log_loss(truth, scores),
    }
    assert {key: found[key] for key in expected} == pytest.approx(expected, rel=1e-9)
    (tn, fp), (fn, tp) = metrics.confusion_matrix(truth, called)
    for name, share in (
        ("sensitivity", tp / (tp + fn)),
        ("specificity", tn / (tn + fp)),
        ("ppv", tp / (tp + fp)),
        ("npv", tn / (tn + fn)),
    ):
        assert found[name]["value"] == pytest.approx(share)
        assert found[name]["low"] <= share <= found[name]["high"]


def check_report(server, version: str, scores: np.ndarray):
    report = server.get(f"/models/breast-cancer/versions/{version}/performance").json()
    truth = np.array([label == "malignant" for label in TRUTH])
    assert (report["labelled"], report["positive"]) == (len(TRUTH), "malignant")
    check(report["overall"], scores, truth)
    sites = np.array(SITES)
    assert {group["value"] for group in report["groups"]} == {"A", "B"}
    for group in report["groups"]:
        mine = sites == group["value"]
        check(group, scores[mine], truth[mine])
    return report


def test_labels_over_rest(registry, start):
    server = serve(start, registry)
    names = CANCER.names
    ids = []
    for first in range(0, len(TRUTH), ROWS):
        records = [dict(zip(names, row, strict=True))
                   for row in CANCER.held_out[first : first + ROWS].tolist()]
        answer = server.post("/models/breast-cancer/versions/1/predict", {"records": records})
        assert answer.status_code == 200, answer.text
        assert answer.json()["request_id"] == answer.headers["x-request-id"]
        ids.append(answer.headers["x-request-id"])
    pending = server.get("/models/breast-cancer/versions/1/performance").json()
    assert (pending["pending"], pending["estimated"]["n"]) == (len(TRUTH), len(TRUTH))
    labels = [
        {"prediction_id": ids[row // ROWS], "row": row % ROWS, "label": label,
         "groups": {"site": SITES[row]}}
        for row, label in enumerate(TRUTH)
    ]
    # Without a version: a label finds the one that answered.
    for joined in (len(TRUTH), 0):
        answer = server.post("/models/breast-cancer/feedback", {"labels": labels}).json()
        counts = (answer["joined"], answer["already_labelled"], answer["unknown"])
        assert counts == (joined, len(TRUTH) - joined, 0)
    report = check_report(server, "1", probabilities(server, "1"))
    assert report["alert"] == []
    other = server.get("/models/breast-cancer/versions/2/performance").json()
    assert other["labelled"] == 0


def test_labels_over_grpc_with_stubs_made_from_proto(registry, start, stubs):
    server = serve(start, registry)
    asked = {
        "model": "breast-cancer",
        "version": "2",
        "input": "features",
        "rows": CANCER.held_out.tolist(),
        "labels": TRUTH,
        "sites": SITES,
    }
    outcome = subprocess.run(
        [sys.executable, CLIENT, stubs, server.grpc],
        input=json.dumps(asked),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert outcome.returncode == 0, outcome.stderr
    told = json.loads(outcome.stdout)
    assert (told["joined"], told["already_labelled"], told["unknown"]) == (len(TRUTH), len(TRUTH), 0)
    assert len(set(told["ids"])) == 3
    invalid = ["INVALID_ARGUMENT"] * 3
    assert told["errors"] == ["NOT_FOUND", "NOT_FOUND", *invalid]
    check_report(server, "2", probabilities(server, "2"))

"""TensorFlow Serving's, KServe's and MLflow's documented requests, on the demo models: the answers
are the training library's, as in every other dialect.
"""

import csv
import io

import numpy as np
import pytest

from support.demo import EXAMPLES, LATEST, MANIFESTS, Example, example, records
from support.server import MODELS, Server

every_version = pytest.mark.parametrize("asked", EXAMPLES, ids=str)

# One model for each way of writing a frame: features, several tensors, a tensor of rank 3.
SCORED = ["breast-cancer", "diabetes-progression", "add-sub", "ecg-rhythm"]


def predict(asked: Example) -> str:
    return f"/v1/models/{asked.model}/versions/{asked.version}:predict"


def rows_of(tensors, nested=lambda values: values.tolist()) -> list[dict]:
    """One object of whole tensors per row."""
    columns = {tensor.name: nested(tensor.values) for tensor in tensors}
    count = len(tensors[0].values)
    return [{name: column[index] for name, column in columns.items()} for index in range(count)]


def assert_columns(asked: Example, columns):
    """Outputs as TensorFlow Serving writes columns: one alone has no name."""
    if len(asked.outputs) == 1:
        columns = {asked.outputs[0].name: columns}
    assert columns.keys() == {tensor.name for tensor in asked.outputs}
    for name, values in columns.items():
        asked.assert_answer(name, values)


def assert_rows(asked: Example, rows):
    """Outputs as rows: values of the only output, objects by name otherwise."""
    if len(asked.outputs) == 1:
        return assert_columns(asked, rows)
    return assert_columns(asked, {key: [row[key] for row in rows] for key in rows[0]})


@every_version
def test_tensorflow_serving_rows(demo, asked):
    for each in [asked, *asked.rows()]:
        bodies = [rows_of(each.inputs)]
        if len(each.inputs) == 1:
            bodies.append(each.inputs[0].values.tolist())
        for instances in bodies:
            response = demo.post(predict(each), {"instances": instances})
            assert response.status_code == 200, response.text
            assert_rows(each, response.json()["predictions"])


@every_version
def test_tensorflow_serving_columns(demo, asked):
    inputs = {tensor.name: tensor.values.tolist() for tensor in asked.inputs}
    bodies = [inputs, inputs[asked.inputs[0].name]] if len(inputs) == 1 else [inputs]
    for each in bodies:
        body = {"signature_name": "serving_default", "inputs": each}
        answer = demo.post(predict(asked), body).json()
        assert_columns(asked, answer["outputs"])


def test_tensorflow_serving_describes_models(demo):
    status = demo.get("/v1/models/breast-cancer").json()
    states = [(entry["version"], entry["state"]) for entry in status["model_version_status"]]
    assert states == [("2", "AVAILABLE"), ("1", "AVAILABLE")]
    assert all(entry["status"]["error_code"] == "OK" for entry in status["model_version_status"])
    metadata = demo.get("/v1/models/breast-cancer/versions/1/metadata").json()
    assert metadata["model_spec"] == {
        "name": "breast-cancer",
        "signature_name": "",
        "version": "1",
    }
    signature = metadata["metadata"]["signature_def"]["signature_def"]["serving_default"]
    features = signature["inputs"]["features"]
    assert features["dtype"] == "DT_FLOAT"
    assert [dim["size"] for dim in features["tensor_shape"]["dim"]] == ["-1", "30"]
    assert signature["outputs"]["label"]["dtype"] == "DT_INT64"


def test_kserves_client_finds_what_it_looks_for(demo):
    assert demo.get("/").json()["status"].lower() == "alive"
    assert demo.get("/v1/models").json() == {"models": sorted(LATEST)}
    assert demo.get("/v1/models/add-sub").json()["ready"] is True
    asked = example("add-sub")
    answer = demo.post("/v1/models/add-sub:predict", {"instances": rows_of(asked.inputs)})
    assert answer.headers["content-type"] == "application/json"
    assert_rows(asked, answer.json()["predictions"])
    assert demo.post("/v1/models/add-sub:explain", {"instances": []}).status_code == 501


@pytest.fixture(scope="module", params=SCORED)
def scored(request, tmp_path_factory):
    """An example, and a server whose /invocations asks its model."""
    cwd = tmp_path_factory.mktemp("scored")
    with Server(MODELS, "--mlflow-model", request.param, cwd=cwd) as server:
        yield example(request.param), server.wait_ready()


def score(server: Server, body) -> list:
    response = server.post("/invocations", body)
    assert response.status_code == 200, response.text
    return response.json()["predictions"]


def frame(asked: Example) -> list[dict]:
    """The rows as a data frame has them: named features where there are some, shuffled."""
    return [dict(reversed(record.items())) for record in records(asked)]


def test_mlflow_data_frames(scored):
    asked, server = scored
    rows = frame(asked)
    columns = list(rows[0])
    data = [list(row.values()) for row in rows]
    split = {"columns": columns, "index": list(range(len(rows))), "data": data}
    assert_rows(asked, score(server, {"dataframe_split": split}))
    assert_rows(asked, score(server, {"dataframe_records": rows}))
    assert_rows(asked, score(server, {"dataframe_records": rows, "params": {}}))


def test_mlflow_tensors(scored):
    asked, server = scored
    assert_rows(asked, score(server, {"instances": frame(asked)}))
    assert_rows(asked, score(server, {"instances": rows_of(asked.inputs)}))
    inputs = {tensor.name: tensor.values.tolist() for tensor in asked.inputs}
    assert_rows(asked, score(server, {"inputs": inputs}))
    if len(inputs) == 1:
        assert_rows(asked, score(server, {"inputs": asked.inputs[0].values.tolist()}))
    if "features" in MANIFESTS[asked.model]["inputs"][0]:
        rows = frame(asked)
        columns = {name: [row[name] for row in rows] for name in rows[0]}
        assert_rows(asked, score(server, {"inputs": columns}))


def test_mlflow_csv(scored):
    asked, server = scored
    headers = {"content-type": "text/csv; charset=utf-8"}
    if "features" not in MANIFESTS[asked.model]["inputs"][0]:
        # No cell holds a whole tensor.
        names = ",".join(tensor.name for tensor in asked.inputs)
        ones = ",".join("1" for _ in asked.inputs)
        response = server.call("POST", "/invocations", data=f"{names}\n{ones}\n", headers=headers)
        assert response.status_code == 400, response.text
        return
    text = io.StringIO()
    rows = [{"": index, **row} for index, row in enumerate(frame(asked))]
    writer = csv.DictWriter(text, rows[0])
    writer.writeheader()
    writer.writerows(rows)
    response = server.call("POST", "/invocations", data=text.getvalue(), headers=headers)
    assert response.status_code == 200, response.text
    assert_rows(asked, response.json()["predictions"])


def test_mlflow_errors(scored):
    asked, server = scored
    for path in ("/ping", "/health"):
        response = server.get(path)
        assert (response.status_code, response.text) == (200, "\n")
    assert server.get("/version").status_code == 200
    answer = server.post("/invocations", {"dataframe_records": [{"nobody": 1}]})
    assert answer.status_code == 400
    assert answer.json()["error_code"] == "BAD_REQUEST"
    assert answer.json()["message"].startswith("Model is missing inputs [")
    plain = server.call("POST", "/invocations", data="1", headers={"content-type": "text/plain"})
    assert plain.status_code == 415
    values = np.zeros_like(asked.inputs[0].values).tolist()
    values[0] = "high"
    wrong = {"inputs": {asked.inputs[0].name: values}}
    answer = server.post("/invocations", wrong)
    assert answer.status_code == 400
    assert "high" not in answer.text


def test_mlflow_needs_to_know_the_model(shared):
    answer = shared.post("/invocations", {"inputs": [[1]]})
    assert answer.status_code == 404
    assert "--mlflow-model" in answer.json()["message"]

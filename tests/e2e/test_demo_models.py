"""Every held-out row of every demo model, over every dialect and on both engines: the answer is
the training library's, within the tolerance that the example states, from the version asked for.
"""

import numpy as np
import pytest
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton_http

from support import oip
from support.demo import EXAMPLES, LATEST, Example, example, records, tensors_of

every_version = pytest.mark.parametrize("asked", EXAMPLES, ids=str)


def assert_all(asked: Example, version: str, outputs: dict):
    assert version == asked.version
    assert list(outputs) == [tensor.name for tensor in asked.outputs]
    for name, values in outputs.items():
        asked.assert_answer(name, values)


def outputs_of(answer: dict) -> dict:
    """The outputs of a JSON answer."""
    return {
        entry["name"]: np.array(entry["data"]).reshape(entry["shape"])
        for entry in answer["outputs"]
    }


@every_version
def test_rest_json(demo, asked):
    for each in [asked, *asked.rows()]:
        response = demo.post(each.path("infer"), {"id": "7", **each.body()})
        assert response.status_code == 200, response.text
        answer = response.json()
        assert (answer["id"], answer["model_name"]) == ("7", asked.model)
        assert_all(each, answer["model_version"], outputs_of(answer))


@every_version
def test_rest_json_nested(demo, asked):
    body = asked.body()
    for entry, given in zip(body["inputs"], asked.inputs):
        entry["data"] = given.values.tolist()
    answer = demo.post(asked.path("infer"), body).json()
    assert_all(asked, answer["model_version"], outputs_of(answer))


@every_version
@pytest.mark.parametrize("binary", [True, False], ids=["binary", "text"])
def test_rest_through_tritonclient(demo, asked, binary):
    with oip.rest_client(demo) as client:
        for each in [asked, *asked.rows()]:
            result = oip.infer(client, triton_http, each, binary)
            names = [entry["name"] for entry in result.get_response()["outputs"]]
            version = result.get_response()["model_version"]
            assert_all(each, version, {name: result.as_numpy(name) for name in names})


@every_version
def test_typed_rest(demo, asked):
    for each in [asked, *asked.rows()]:
        response = demo.post(each.path("predict", root=""), {"records": records(each)})
        assert response.status_code == 200, response.text
        answer = response.json()
        assert answer["model"] == asked.model
        assert_all(each, answer["version"], tensors_of(each, answer["predictions"]))


@pytest.mark.parametrize("model", LATEST)
def test_without_a_version_the_highest_answers(demo, model):
    asked = example(model)
    answer = demo.post(f"/models/{model}/predict", {"records": records(asked)}).json()
    assert_all(asked, answer["version"], tensors_of(asked, answer["predictions"]))
    answer = demo.post(f"/v2/models/{model}/infer", asked.body()).json()
    assert_all(asked, answer["model_version"], outputs_of(answer))
    with oip.stub(demo) as service:
        request = oip.raw_request(asked)
        request.model_version = ""
        answer = oip.call(service, request)
    assert_all(asked, answer.model_version, oip.outputs_of(answer))


@every_version
def test_grpc_through_tritonclient(demo, asked):
    with oip.grpc_client(demo) as client:
        for each in [asked, *asked.rows()]:
            result = oip.infer(client, triton_grpc, each)
            answer = result.get_response()
            outputs = {entry.name: result.as_numpy(entry.name) for entry in answer.outputs}
            assert_all(each, answer.model_version, outputs)


@every_version
@pytest.mark.parametrize("write", [oip.raw_request, oip.typed_request], ids=["raw", "typed"])
def test_grpc_through_the_bare_stub(demo, asked, write):
    with oip.stub(demo) as service:
        for each in [asked, *asked.rows()]:
            request = write(each)
            request.id = "visit 7"
            answer = oip.call(service, request)
            assert (answer.id, answer.model_name) == ("visit 7", asked.model)
            assert_all(each, answer.model_version, oip.outputs_of(answer))


@every_version
def test_chosen_outputs_come_in_the_asked_order(demo, asked):
    names = [tensor.name for tensor in reversed(asked.outputs)]
    body = {**asked.body(), "outputs": [{"name": name} for name in names]}
    answer = demo.post(asked.path("infer"), body).json()
    assert list(outputs_of(answer)) == names
    for name, values in outputs_of(answer).items():
        asked.assert_answer(name, values)


@every_version
def test_the_engine_is_the_one_asked_for(demo, engine, asked):
    model = demo.get(f"/models/{asked.model}").json()
    version = next(v for v in model["versions"] if v["version"] == asked.version)
    assert version["state"] == "ready"
    assert version["backend"] == ("identity" if asked.model == "identity" else engine)

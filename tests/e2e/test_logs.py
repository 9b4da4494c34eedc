"""The log: one JSON line per inference, with who asked, what answered and how long it took; and
never anything of a patient.
"""

import json
import re

import numpy as np
import pytest

from support import oip
from support.demo import example, records
from support.server import Server

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
SPAN = "00f067aa0ba902b7"
TRACEPARENT = f"00-{TRACE}-{SPAN}-01"
PHASES = ["queue_us", "input_us", "infer_us", "output_us", "total_us"]
CANARY = "canary-5f1c9e"
# A number that is in no other place; exact in 32 bits.
CANARY_NUMBER = 31337.625


@pytest.fixture
def server(registry, start) -> Server:
    registry.add_demo("diabetes-progression")
    registry.add_echo("words", datatypes=("BYTES",))
    registry.add_echo("numbers")
    return start(registry.path).wait_ready()


def line_of(server: Server, request_id: str) -> dict:
    lines = server.log.wait_for(message="request", request_id=request_id)
    assert len(lines) == 1, "one line per request"
    return lines[0]


def assert_whole(line: dict, door: str, status: int = 200):
    asked = example("diabetes-progression")
    assert line["level"] == "INFO"
    assert (line["door"], line["status"]) == (door, status)
    assert (line["model"], line["version"]) == (asked.model, int(asked.version))
    assert line["rows"] == len(asked.inputs[0].values)
    assert line["batch_rows"] >= line["rows"]
    assert all(line[phase] >= 0 for phase in PHASES)
    assert line["total_us"] >= sum(line[phase] for phase in PHASES[:3])


@pytest.mark.parametrize("dialect", ["infer", "predict"])
def test_a_rest_request(server, dialect):
    asked = example("diabetes-progression")
    headers = {"x-request-id": f"visit-{dialect}", "traceparent": TRACEPARENT}
    if dialect == "infer":
        response = server.post(asked.path("infer"), asked.body(), headers=headers)
    else:
        body = {"records": records(asked)}
        response = server.post(asked.path("predict", root=""), body, headers=headers)
        assert response.json()["request_id"] == "visit-predict"
    assert response.headers["x-request-id"] == headers["x-request-id"]
    version, trace, span, flags = response.headers["traceparent"].split("-")
    assert (version, trace, flags) == ("00", TRACE, "01")
    assert span != SPAN, "the span is the server's own"
    line = line_of(server, headers["x-request-id"])
    assert_whole(line, "http")
    assert line["trace_id"] == TRACE
    assert (line["method"], line["path"]) == (
        "POST",
        asked.path(dialect, root="/v2" if dialect == "infer" else ""),
    )


def test_a_grpc_request(server):
    metadata = [("x-request-id", "visit-grpc"), ("traceparent", TRACEPARENT)]
    with oip.stub(server) as service:
        request = oip.raw_request(example("diabetes-progression"))
        _, call = service.ModelInfer.with_call(request, metadata=metadata, timeout=30)
    back = dict(call.initial_metadata())
    assert back["x-request-id"] == "visit-grpc"
    assert back["traceparent"].split("-")[1] == TRACE
    line = line_of(server, "visit-grpc")
    assert_whole(line, "grpc")
    assert line["trace_id"] == TRACE


def test_ids_are_made_up_where_none_came(server):
    asked = example("diabetes-progression")
    response = server.post(asked.path("infer"), asked.body())
    made_up = response.headers["x-request-id"]
    assert re.fullmatch("[0-9a-f]{32}", made_up)
    assert response.headers["traceparent"].split("-")[1] == made_up
    assert_whole(line_of(server, made_up), "http")


@pytest.mark.parametrize("bad", ["", "x" * 129, "x" * 4000])
def test_a_request_id_that_can_not_be_taken_is_replaced(server, bad):
    back = server.get("/v2/models/nobody", headers={"x-request-id": bad}).headers["x-request-id"]
    assert re.fullmatch("[0-9a-f]{32}", back)


@pytest.mark.parametrize(
    "bad",
    ["", "garbage", f"00-{'0' * 32}-{SPAN}-01", f"00-{TRACE}-{'0' * 16}-01", f"{TRACEPARENT}-x"],
)
def test_a_trace_that_can_not_be_taken_begins_anew(server, bad):
    back = server.get("/v2/models/nobody", headers={"traceparent": bad}).headers["traceparent"]
    assert re.fullmatch("00-[0-9a-f]{32}-[0-9a-f]{16}-00", back)
    assert TRACE not in back


def test_a_refused_request_has_a_line_and_a_good_probe_has_none(server):
    assert server.get("/v2/health/ready", headers={"x-request-id": "probe"}).ok
    assert server.get("/v2/models/nobody", headers={"x-request-id": "lost"}).status_code == 404
    line = line_of(server, "lost")
    assert (line["status"], line["path"]) == (404, "/v2/models/nobody")
    assert not [r for r in server.log.records() if r.get("request_id") == "probe"]


def test_every_line_is_json(server):
    server.get("/v2/models/nobody")
    server.stop()
    for text in server.log.text().splitlines():
        record = json.loads(text)
        assert {"timestamp", "level", "message"} <= record.keys()


def canaries() -> list[tuple[str, dict]]:
    """Requests that carry the canary, well-formed and not."""
    words = {"name": "INPUT0", "datatype": "BYTES", "shape": [1, 1], "data": [CANARY]}
    numbers = {"name": "INPUT0", "datatype": "FP32", "shape": [1, 1], "data": [CANARY_NUMBER]}
    record = records(example("diabetes-progression").row(0))[0]
    infer, typed = "/v2/models/{}/infer", "/models/diabetes-progression/predict"
    return [
        (infer.format("words"), {"inputs": [words]}),
        (infer.format("numbers"), {"inputs": [numbers]}),
        (infer.format("numbers"), {"inputs": [{**numbers, "data": [CANARY]}]}),
        (infer.format("numbers"), {"inputs": [{**numbers, "shape": [2, 1]}]}),
        (infer.format("words"), {"inputs": [{**words, "shape": [9, 9]}]}),
        (infer.format("words"), {"inputs": [{**words, "datatype": "FP32"}]}),
        (infer.format("words"), {"inputs": [words], "id": CANARY, "note": CANARY}),
        (typed, {"records": [{**record, "age": CANARY_NUMBER}]}),
        (typed, {"records": [{**record, "age": CANARY}]}),
        (typed, {"records": CANARY}),
    ]


def test_no_payload_is_ever_logged(registry, start):
    registry.add_demo("diabetes-progression")
    registry.add_echo("words", datatypes=("BYTES",))
    registry.add_echo("numbers")
    server = start(registry.path, "--log-filter", "trace").wait_ready()
    for path, body in canaries():
        assert server.post(path, body).status_code in (200, 400, 422)
    with oip.stub(server) as service:
        request = oip.pb.ModelInferRequest(model_name="words")
        tensor = request.inputs.add(name="INPUT0", datatype="BYTES", shape=[1, 1])
        tensor.contents.bytes_contents.append(CANARY.encode())
        oip.call(service, request)
        request = oip.pb.ModelInferRequest(model_name="numbers")
        request.inputs.add(name="INPUT0", datatype="FP32", shape=[1, 1])
        request.raw_input_contents.append(np.float32(CANARY_NUMBER).tobytes())
        oip.call(service, request)
    server.stop()
    for canary in (CANARY, str(CANARY_NUMBER)):
        assert canary not in server.log.text()

"""The metrics port: what Triton's dashboards look for, in the form that Prometheus reads, with
numbers that add up.
"""

import re

import grpc
import pytest

from support import oip
from support.demo import example
from support.exposition import Scrape
from support.server import MODELS, REPOSITORY, until

PHASES = ["request", "queue", "compute_input", "compute_infer", "compute_output"]
HISTOGRAMS = [f"nv_inference_{phase}_duration_histogram_us" for phase in PHASES]
# Names that dashboards and alerts of Triton's users hold.
TRITON = {
    "nv_inference_request_success": "counter",
    "nv_inference_request_failure": "counter",
    "nv_inference_count": "counter",
    "nv_inference_exec_count": "counter",
    **{f"nv_inference_{phase}_duration_us": "counter" for phase in PHASES},
    **{name: "histogram" for name in HISTOGRAMS},
    "nv_inference_pending_request_count": "gauge",
    "nv_model_load_duration_secs": "gauge",
}
ADD_SUB = {"model": "add-sub", "version": "1"}


@pytest.fixture
def server(registry, start):
    """Over one model that computes, and one that is slow and soon full."""
    registry.add_demo("add-sub")
    registry.add_echo(
        "slow",
        delay_us=300_000,
        settings="[batching]\nbatch_size_max = 1\nqueue_depth_max = 8",
    )
    return start(registry.path).wait_ready()


def echo(value: float) -> dict:
    return {"inputs": [{"name": "INPUT0", "datatype": "FP32", "shape": [1, 1], "data": [value]}]}


def slow_calls(service, count: int) -> list:
    request = oip.pb.ModelInferRequest(model_name="slow")
    request.inputs.add(name="INPUT0", datatype="FP32", shape=[1, 1]).contents.fp32_contents[:] = [7]
    return [service.ModelInfer.future(request, timeout=30) for _ in range(count)]


def load_alone(server):
    """Loads add-sub again while nothing else loads, so that its memory can be measured."""
    for call in ("unload", "load"):
        assert server.post(f"/v2/repository/models/add-sub/{call}").ok
    return Scrape(server).families.get("galen_model_load_memory_bytes")


LATE = (
    "galen_drift_",
    "galen_quality_",
    "galen_performance_",
    "galen_feedback_",
    "galen_alert",
    "galen_spans",
    "galen_snapshot",
    "nv_gpu_",
    "nv_energy_",
)


def test_every_metric_of_the_list_is_there(server):
    until(lambda: load_alone(server))
    assert server.post("/v2/models/add-sub/infer", example("add-sub").body()).ok
    families = Scrape(server).families
    kinds = {name: family.type for name, family in families.items()}
    assert TRITON.items() <= kinds.items()
    source = (REPOSITORY / "src/observe/names.rs").read_text()
    listed = dict(
        (name, kind.lower())
        for kind, name in re.findall(r'^    [A-Z_]+ = (\w+) "(\w+)"', source, re.MULTILINE)
    )
    assert len(listed) >= len(TRITON)
    # These come with the first window of a model that has a profile, the first label, a webhook, a
    # collector, a file of kept statistics that can not be used, and a GPU.
    later = {name for name in listed if name.startswith(LATE)}
    for name in later:
        kinds.setdefault(name, listed[name])
    assert kinds == listed, "nothing is left out, and nothing is there that is not listed"
    assert all(family.documentation for family in families.values())


def test_the_build_and_the_models_are_told(server):
    scrape = Scrape(server)
    (build,) = scrape.samples("galen_build_info")
    assert build.value == 1
    assert build.labels["version"] == server.get("/v2").json()["version"]
    assert scrape.value("galen_model_ready", **ADD_SUB) == 1
    assert scrape.value("nv_model_load_duration_secs", **ADD_SUB) > 0


def test_what_a_model_takes_is_told_on_every_page(server):
    until(lambda: load_alone(server))
    measured = Scrape(server).value("galen_model_load_memory_bytes", **ADD_SUB)
    (version,) = server.get("/models/add-sub").json()["versions"]
    assert version["load_memory_bytes"] == measured
    file = MODELS / "add-sub/1/model.onnx"
    assert version["model_file_bytes"] == file.stat().st_size
    (echo_version,) = server.get("/models/slow").json()["versions"]
    assert "model_file_bytes" not in echo_version
    line = server.log.wait_for(message="version ready", model="add-sub", memory_bytes=measured)[0]
    assert line["file_bytes"] == version["model_file_bytes"]
    # Triton's index stays Triton's.
    index = server.post("/v2/repository/index").json()
    assert {key for entry in index for key in entry} <= {"name", "version", "state", "reason"}


def test_counts_equal_what_was_sent(server):
    asked = example("add-sub")
    answered, refused = 9, 4
    for _ in range(answered):
        assert server.post("/v2/models/add-sub/infer", asked.body()).ok
    with oip.stub(server) as service:
        for each in asked.rows():
            oip.call(service, oip.raw_request(each))
            answered += 1
    for _ in range(refused):
        assert server.post("/v2/models/add-sub/infer", {"inputs": []}).status_code == 400
    scrape = Scrape(server)
    assert scrape.value("nv_inference_request_success", **ADD_SUB) == answered
    assert scrape.value("galen_inference_request_invalid", **ADD_SUB) == refused
    assert scrape.value("nv_inference_request_failure", **ADD_SUB) == 0
    assert scrape.value("nv_inference_count", **ADD_SUB) == 9 * 4 + 4
    for name in HISTOGRAMS:
        histogram = scrape.histogram(name, **ADD_SUB)
        counts = [count for _, count in histogram.buckets]
        bounds = [bound for bound, _ in histogram.buckets]
        assert bounds == sorted(bounds) and bounds[-1] == float("inf"), name
        assert counts == sorted(counts), f"{name} is not cumulative"
        assert counts[-1] == histogram.count == answered, name
        # The counter holds whole microseconds of each request, the histogram all of them.
        total = scrape.value(name.replace("_histogram", ""), **ADD_SUB)
        assert 0 <= histogram.total - total <= answered, name


def test_what_was_shed_is_counted_by_reason(server):
    labels = {"model": "slow", "version": "1"}
    failures = "nv_inference_request_failure"
    samples = Scrape(server).samples(failures, **labels)
    reasons = {sample.labels["reason"]: sample.value for sample in samples}
    assert reasons == {"REJECTED": 0, "CANCELED": 0, "BACKEND": 0, "OTHER": 0}
    with oip.stub(server) as service:
        calls = slow_calls(service, 24)
        codes = [call.code() for call in calls]
    shed = codes.count(grpc.StatusCode.RESOURCE_EXHAUSTED)
    assert shed > 0 and codes.count(grpc.StatusCode.OK) == 24 - shed
    scrape = Scrape(server)
    assert scrape.value(failures, reason="REJECTED", **labels) == shed
    assert scrape.value("nv_inference_request_success", **labels) == 24 - shed
    assert scrape.value("nv_inference_pending_request_count", **labels) == 0


def test_a_caller_that_gives_up_is_counted(server):
    labels = {"model": "slow", "version": "1"}
    with oip.stub(server) as service:
        first, second = slow_calls(service, 2)
        assert until(lambda: Scrape(server).value("nv_inference_pending_request_count", **labels))
        response = server.post(
            "/v2/models/slow/infer", echo(1.0), headers={"x-request-timeout-ms": "20"}
        )
        assert response.status_code == 504
        assert (first.code(), second.code()) == (grpc.StatusCode.OK, grpc.StatusCode.OK)
    failures = {"reason": "REJECTED", **labels}
    until(lambda: Scrape(server).value("nv_inference_request_failure", **failures) == 1)


def test_scrapes_are_answered_while_the_doors_are_busy(server):
    with oip.stub(server) as service:
        # As many as may wait, as the first may not be at work yet when the last one comes.
        calls = slow_calls(service, 8)
        seen = until(
            lambda: Scrape(server).value("nv_inference_pending_request_count", model="slow")
        )
        assert 1 <= seen <= 8
        for _ in range(20):
            assert server.metrics().elapsed.total_seconds() < 1
        assert not all(call.done() for call in calls), "the doors were not busy"
        assert {call.code() for call in calls} == {grpc.StatusCode.OK}


def test_the_port_answers_scrapes_and_nothing_else(server):
    response = server.metrics()
    assert response.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    for path in ("/", "/metric", "/metrics/", "/v2/health/ready", "/models"):
        assert server.get(path, door="metrics").status_code == 404, path
    assert server.call("POST", "/metrics", door="metrics").status_code == 405
    assert server.get("/metrics").status_code == 404, "on its own port only"

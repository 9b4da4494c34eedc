"""Spans on their way to a collector: whose they are, what they link, and that nobody waits for a
collector that is slow, away or full.
"""

import struct
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import grpc
import pytest
import requests
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2
from opentelemetry.proto.trace.v1 import trace_pb2

from support import oip
from support.demo import example, records
from support.exposition import Scrape
from support.server import PATIENCE, run, until
from test_alerts import free_port

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
SPAN = "00f067aa0ba902b7"
TRACEPARENT = f"00-{TRACE}-{SPAN}-01"
NOT_SAMPLED = f"00-{TRACE}-{SPAN}-00"
SERVER, INTERNAL = trace_pb2.Span.SPAN_KIND_SERVER, trace_pb2.Span.SPAN_KIND_INTERNAL
ERROR = trace_pb2.Status.STATUS_CODE_ERROR
PHASES = ["compute_input", "compute_infer", "compute_output"]
CANARY = "canary-5f1c9e"
CANARY_NUMBER = 31337.625


class Collector:
    """What an operator points `otlp.endpoint` at. It answers with the statuses that it is given, the
    last one for ever; a closed gate holds its answers back."""

    def __init__(self, statuses: tuple[int, ...] = (200,), headers=None, rejected: int = 0):
        statuses = list(statuses)
        answer = trace_service_pb2.ExportTraceServiceResponse()
        answer.partial_success.rejected_spans = rejected
        self.gate = threading.Event()
        self.gate.set()
        self.posts: list[dict] = []
        self.news = threading.Condition()
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["content-length"]))
                with collector.news:
                    status = statuses.pop(0) if len(statuses) > 1 else statuses[0]
                    collector.posts.append({
                        "path": self.path,
                        "type": self.headers["content-type"],
                        "status": status,
                        "body": body,
                        "at": time.monotonic(),
                    })
                    collector.news.notify_all()
                collector.gate.wait(PATIENCE)
                try:
                    self.send_response(status)
                    for name, value in (headers or {}).items():
                        self.send_header(name, value)
                    self.send_header("content-type", "application/x-protobuf")
                    self.send_header("content-length", str(answer.ByteSize()))
                    self.end_headers()
                    self.wfile.write(answer.SerializeToString())
                except OSError:
                    pass

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.endpoint = f"http://127.0.0.1:{self.server.server_address[1]}"
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()

    def messages(self) -> list:
        """What was taken."""
        with self.news:
            bodies = [post["body"] for post in self.posts if post["status"] == 200]
        read = trace_service_pb2.ExportTraceServiceRequest.FromString
        return [read(body) for body in bodies]

    def spans(self) -> list:
        return [
            span
            for message in self.messages()
            for of_resource in message.resource_spans
            for of_scope in of_resource.scope_spans
            for span in of_scope.spans
        ]

    def wait_for(self, wanted, count: int = 1) -> list:
        """The spans that are wanted, once there are so many."""
        deadline = time.monotonic() + PATIENCE
        with self.news:
            while True:
                found = [span for span in self.spans() if wanted(span)]
                if len(found) >= count:
                    return found
                left = deadline - time.monotonic()
                assert left > 0, (len(found), self.spans())
                self.news.wait(left)

    def close(self):
        self.gate.set()
        self.server.shutdown()
        self.server.server_close()
        self.thread.join(10)


@pytest.fixture
def collect():
    """Starts collectors, and ends them with the test."""
    collectors: list[Collector] = []

    def collect(*arguments, **named) -> Collector:
        collectors.append(Collector(*arguments, **named))
        return collectors[-1]

    yield collect
    for collector in collectors:
        collector.close()


@pytest.fixture
def serve(registry, start):
    """Starts a server over the test's registry that sends its spans to a collector."""

    def serve(endpoint: str):
        return start(registry.path, "--otlp-endpoint", endpoint).wait_ready()

    return serve


def attributes(span) -> dict:
    def value(each):
        return getattr(each, each.WhichOneof("value"))

    return {each.key: value(each.value) for each in span.attributes}


def named(request_id: str):
    return lambda span: attributes(span).get("galen.request_id") == request_id


def children(spans: list, parent) -> dict:
    own = [s for s in spans if s.parent_span_id == parent.span_id and s.trace_id == parent.trace_id]
    assert len({span.name for span in own}) == len(own)
    return {span.name: span for span in own}


def ids(span) -> tuple[bytes, bytes]:
    return span.trace_id, span.span_id


def linked(span) -> set[tuple[bytes, bytes]]:
    return {ids(link) for link in span.links}


def counts(server) -> dict[str, float]:
    scrape = Scrape(server)
    outcomes = ("exported", "dropped")
    return {each: scrape.value("galen_spans_total", outcome=each) for each in outcomes}


def echo(value: float = 1.0) -> dict:
    return {"inputs": [{"name": "INPUT0", "datatype": "FP32", "shape": [1, 1], "data": [value]}]}


def assert_request(span, traceparent: str, request_id: str, asked):
    """The span is the one that was told to the caller, below the one that the caller told."""
    _, trace, own, flags = traceparent.split("-")
    assert flags == "01"
    assert (span.trace_id.hex(), span.span_id.hex()) == (trace, own)
    assert (trace, span.parent_span_id.hex()) == (TRACE, SPAN)
    assert span.kind == SERVER and span.status.code != ERROR
    now = time.time_ns()
    assert now - 120e9 < span.start_time_unix_nano < span.end_time_unix_nano <= now
    found = attributes(span)
    assert found["galen.model"] == asked.model
    assert found["galen.version"] == int(asked.version)
    assert found["galen.rows"] == len(asked.inputs[0].values)
    assert found["galen.request_id"] == request_id


def assert_computed(spans: list, span) -> tuple:
    """The request waited, then ran in a batch that names it; gives back the batch's span."""
    below = children(spans, span)
    assert below.keys() == {"queue", "compute"}
    queue, compute = below["queue"], below["compute"]
    order = [
        span.start_time_unix_nano,
        queue.start_time_unix_nano,
        queue.end_time_unix_nano,
        compute.start_time_unix_nano,
        compute.end_time_unix_nano,
        span.end_time_unix_nano,
    ]
    assert order == sorted(order)
    (link,) = linked(compute)
    (batch,) = [each for each in spans if ids(each) == link]
    assert (batch.name, batch.kind) == ("batch", INTERNAL)
    assert not batch.parent_span_id and batch.trace_id != span.trace_id
    assert ids(span) in linked(batch)
    phases = children(spans, batch)
    assert list(phases) == PHASES
    assert phases["compute_input"].start_time_unix_nano == batch.start_time_unix_nano
    assert phases["compute_output"].end_time_unix_nano == batch.end_time_unix_nano
    return batch


def test_a_request_is_recorded_below_its_caller_on_both_doors(registry, serve, collect):
    registry.add_demo("diabetes-progression")
    collector = collect()
    server = serve(collector.endpoint)
    asked = example("diabetes-progression")

    def headers(request_id: str) -> dict[str, str]:
        return {"x-request-id": request_id, "traceparent": TRACEPARENT}

    back = {}
    answer = server.post(asked.path("infer"), asked.body(), headers=headers("rest"))
    back["rest"] = answer.headers["traceparent"]
    body = {"records": records(asked)}
    answer = server.post(asked.path("predict", root=""), body, headers=headers("typed"))
    back["typed"] = answer.headers["traceparent"]
    with oip.stub(server) as service:
        metadata = list(headers("grpc").items())
        request = oip.raw_request(asked)
        _, call = service.ModelInfer.with_call(request, metadata=metadata, timeout=PATIENCE)
        back["grpc"] = dict(call.initial_metadata())["traceparent"]
    assert server.stop() == 0
    spans = collector.spans()
    for request_id, traceparent in back.items():
        (span,) = filter(named(request_id), spans)
        assert_request(span, traceparent, request_id, asked)
        batch = assert_computed(spans, span)
        assert attributes(batch) == {
            "galen.model": asked.model,
            "galen.version": int(asked.version),
            "galen.batch.rows": len(asked.inputs[0].values),
            "galen.batch.requests": 1,
        }
    (rest,), (typed,), (call,) = (list(filter(named(each), spans)) for each in back)
    route = "/v2/models/{model}/versions/{version}/infer"
    assert rest.name == f"POST {route}"
    assert attributes(rest)["http.route"] == route
    assert attributes(rest)["http.request.method"] == "POST"
    assert attributes(rest)["http.response.status_code"] == 200
    assert typed.name == "POST /models/{model}/versions/{version}/predict"
    assert call.name == "inference.GRPCInferenceService/ModelInfer"
    assert attributes(call)["rpc.system"] == "grpc"
    assert attributes(call)["rpc.grpc.status_code"] == 0

    (post, *_) = collector.posts
    assert (post["path"], post["type"]) == ("/v1/traces", "application/x-protobuf")
    (of_resource,) = collector.messages()[0].resource_spans
    resource = {each.key: each.value.string_value for each in of_resource.resource.attributes}
    assert resource["service.name"] == "galen" and resource["service.version"]


def test_requests_that_share_a_batch_are_linked_with_it_both_ways(registry, serve, collect):
    registry.add_echo("slow", delay_us=300_000, settings="[batching]\nbatch_size_max = 8")
    collector = collect()
    server = serve(collector.endpoint)

    def ask(number: int):
        # One of them is not recorded: it is counted, and not named.
        parent = NOT_SAMPLED if number == 4 else TRACEPARENT
        headers = {"x-request-id": f"r{number}", "traceparent": parent}
        url = f"http://{server.http}/v2/models/slow/infer"
        return requests.post(url, json=echo(), headers=headers, timeout=PATIENCE).status_code

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(ask, range(8))) == [200] * 8
    assert server.stop() == 0
    spans = collector.spans()
    recorded = [number for number in range(8) if number != 4]
    batches = {}
    for number in recorded:
        (span,) = filter(named(f"r{number}"), spans)
        batch = assert_computed(spans, span)
        batches.setdefault(ids(batch), (batch, set()))[1].add(ids(span))
    assert not any(map(named("r4"), spans))
    for batch, members in batches.values():
        assert linked(batch) == members, "it names those, and nobody else"
        requests_in_it = attributes(batch)["galen.batch.requests"]
        assert len(members) <= requests_in_it <= len(members) + 1
        assert attributes(batch)["galen.batch.rows"] == requests_in_it
    assert max(len(members) for _, members in batches.values()) >= 2
    # A run that nobody records has no span: there is at most one that only r4 was in.
    assert len([span for span in spans if span.name == "batch"]) == len(batches)


def test_what_is_not_sampled_is_not_recorded(registry, start, tmp_path, collect):
    registry.add_echo("echo")
    collector = collect()
    (tmp_path / "galen.toml").write_text(
        f'[otlp]\nendpoint = "{collector.endpoint}/custom/"\n'
        'sample_percent = 0.0\nservice_name = "ward-7"\n'
    )
    server = start(registry.path).wait_ready()

    def ask(request_id: str, **headers: str) -> str:
        headers["x-request-id"] = request_id
        answer = server.post("/v2/models/echo/infer", echo(), headers=headers)
        assert answer.ok
        return answer.headers["traceparent"][-2:]

    assert ask("root") == "00"
    assert ask("no", traceparent=NOT_SAMPLED) == "00"
    assert ask("yes", traceparent=TRACEPARENT) == "01"
    assert server.stop() == 0
    spans = collector.spans()
    assert [attributes(span)["galen.request_id"] for span in spans if span.kind == SERVER] == ["yes"]
    assert Counter(span.name for span in spans if span.kind == INTERNAL) == Counter(
        ["queue", "compute", "batch", *PHASES]
    )
    assert {post["path"] for post in collector.posts} == {"/custom/v1/traces"}
    resource = collector.messages()[0].resource_spans[0].resource
    assert "ward-7" in {each.value.string_value for each in resource.attributes}


def test_it_is_off_by_default(registry, start):
    registry.add_echo("echo")
    server = start(registry.path).wait_ready()
    answer = server.post("/v2/models/echo/infer", echo())
    assert answer.headers["traceparent"].endswith("-00")
    answer = server.post("/v2/models/echo/infer", echo(), headers={"traceparent": TRACEPARENT})
    assert answer.headers["traceparent"].endswith("-01")
    assert not Scrape(server).samples("galen_spans_total")


def test_failures_of_the_server_are_errors_and_those_of_callers_are_not(registry, serve, collect):
    registry.add_echo("slow", delay_us=300_000, settings="[batching]\nbatch_size_max = 1")
    collector = collect()
    server = serve(collector.endpoint)
    late = {"x-request-timeout-ms": "20"}
    path = "/v2/models/slow/infer"
    for request_id, status, body in [("late", 504, echo()), ("bad", 400, {"inputs": []})]:
        headers = {**late, "x-request-id": request_id}
        assert server.post(path, body, headers=headers).status_code == status
    answer = server.get("/v2/models/nobody/ready", headers={"x-request-id": "lost"})
    assert answer.status_code == 404
    # The content type of another door makes no call of it.
    for request_id, headers in [("nowhere", {}), ("odd", {"content-type": "application/grpc"})]:
        headers["x-request-id"] = request_id
        assert server.get("/nowhere/1234", headers=headers).status_code == 404
    request = oip.pb.ModelInferRequest(model_name="slow")
    request.inputs.add(name="INPUT0", datatype="FP32", shape=[1, 1]).contents.fp32_contents[:] = [7]
    with oip.stub(server) as service:
        metadata = [*late.items(), ("x-request-id", "late-grpc")]
        with pytest.raises(grpc.RpcError) as raised:
            service.ModelInfer(request, metadata=metadata, timeout=PATIENCE)
        assert raised.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
        metadata = [("x-request-id", "unknown-grpc")]
        unknown = oip.pb.ModelInferRequest(model_name="nobody")
        with pytest.raises(grpc.RpcError):
            service.ModelInfer(unknown, metadata=metadata, timeout=PATIENCE)
    with pytest.raises(requests.exceptions.ReadTimeout):
        url = f"http://{server.http}{path}"
        requests.post(url, json=echo(), headers={"x-request-id": "left"}, timeout=0.1)
    collector.wait_for(named("left"))
    assert server.stop() == 0
    found = {}
    for span in collector.spans():
        said = attributes(span)
        if span.kind == SERVER and "galen.request_id" in said:
            found[said["galen.request_id"]] = (span.status.code == ERROR, said.get("error.type"))
    expected = {
        "late": (True, "504"),
        "late-grpc": (True, "DEADLINE_EXCEEDED"),
        "left": (True, "caller_left"),
        "bad": (False, None),
        "lost": (False, None),
        "nowhere": (False, None),
        "odd": (False, None),
        "unknown-grpc": (False, None),
    }
    assert {name: found[name] for name in expected} == expected
    # A path that somebody made up is in no span.
    assert not any("1234" in str(span) for span in collector.spans())


def test_a_stream_ends_with_its_last_answer(registry, serve, collect):
    registry.add_echo("echo")
    collector = collect()
    server = serve(collector.endpoint)
    request = oip.pb.ModelInferRequest(model_name="echo")
    request.inputs.add(name="INPUT0", datatype="FP32", shape=[1, 1]).contents.fp32_contents[:] = [7]
    metadata = [("x-request-id", "stream"), ("traceparent", TRACEPARENT)]
    with oip.stub(server) as service:
        answers = service.ModelStreamInfer(iter([request] * 3), metadata=metadata, timeout=PATIENCE)
        assert len(list(answers)) == 3
    assert server.stop() == 0
    spans = collector.spans()
    (stream,) = filter(named("stream"), spans)
    assert attributes(stream)["rpc.method"] == "ModelStreamInfer"
    assert attributes(stream)["rpc.grpc.status_code"] == 0
    batches = [span for span in spans if ids(stream) in linked(span)]
    assert {span.name for span in batches} == {"batch"}
    assert sum(attributes(batch)["galen.batch.requests"] for batch in batches) == 3
    begun = min(batch.start_time_unix_nano for batch in batches)
    assert stream.start_time_unix_nano < begun < stream.end_time_unix_nano


ENSEMBLE = """
[batching]
batch_size_max = 4
[[inputs]]
name = "x"
datatype = "FP32"
shape = [-1, 1]
[[outputs]]
name = "z"
datatype = "FP32"
shape = [-1, 1]
[[ensemble.steps]]
model = "first"
inputs = { INPUT0 = "x" }
outputs = { OUTPUT0 = "y" }
[[ensemble.steps]]
model = "second"
inputs = { INPUT0 = "y" }
outputs = { OUTPUT0 = "z" }
"""


def test_the_steps_of_an_ensemble_have_spans_of_their_own(registry, serve, collect):
    for step in ("first", "second"):
        registry.add_echo(step, shape=(-1, 1), settings="[batching]\nbatch_size_max = 4")
    folder = registry.path / "both"
    (folder / "1").mkdir(parents=True)
    (folder / "model.toml").write_text(ENSEMBLE)
    collector = collect()
    server = serve(collector.endpoint)
    body = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 1], "data": [1.0]}]}
    assert server.post("/v2/models/both/infer", body, headers={"x-request-id": "steps"}).ok
    assert server.stop() == 0
    spans = collector.spans()
    (span,) = filter(named("steps"), spans)
    assert attributes(span)["galen.model"] == "both"
    below = [each for each in spans if each.parent_span_id == span.span_id]
    steps = [(each.name, attributes(each)["galen.model"]) for each in below]
    expected = [(name, step) for step in ("first", "second") for name in ("queue", "compute")]
    assert steps == expected
    for compute in (each for each in below if each.name == "compute"):
        (batch,) = [each for each in spans if ids(each) in linked(compute)]
        assert attributes(batch)["galen.model"] == attributes(compute)["galen.model"]


def test_no_payload_and_no_key_is_in_a_span(registry, serve, collect):
    registry.add_echo("words", datatypes=("BYTES",))
    registry.add_echo("numbers")
    collector = collect()
    server = serve(collector.endpoint)
    words = {"name": "INPUT0", "datatype": "BYTES", "shape": [1, 1], "data": [CANARY]}
    numbers = echo(CANARY_NUMBER)
    headers = {"x-affinity-key": CANARY}
    for model, body in [
        ("words", {"inputs": [words], "id": CANARY}),
        ("words", {"inputs": [{**words, "datatype": "FP32"}]}),
        ("words", {"inputs": [{**words, "name": CANARY}]}),
        ("numbers", numbers),
        (CANARY, numbers),
    ]:
        server.post(f"/v2/models/{model}/infer?{CANARY}={CANARY}", body, headers=headers)
    assert server.stop() == 0
    sent = b"".join(post["body"] for post in collector.posts)
    assert b"numbers" in sent
    number = [struct.pack("<f", CANARY_NUMBER), struct.pack("<d", CANARY_NUMBER), b"31337"]
    assert not any(canary in sent for canary in (CANARY.encode(), *number))


def test_what_waits_at_the_end_is_exported(registry, serve, collect):
    registry.add_echo("echo")
    collector = collect()
    server = serve(collector.endpoint)
    for number in range(5):
        headers = {"x-request-id": f"last-{number}"}
        assert server.post("/v2/models/echo/infer", echo(), headers=headers).ok
    assert server.stop() == 0
    for number in range(5):
        assert len(list(filter(named(f"last-{number}"), collector.spans()))) == 1


def test_everything_is_counted_once(registry, serve, collect):
    registry.add_echo("echo")
    collector = collect()
    server = serve(collector.endpoint)
    assert len(Scrape(server).samples("galen_spans_total")) == 2, "both from the start"
    for _ in range(50):
        assert server.post("/v2/models/echo/infer", echo()).ok
    collector.wait_for(lambda span: span.name == "compute", 50)
    until(lambda: counts(server) == {"exported": len(collector.spans()), "dropped": 0})


@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_collector_is_asked_again_when_it_says(registry, serve, collect, status):
    registry.add_echo("echo")
    collector = collect(statuses=(status, 200), headers={"retry-after": "2"})
    server = serve(collector.endpoint)
    assert server.post("/v2/models/echo/infer", echo(), headers={"x-request-id": "again"}).ok
    collector.wait_for(named("again"))
    first, second, *_ = collector.posts
    assert first["body"] == second["body"]
    assert second["at"] - first["at"] >= 2
    until(lambda: counts(server)["exported"] >= 6)
    assert counts(server)["dropped"] == 0


def test_a_refusal_is_final(registry, serve, collect):
    registry.add_echo("echo")
    collector = collect(statuses=(400, 200))
    server = serve(collector.endpoint)
    assert server.post("/v2/models/echo/infer", echo(), headers={"x-request-id": "lost"}).ok
    until(lambda: counts(server)["dropped"] > 0)
    said = server.log.wait_for(message="spans could not be exported", level="WARN")[0]
    assert (said["attempts"], said["spans"]) == (1, counts(server)["dropped"])


def test_spans_that_the_collector_rejects_are_not_counted_as_exported(registry, serve, collect):
    registry.add_echo("echo")
    collector = collect(rejected=1)
    server = serve(collector.endpoint)
    assert server.post("/v2/models/echo/infer", echo()).ok
    until(lambda: counts(server)["exported"] > 0)
    posts, found = len(collector.posts), counts(server)
    assert found["dropped"] >= 1 and posts >= 1
    server.log.wait_for(message="the collector rejected spans", spans=1)


def test_nobody_notices_that_the_collector_is_away(registry, serve):
    registry.add_echo("echo")
    server = serve(f"http://127.0.0.1:{free_port()}")
    for _ in range(20):
        assert server.post("/v2/models/echo/infer", echo()).elapsed.total_seconds() < 1
    until(lambda: counts(server)["dropped"] > 0)
    assert server.post("/v2/models/echo/infer", echo()).ok
    before = time.monotonic()
    assert server.stop() == 0
    assert time.monotonic() - before < 10


def test_a_full_queue_drops_spans_and_delays_nobody(registry, serve, collect):
    registry.add_echo("echo")
    collector = collect()
    collector.gate.clear()
    server = serve(collector.endpoint)
    url = f"http://{server.http}/v2/health/live"

    def ask(count: int) -> float:
        with requests.Session() as session:
            return max(session.get(url).elapsed.total_seconds() for _ in range(count))

    with ThreadPoolExecutor(4) as pool:
        slowest = max(pool.map(ask, [1000] * 4))
    assert slowest < 1
    assert counts(server)["dropped"] > 0
    collector.gate.set()
    server.log.wait_for(message="spans were dropped: their queue is full", level="WARN")
    assert server.stop() == 0


def test_an_address_that_is_none_is_refused_before_a_port_is_bound(registry, tmp_path):
    endpoint = ("--otlp-endpoint", "https://hush/")
    outcome = run("serve", "--models", str(registry.path), *endpoint, cwd=tmp_path)
    assert outcome.returncode == 64
    assert "otlp.endpoint: expected http://" in outcome.stderr and "hush" not in outcome.stderr

"""The end of a server: what was accepted is answered, what comes later is refused, and balancers
hear of it first.
"""

import contextlib
import http.client
import json
import signal
import socket
import time
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from support import oip
from support.server import MODELS, PATIENCE, Server, until

CALLS = 8
# An engine call lasts longer than the doors stay open after the signal.
SLOW_US = 2_000_000
DELAY_MS = "1000"
# How often something is tried that goes wrong only now and then.
ATTEMPTS = 12


@pytest.fixture
def models(registry):
    """One slow model: what comes while it is at work shares its next engine call."""
    registry.add_echo("slow", delay_us=SLOW_US)
    return registry.path


@pytest.fixture
def quick(registry):
    """The same without the wait."""
    registry.add_echo("slow")
    return registry.path


def body(value: float) -> str:
    tensor = {"name": "INPUT0", "datatype": "FP32", "shape": [1, 2], "data": [value, -value]}
    return json.dumps({"inputs": [tensor]})


def send_rest(server: Server, count: int) -> list[http.client.HTTPConnection]:
    """Sends requests and reads no answer yet."""
    host, port = server.http.rsplit(":", 1)
    connections = []
    for number in range(count):
        connection = http.client.HTTPConnection(host, int(port), timeout=PATIENCE)
        connection.request("POST", "/v2/models/slow/infer", body(number))
        connections.append(connection)
    return connections


def send_grpc(service, count: int) -> list:
    calls = []
    for number in range(count):
        request = oip.pb.ModelInferRequest(model_name="slow")
        tensor = request.inputs.add(name="INPUT0", datatype="FP32", shape=[1, 2])
        tensor.contents.fp32_contents.extend([number, -number])
        calls.append(service.ModelInfer.future(request, timeout=PATIENCE))
    return calls


def assert_answered(connections, calls):
    for number, connection in enumerate(connections):
        response = connection.getresponse()
        assert response.status == 200
        assert json.load(response)["outputs"][0]["data"] == [number, -number]
        connection.close()
    for number, call in enumerate(calls):
        values = oip.outputs_of(call.result())["OUTPUT0"]
        assert values.tolist() == [[number, -number]]


def not_ready(server: Server):
    """What a server that is not ready says of it."""
    response = server.get("/v2/health/ready")
    return response.json() if response.status_code == 503 else None


def is_refused(address: str) -> bool:
    host, port = address.rsplit(":", 1)
    try:
        with socket.create_connection((host, int(port)), timeout=PATIENCE):
            return False
    except ConnectionRefusedError:
        return True
    except ConnectionResetError:
        # It was in the door while that closed; the next one will find it shut.
        return False


def test_accepted_work_is_finished(models, start):
    server = start(models, "--shutdown-delay-ms", DELAY_MS).wait_ready()
    with oip.stub(server) as service:
        connections, calls = send_rest(server, CALLS), send_grpc(service, CALLS)
        server.process.send_signal(signal.SIGTERM)
        # First readiness falls, while the doors are still open.
        server.log.wait_for(message="shutting down")
        body = until(lambda: not_ready(server))
        assert body["not_ready"][0] == {"name": "server", "reason": "shutting down"}
        assert server.get("/v2/health/live").ok
        assert server.get("/v2/models/slow/ready").status_code == 503
        # Then the doors close, while work goes on.
        until(lambda: is_refused(server.http) and is_refused(server.grpc))
        assert not all(call.done() for call in calls), "all was over before the doors closed"
        assert_answered(connections, calls)
        server.process.wait(PATIENCE)
    assert server.stop() == 0
    messages = [record["message"] for record in server.log.records()]
    assert messages.index("shutting down") < messages.index("request")
    assert messages[-1] == "shut down"


def test_requests_are_served_until_the_doors_close(quick, start):
    server = start(quick, "--shutdown-delay-ms", DELAY_MS).wait_ready()
    server.process.send_signal(signal.SIGINT)
    server.log.wait_for(message="shutting down")
    with oip.stub(server) as service:
        assert_answered(send_rest(server, 2), send_grpc(service, 2))
    assert server.stop() == 0


def test_health_watchers_are_told(quick, start):
    server = start(quick, "--shutdown-delay-ms", DELAY_MS).wait_ready()
    with grpc.insecure_channel(server.grpc) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        states = stub.Watch(health_pb2.HealthCheckRequest(), timeout=PATIENCE)
        assert next(states).status == health_pb2.HealthCheckResponse.SERVING
        server.process.send_signal(signal.SIGTERM)
        assert next(states).status == health_pb2.HealthCheckResponse.NOT_SERVING
        with pytest.raises(grpc.RpcError) as ended:
            next(states)
        assert ended.value.code() == grpc.StatusCode.UNAVAILABLE
    assert server.stop() == 0


def test_an_idle_connection_does_not_hold_up_the_end(quick, start):
    server = start(quick, "--shutdown-timeout-ms", "20000").wait_ready()
    host, port = server.http.rsplit(":", 1)
    with socket.create_connection((host, int(port)), timeout=PATIENCE), contextlib.closing(
        http.client.HTTPConnection(host, int(port), timeout=PATIENCE)
    ) as used:
        used.request("GET", "/v2/health/live")
        assert used.getresponse().read()
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(5) == 0


def test_a_server_that_still_loads_ends_in_order(start):
    """Threads are at work inside an engine then; how far they are is up to chance."""
    codes = [start(MODELS).stop() for _ in range(ATTEMPTS)]
    assert codes == [0] * ATTEMPTS


def test_work_that_takes_too_long_is_given_up(models, start):
    server = start(models, "--shutdown-timeout-ms", "100").wait_ready()
    connections = send_rest(server, 1)
    # The request is at work once the server has answered a later one.
    assert server.get("/v2/health/live").ok
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(PATIENCE) == 1
    server.log.wait_for(message="shut down before all accepted work was finished")
    connections[0].close()


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="asks /proc")
@pytest.mark.parametrize("mode", ["both", "none", "poll", "explicit"])
def test_a_server_that_nobody_asks_rests(quick, start, mode):
    """In modes that never look at the directory again, the wait for the next look was none."""
    server = start(quick, "--model-control-mode", mode, "--load-model", "*")
    server.wait_ready()
    # Nothing will tell that nothing happens.
    before, begun = server.cpu_s(), time.monotonic()
    time.sleep(1)
    used = (server.cpu_s() - before) / (time.monotonic() - begun)
    assert used < 0.05, f"{used:.2f} cores"

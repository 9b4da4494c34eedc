"""Packed requests and answers, as tritonclient asks for them."""

import numpy as np
import pytest
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton_http

from support import oip
from support.registry import Registry
from support.server import Server

ROWS = 40_000


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("compression")
    registry = Registry(folder / "models")
    registry.add_echo("echo", datatypes=("FP32",))
    with Server(registry.path, cwd=folder) as server:
        yield server.wait_ready()


@pytest.mark.parametrize("algorithm", ["gzip", "deflate"])
@pytest.mark.parametrize("binary", [True, False], ids=["binary", "json"])
def test_rest(server, algorithm, binary):
    sent = np.arange(ROWS, dtype=np.float32).reshape(2, -1)
    given = triton_http.InferInput("INPUT0", sent.shape, "FP32")
    given.set_data_from_numpy(sent, binary_data=binary)
    wanted = triton_http.InferRequestedOutput("OUTPUT0", binary_data=binary)
    with oip.rest_client(server) as client:
        answer = client.infer(
            "echo",
            [given],
            outputs=[wanted],
            request_compression_algorithm=algorithm,
            response_compression_algorithm=algorithm,
        )
    assert np.array_equal(answer.as_numpy("OUTPUT0"), sent)


@pytest.mark.parametrize("algorithm", ["gzip", "deflate"])
def test_grpc(server, algorithm):
    sent = np.arange(ROWS, dtype=np.float32).reshape(2, -1)
    given = triton_grpc.InferInput("INPUT0", sent.shape, "FP32").set_data_from_numpy(sent)
    with oip.grpc_client(server) as client:
        answer = client.infer("echo", [given], compression_algorithm=algorithm)
    assert np.array_equal(answer.as_numpy("OUTPUT0"), sent)


def test_an_answer_is_packed_only_where_it_pays(server):
    small = {"inputs": [{"name": "INPUT0", "shape": [1, 2], "datatype": "FP32", "data": [1, 2]}]}
    large = {"inputs": [{"name": "INPUT0", "shape": [1, ROWS], "datatype": "FP32",
                         "data": [0] * ROWS}]}
    for body, coding in [(small, None), (large, "gzip")]:
        answer = server.post("/v2/models/echo/infer", body, headers={"Accept-Encoding": "gzip"})
        assert answer.headers.get("content-encoding") == coding

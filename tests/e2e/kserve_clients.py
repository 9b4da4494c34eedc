"""KServe's own inference clients: both REST protocols and gRPC, readiness as they read it, and the
values of every held-out row.
"""

import asyncio
import logging

import grpc
import httpx
import numpy as np
import pytest
from kserve import (
    InferenceGRPCClient,
    InferenceRESTClient,
    InferInput,
    InferRequest,
    InferResponse,
    RESTConfig,
)
from kserve.protocol.infer_type import RequestedOutput

from support.demo import Example, example
from support.server import PATIENCE, Server

MODEL = "breast-cancer"
UNKNOWN = "nobody"
ID = "visit 7"


@pytest.fixture(autouse=True)
def quiet():
    """The gRPC client logs every error that it raises too."""
    logging.disable(logging.ERROR)
    yield
    logging.disable(logging.NOTSET)


@pytest.fixture(params=["1", "2"])
def asked(request) -> Example:
    return example(MODEL, request.param)


def rest(protocol: str) -> InferenceRESTClient:
    return InferenceRESTClient(RESTConfig(protocol=protocol, timeout=PATIENCE))


def url(server: Server) -> str:
    return f"http://{server.http}"


def request(asked: Example, binary: bool, outputs: bool = False) -> InferRequest:
    """The example's request; gRPC's carries the version, for which the REST client has no place."""
    inputs = []
    for given in asked.inputs:
        tensor = InferInput(given.name, list(given.values.shape), given.datatype)
        tensor.set_data_from_numpy(given.values, binary_data=binary)
        inputs.append(tensor)
    wanted = [RequestedOutput(tensor.name, {"binary_data": binary}) for tensor in asked.outputs]
    return InferRequest(
        model_name=asked.model,
        infer_inputs=inputs,
        request_id=ID,
        model_version=asked.version,
        request_outputs=wanted if outputs else None,
    )


def assert_answer(asked: Example, answer: InferResponse):
    assert (answer.id, answer.model_name) == (ID, asked.model)
    assert [output.name for output in answer.outputs] == [tensor.name for tensor in asked.outputs]
    for output in answer.outputs:
        asked.assert_answer(output.name, output.as_numpy())


@pytest.mark.parametrize("binary", [True, False], ids=["binary", "text"])
def test_v2(demo, asked, binary):
    async def infer():
        async with rest("v2") as client:
            for each in [asked, *asked.rows()]:
                place = f"{each.model}/versions/{each.version}"
                body = request(each, binary, outputs=binary)
                assert_answer(each, await client.infer(url(demo), body, model_name=place))

    asyncio.run(infer())


def test_v1(demo):
    asked = example(MODEL)

    async def infer():
        async with rest("v1") as client:
            for each in [asked, *asked.rows()]:
                body = {"instances": each.inputs[0].values.tolist()}
                answer = await client.infer(url(demo), body, model_name=each.model)
                for tensor in each.outputs:
                    rows = [row[tensor.name] for row in answer["predictions"]]
                    each.assert_answer(tensor.name, np.array(rows))

    asyncio.run(infer())


@pytest.mark.parametrize("binary", [True, False], ids=["raw", "typed"])
def test_grpc(demo, asked, binary):
    async def infer():
        async with InferenceGRPCClient(demo.grpc, timeout=PATIENCE) as client:
            for each in [asked, *asked.rows()]:
                answer = await client.infer(request(each, binary))
                assert_answer(each, answer)
                # The REST client reads past it.
                assert answer.model_version == each.version

    asyncio.run(infer())


def test_readiness(demo):
    async def ask():
        base = url(demo)
        async with rest("v2") as client:
            assert await client.is_server_live(base) is True
            assert await client.is_server_ready(base) is True
            assert await client.is_model_ready(base, MODEL) is True
            assert await client.is_model_ready(base, UNKNOWN) is False
        async with rest("v1") as client:
            assert await client.is_server_live(base) is True
            assert await client.is_model_ready(base, MODEL) is True
            with pytest.raises(httpx.HTTPStatusError, match="404"):
                await client.is_model_ready(base, UNKNOWN)
        async with InferenceGRPCClient(demo.grpc, timeout=PATIENCE) as client:
            assert await client.is_server_live() is True
            assert await client.is_server_ready() is True
            assert await client.is_model_ready(MODEL) is True

    asyncio.run(ask())


def test_not_ready_yet(registry, start):
    """A model that is there and does not serve: False, not an error."""
    folder = registry.add_demo(MODEL)
    for file in folder.glob("*/model.onnx"):
        file.write_bytes(b"")
    registry.add_demo("add-sub")
    server = start(registry.path).wait_ready()

    async def ask():
        for protocol in ("v1", "v2"):
            async with rest(protocol) as client:
                assert await client.is_model_ready(url(server), MODEL) is False
        async with InferenceGRPCClient(server.grpc, timeout=PATIENCE) as client:
            assert await client.is_model_ready(MODEL) is False

    asyncio.run(ask())


def test_errors_arrive_as_errors(demo):
    """The client's text says what the server said."""
    asked = example(MODEL)
    asking = request(asked, binary=True)
    short = {"instances": [[1.0, 2.0]]}

    async def ask():
        async with rest("v2") as client:
            with pytest.raises(httpx.HTTPStatusError, match="unknown model: 'nobody'") as raised:
                await client.infer(url(demo), asking, model_name=UNKNOWN)
            assert raised.value.response.status_code == 404
        async with rest("v1") as client:
            with pytest.raises(httpx.HTTPStatusError, match="features") as raised:
                await client.infer(url(demo), short, model_name=MODEL)
            assert raised.value.response.status_code == 400
        async with InferenceGRPCClient(demo.grpc, timeout=PATIENCE) as client:
            asking.model_name = UNKNOWN
            with pytest.raises(grpc.RpcError) as raised:
                await client.infer(asking)
            assert raised.value.code() == grpc.StatusCode.NOT_FOUND

    asyncio.run(ask())

"""What tritonclient asks before it infers: liveness, readiness and metadata, over both doors, with
its blocking and its asyncio clients.
"""

import asyncio

import grpc
import pytest
import tritonclient.grpc.aio as triton_grpc_aio
import tritonclient.http.aio as triton_http_aio
from grpc_health.v1 import health_pb2, health_pb2_grpc

from support import oip
from support.demo import EXAMPLES, LATEST
from support.server import PATIENCE

CLIENTS = {"rest": oip.rest_client, "grpc": oip.grpc_client}
AIO = {"rest": triton_http_aio, "grpc": triton_grpc_aio}

either_door = pytest.mark.parametrize("door", ["rest", "grpc"])


def as_json(door: str) -> dict:
    return {"as_json": True} if door == "grpc" else {}


def tensors(entries: list[dict]) -> list[tuple]:
    """Name, datatype and shape; numbers are strings in protobuf's JSON."""
    return [
        (entry["name"], entry["datatype"], [int(extent) for extent in entry["shape"]])
        for entry in entries
    ]


@either_door
def test_blocking_client(shared, door):
    with CLIENTS[door](shared) as client:
        assert client.is_server_live()
        assert client.is_server_ready()
        for asked in EXAMPLES:
            assert client.is_model_ready(asked.model)
            assert client.is_model_ready(asked.model, asked.version)
        server = client.get_server_metadata(**as_json(door))
        assert server["name"] == "galen"
        assert "binary_tensor_data" in server["extensions"]


@either_door
@pytest.mark.parametrize("asked", EXAMPLES, ids=str)
def test_metadata_of_a_version(shared, door, asked):
    with CLIENTS[door](shared) as client:
        model = client.get_model_metadata(asked.model, asked.version, **as_json(door))
    assert model["name"] == asked.model
    assert model["versions"] == [asked.version]
    for side, examples in (("inputs", asked.inputs), ("outputs", asked.outputs)):
        found = tensors(model[side])
        assert [name for name, _, _ in found] == [tensor.name for tensor in examples]
        for (_, datatype, shape), tensor in zip(found, examples):
            assert datatype == tensor.datatype
            assert shape[0] == -1
            assert all(d in (-1, e) for d, e in zip(shape, tensor.values.shape, strict=True))


@either_door
@pytest.mark.parametrize("model", LATEST)
def test_metadata_of_a_model_lists_the_versions_that_answer(shared, door, model):
    with CLIENTS[door](shared) as client:
        versions = client.get_model_metadata(model, **as_json(door))["versions"]
    assert versions == [asked.version for asked in EXAMPLES if asked.model == model]


@either_door
def test_asyncio_client(shared, door):
    async def ask():
        address = shared.http if door == "rest" else shared.grpc
        async with AIO[door].InferenceServerClient(address) as client:
            live, ready, model, metadata = await asyncio.gather(
                client.is_server_live(),
                client.is_server_ready(),
                client.is_model_ready("breast-cancer", "2"),
                client.get_model_metadata("breast-cancer", **as_json(door)),
            )
            return live, ready, model, metadata["versions"]

    outcome = asyncio.run(asyncio.wait_for(ask(), PATIENCE))
    assert outcome == (True, True, True, ["1", "2"])


@either_door
def test_an_unknown_model_is_not_ready(shared, door):
    with CLIENTS[door](shared) as client:
        if door == "rest":
            assert not client.is_model_ready("nobody")
            assert not client.is_model_ready("breast-cancer", "9")
        else:
            with pytest.raises(oip.triton_grpc.InferenceServerException, match="NOT_FOUND"):
                client.is_model_ready("nobody")


def test_kserve_reads_the_bodies_of_the_health_routes(shared):
    assert shared.get("/v2/health/live").json() == {"live": True}
    assert shared.get("/v2/health/ready").json() == {"live": True, "ready": True}
    assert shared.get("/v2/models/add-sub/ready").json() == {"name": "add-sub", "ready": True}
    assert shared.get("/v2/models").json() == {"models": sorted(LATEST)}


def test_grpc_health_checking(shared):
    with grpc.insecure_channel(shared.grpc) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        for service in ("", "inference.GRPCInferenceService"):
            request = health_pb2.HealthCheckRequest(service=service)
            answer = stub.Check(request, timeout=PATIENCE)
            assert answer.status == health_pb2.HealthCheckResponse.SERVING


@pytest.mark.parametrize("model", ["breast-cancer", "ecg-rhythm", "identity"])
def test_the_configuration_is_the_same_on_both_doors(shared, model):
    with oip.rest_client(shared) as rest, oip.grpc_client(shared) as service:
        written = rest.get_model_config(model)
        answer = service.get_model_config(model).config
    assert (written["name"], written["max_batch_size"]) == (answer.name, answer.max_batch_size)
    assert written["backend"] == answer.backend
    assert answer.max_batch_size > 1
    assert answer.HasField("dynamic_batching")
    for tensor, shown in [*zip(answer.input, written["input"], strict=True),
                          *zip(answer.output, written["output"], strict=True)]:
        assert (tensor.name, list(tensor.dims)) == (shown["name"], shown["dims"])
        kind = tensor.DESCRIPTOR.fields_by_name["data_type"].enum_type
        assert kind.values_by_number[tensor.data_type].name == shown["data_type"]

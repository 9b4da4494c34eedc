"""The Open Inference Protocol through tritonclient, and through its bare gRPC stub."""

import contextlib

import grpc
import numpy as np
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton_http
from tritonclient.grpc import service_pb2 as pb
from tritonclient.grpc import service_pb2_grpc

from support.demo import Example
from support.server import AUTHORITY, PATIENCE, Server

# Field of InferTensorContents for each datatype that has one.
CONTENTS = {
    "BOOL": "bool_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}
# The server's limits are what is tested, not the client's.
OPTIONS = (
    *AUTHORITY,
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
)


@contextlib.contextmanager
def rest_client(server: Server):
    with contextlib.closing(triton_http.InferenceServerClient(server.http)) as client:
        yield client


@contextlib.contextmanager
def grpc_client(server: Server):
    with contextlib.closing(triton_grpc.InferenceServerClient(server.grpc)) as client:
        yield client


@contextlib.contextmanager
def stub(server: Server):
    """The generated stub, below tritonclient."""
    with grpc.insecure_channel(server.grpc, OPTIONS) as channel:
        yield service_pb2_grpc.GRPCInferenceServiceStub(channel)


def infer(client, module, asked: Example, binary: bool = True):
    """Asks the example's version through tritonclient's REST or gRPC client."""
    inputs = []
    for given in asked.inputs:
        tensor = module.InferInput(given.name, given.values.shape, given.datatype)
        extra = {"binary_data": binary} if module is triton_http else {}
        inputs.append(tensor.set_data_from_numpy(given.values, **extra))
    return client.infer(asked.model, inputs, model_version=asked.version)


def raw_request(asked: Example) -> pb.ModelInferRequest:
    """The example's request with raw contents."""
    request = pb.ModelInferRequest(model_name=asked.model, model_version=asked.version)
    for given in asked.inputs:
        request.inputs.add(name=given.name, datatype=given.datatype, shape=given.values.shape)
        request.raw_input_contents.append(given.values.tobytes())
    return request


def typed_request(asked: Example) -> pb.ModelInferRequest:
    """The example's request with typed contents."""
    request = pb.ModelInferRequest(model_name=asked.model, model_version=asked.version)
    for given in asked.inputs:
        entry = request.inputs.add(
            name=given.name, datatype=given.datatype, shape=given.values.shape
        )
        field = getattr(entry.contents, CONTENTS[given.datatype])
        field.extend(given.values.ravel().tolist())
    return request


def call(service, request: pb.ModelInferRequest, **arguments) -> pb.ModelInferResponse:
    return service.ModelInfer(request, timeout=PATIENCE, **arguments)


def outputs_of(answer: pb.ModelInferResponse) -> dict[str, np.ndarray]:
    """An answer's outputs, which are always raw."""
    types = {"FP32": np.float32, "INT64": np.int64}
    assert len(answer.outputs) == len(answer.raw_output_contents)
    out = {}
    for entry, raw in zip(answer.outputs, answer.raw_output_contents):
        assert not entry.HasField("contents"), "raw outputs only"
        out[entry.name] = np.frombuffer(raw, types[entry.datatype]).reshape(entry.shape)
    return out

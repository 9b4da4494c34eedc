"""Every datatype through every dialect and back, bit for bit: tensors are bytes to the server."""

import numpy as np
import pytest
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton_http
from tritonclient.utils import deserialize_bytes_tensor, serialize_byte_tensor

from support import oip
from support.oip import CONTENTS, pb
from support.registry import Registry
from support.server import Server

NUMPY = {
    "BOOL": np.bool_, "UINT8": np.uint8, "UINT16": np.uint16, "UINT32": np.uint32,
    "UINT64": np.uint64, "INT8": np.int8, "INT16": np.int16, "INT32": np.int32, "INT64": np.int64,
    "FP16": np.float16, "FP32": np.float32, "FP64": np.float64,
}
WORDS = [b"", b"a", b"nul \0 inside", "grüße 💉".encode(), b"x" * 70_000, b'"\\/\n\t\x7f']


def values(datatype: str) -> np.ndarray:
    """The extremes of a datatype, in two rows."""
    if datatype == "BYTES":
        return np.array(WORDS, np.object_).reshape(2, 3)
    kind = NUMPY[datatype]
    if datatype == "BOOL":
        return np.array([[True, False, True], [False, False, True]])
    if np.issubdtype(kind, np.integer):
        limits = np.iinfo(kind)
        return np.array([[limits.min, limits.max, 0], [1, limits.max - 1, 7]], kind)
    limits = np.finfo(kind)
    return np.array(
        [[limits.min, limits.max, limits.tiny], [limits.smallest_subnormal, -0.0, 1 / 3]], kind
    )


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("datatypes")
    registry = Registry(folder / "models")
    for datatype in (*NUMPY, "BF16", "BYTES"):
        registry.add_echo(datatype.lower(), datatypes=(datatype,))
    with Server(registry.path, cwd=folder) as server:
        yield server.wait_ready()


def assert_same(back: np.ndarray, sent: np.ndarray):
    assert back.shape == sent.shape
    if sent.dtype == np.object_:
        assert back.ravel().tolist() == sent.ravel().tolist()
    else:
        assert back.astype(sent.dtype).tobytes() == sent.tobytes()


@pytest.mark.parametrize("datatype", [*NUMPY, "BYTES"])
@pytest.mark.parametrize("module", [triton_http, triton_grpc], ids=["rest", "grpc"])
def test_binary(server, module, datatype):
    sent = values(datatype)
    tensor = module.InferInput("INPUT0", sent.shape, datatype).set_data_from_numpy(sent)
    client = oip.rest_client if module is triton_http else oip.grpc_client
    with client(server) as client:
        back = client.infer(datatype.lower(), [tensor]).as_numpy("OUTPUT0")
    assert_same(back, sent)


@pytest.mark.parametrize("datatype", [*NUMPY, "BYTES"])
def test_json(server, datatype):
    sent = values(datatype)
    data = sent.ravel().tolist()
    if datatype == "BYTES":
        data = [word.decode() for word in data]
    tensor = {"name": "INPUT0", "datatype": datatype, "shape": list(sent.shape), "data": data}
    response = server.post(f"/v2/models/{datatype.lower()}/infer", {"inputs": [tensor]})
    assert response.status_code == 200, response.text
    (output,) = response.json()["outputs"]
    assert (output["datatype"], output["shape"]) == (datatype, [2, 3])
    if datatype == "BYTES":
        assert output["data"] == data
    else:
        assert_same(np.array(output["data"], sent.dtype).reshape(output["shape"]), sent)


@pytest.mark.parametrize("datatype", CONTENTS)
def test_typed_contents(server, datatype):
    sent = values(datatype)
    request = pb.ModelInferRequest(model_name=datatype.lower())
    tensor = request.inputs.add(name="INPUT0", datatype=datatype, shape=sent.shape)
    getattr(tensor.contents, CONTENTS[datatype]).extend(sent.ravel().tolist())
    with oip.stub(server) as service:
        (raw,) = oip.call(service, request).raw_output_contents
    if datatype == "BYTES":
        assert raw == serialize_byte_tensor(sent).item()
        assert deserialize_bytes_tensor(raw).tolist() == WORDS
    else:
        assert raw == sent.tobytes()


def test_bf16_travels_raw(server):
    raw = bytes([0x80, 0x3F, 0xC0, 0x7F, 0x80, 0xFF, 0x01, 0x00])
    request = pb.ModelInferRequest(model_name="bf16", raw_input_contents=[raw])
    request.inputs.add(name="INPUT0", datatype="BF16", shape=[2, 2])
    with oip.stub(server) as service:
        assert list(oip.call(service, request).raw_output_contents) == [raw]


@pytest.mark.parametrize("datatype", ["FP16", "FP32", "FP64"])
def test_what_is_no_number_is_written_as_a_text(server, datatype):
    """JSON has no word for it; a text every parser reads."""
    data = ["NaN", "Infinity", "-Infinity"]
    tensor = {"name": "INPUT0", "datatype": datatype, "shape": [1, 3], "data": data}
    response = server.post(f"/v2/models/{datatype.lower()}/infer", {"inputs": [tensor]})
    assert response.json()["outputs"][0]["data"] == data


@pytest.mark.parametrize("shape", [[2, 0], [1, 0]], ids=str)
def test_tensors_without_elements(server, shape):
    tensor = {"name": "INPUT0", "datatype": "FP32", "shape": shape, "data": []}
    (output,) = server.post("/v2/models/fp32/infer", {"inputs": [tensor]}).json()["outputs"]
    assert (output["shape"], output["data"]) == (shape, [])


def test_triton_s_bare_words_on_demand(registry, start):
    registry.add_echo("fp32")
    server = start(registry.path, "--bare-nonfinite").wait_ready()
    body = '{"inputs":[{"name":"INPUT0","datatype":"FP32","shape":[1,3],"data":[%s]}]}'
    words = "NaN,Infinity,-Infinity"
    response = server.call("POST", "/v2/models/fp32/infer", data=body % words)
    assert f'"data":[{words}]' in response.text


def test_a_large_tensor(server):
    """Over many network reads, and past the 4 MiB that gRPC stops at unless told otherwise."""
    sent = np.arange(4 << 20, dtype=np.float32).reshape(4, -1)
    tensor = triton_http.InferInput("INPUT0", sent.shape, "FP32").set_data_from_numpy(sent)
    with oip.rest_client(server) as client:
        assert_same(client.infer("fp32", [tensor]).as_numpy("OUTPUT0"), sent)
    request = pb.ModelInferRequest(model_name="fp32", raw_input_contents=[sent.tobytes()])
    request.inputs.add(name="INPUT0", datatype="FP32", shape=sent.shape)
    with oip.stub(server) as service:
        assert oip.call(service, request).raw_output_contents[0] == sent.tobytes()

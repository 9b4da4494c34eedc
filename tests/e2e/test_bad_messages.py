"""Whatever is sent to the gRPC door: a code that blames the caller, a text that repeats none of its
data, and the next caller notices nothing.
"""

from dataclasses import dataclass

import grpc
import numpy as np
import pytest

from support import oip, wire
from support.malformed import BODY_BYTES_MAX, CANARY, CANARY_NUMBER
from support.oip import CONTENTS, pb
from support.registry import Registry
from support.server import AUTHORITY, PATIENCE, Server

INVALID, UNKNOWN = grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND
METHOD = "/inference.GRPCInferenceService/ModelInfer"
GROWTH_MAX = 200 << 20


@dataclass(frozen=True)
class Case:
    name: str
    message: bytes
    code: grpc.StatusCode = INVALID
    method: str = METHOD


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bad")
    registry = Registry(folder / "models")
    registry.add_demo("add-sub")
    for datatype in CONTENTS:
        registry.add_echo(datatype.lower(), datatypes=(datatype,))
    for datatype in ("FP16", "BF16"):
        registry.add_echo(datatype.lower(), datatypes=(datatype,))
    flags = ["--body-bytes-max", str(BODY_BYTES_MAX)]
    with Server(registry.path, *flags, cwd=folder) as server:
        server.wait_ready()
        ask(server)
        before = server.memory_bytes()
        yield server
        assert server.memory_bytes() - before < GROWTH_MAX
    for canary in (CANARY, str(CANARY_NUMBER)):
        assert canary not in server.log.text()


def good(raw: bool = True) -> pb.ModelInferRequest:
    request = pb.ModelInferRequest(model_name="add-sub")
    row = np.full(16, CANARY_NUMBER, np.float32)
    for name in ("INPUT0", "INPUT1"):
        tensor = request.inputs.add(name=name, datatype="FP32", shape=[1, 16])
        if raw:
            request.raw_input_contents.append(row.tobytes())
        else:
            tensor.contents.fp32_contents.extend(row)
    return request


def ask(server: Server):
    with oip.stub(server) as service:
        answer = oip.call(service, good())
    assert oip.outputs_of(answer)["OUTPUT1"].tolist() == [[0.0] * 16]


def send(server: Server, method: str, message: bytes) -> grpc.RpcError:
    """Sends bytes as a message; gives back the error that came."""
    options = [*AUTHORITY, ("grpc.max_send_message_length", -1)]
    with grpc.insecure_channel(server.grpc, options) as channel:
        call = channel.unary_unary(method, lambda data: data, lambda data: data)
        with pytest.raises(grpc.RpcError) as refused:
            call(message, timeout=PATIENCE)
    return refused.value


def change(raw: bool = True, **fields) -> pb.ModelInferRequest:
    """The good request with another first input."""
    request = good(raw)
    for name, value in fields.items():
        if isinstance(value, (list, tuple)):
            del getattr(request.inputs[0], name)[:]
            getattr(request.inputs[0], name).extend(value)
        else:
            setattr(request.inputs[0], name, value)
    return request


def requests() -> dict[str, pb.ModelInferRequest]:
    """Messages that are protobuf, but no request that fits."""
    found = {"nothing": pb.ModelInferRequest(model_name="add-sub")}

    def case(name: str, raw: bool = True) -> pb.ModelInferRequest:
        found[name] = good(raw)
        return found[name]

    for name, shape in {
        "flat": [16], "too many axes": [1, 16, 1], "no axes": [], "other extent": [1, 15],
        "negative": [-1, 16], "very negative": [-(2**63), 16], "more rows": [2, 16],
        "beyond 32 bits": [2**31, 4], "beyond 64 bits": [2**62, 2**62], "2^63-1": [2**63 - 1, 16],
        "terabytes": [2**40, 16], "10000 axes": [1] * 10_000, "no rows": [0, 16],
    }.items():
        found[f"shape {name}"] = change(shape=shape)
        found[f"typed, shape {name}"] = change(raw=False, shape=shape)
    for datatype in ("", "fp32", "FP99", "FP64", "INT32", "FP16", "BF16", "BOOL", "BYTES"):
        found[f"datatype {datatype!r}"] = change(datatype=datatype)
        found[f"typed, datatype {datatype!r}"] = change(raw=False, datatype=datatype)
    for name in ("", "INPUT7", "input0", "INPUT1"):
        found[f"input {name!r}"] = change(name=name)
    del case("missing input").inputs[1]
    case("extra input").inputs.add(name="X", datatype="FP32", shape=[1, 16])
    case("very many inputs").inputs.extend(good().inputs[:1] * 5000)
    case("unknown output").outputs.add(name="OUTPUT7")
    case("nameless output").outputs.add()
    case("very many outputs").outputs.extend(
        [pb.ModelInferRequest.InferRequestedOutputTensor(name="OUTPUT0")] * 5000
    )
    case("raw too short").raw_input_contents[0] = CANARY.encode()
    case("raw too long").raw_input_contents[0] += CANARY.encode()
    case("raw empty").raw_input_contents[0] = b""
    case("one raw entry less").raw_input_contents.pop()
    case("one raw entry more").raw_input_contents.append(CANARY.encode())
    case("very many raw entries").raw_input_contents.extend([b""] * 100_000)
    both = case("raw and typed")
    both.inputs[0].contents.fp32_contents.extend([CANARY_NUMBER] * 16)
    del case("no data").raw_input_contents[:]
    del case("typed: one less", raw=False).inputs[0].contents.fp32_contents[:1]
    case("typed: one more", raw=False).inputs[0].contents.fp32_contents.append(CANARY_NUMBER)
    case("typed: two fields", raw=False).inputs[0].contents.int_contents.append(1)
    case("reserved parameter").parameters["triton_x"].string_param = CANARY
    case("negative timeout").parameters["timeout"].int64_param = -1
    case("timeout of words").parameters["timeout"].string_param = CANARY
    many = case("many parameters")
    for index in range(5000):
        many.parameters[f"k{index}"].int64_param = index
    rows = case("more rows than a batch may have")
    for index in (0, 1):
        rows.inputs[index].shape[0] = 65
        rows.raw_input_contents[index] *= 65
    return found


def contents() -> dict[str, pb.ModelInferRequest]:
    """Every typed field under every datatype that is not its own, and values out of range."""
    found = {}
    samples = {"bool_contents": True, "bytes_contents": CANARY.encode()}
    for datatype in [*CONTENTS, "FP16", "BF16"]:
        for wrong in sorted(set(CONTENTS.values()) - {CONTENTS.get(datatype)}):
            request = pb.ModelInferRequest(model_name=datatype.lower())
            tensor = request.inputs.add(name="INPUT0", datatype=datatype, shape=[1, 1])
            getattr(tensor.contents, wrong).append(samples.get(wrong, 1))
            found[f"{datatype} in {wrong}"] = request
    for datatype, values in {"INT8": (128, -129), "INT16": (2**15, -(2**15) - 1),
                             "UINT8": (256,), "UINT16": (65536,)}.items():
        for value in values:
            request = pb.ModelInferRequest(model_name=datatype.lower())
            tensor = request.inputs.add(name="INPUT0", datatype=datatype, shape=[1, 1])
            getattr(tensor.contents, CONTENTS[datatype]).append(value)
            found[f"{datatype} of {value}"] = request
    for name, raw in {"longer than what is there": b"\xff\xff\xff\xffcana",
                      "half a length": b"\1\0\0", "one too many": b"\1\0\0\0c" * 2}.items():
        request = pb.ModelInferRequest(model_name="bytes", raw_input_contents=[raw])
        request.inputs.add(name="INPUT0", datatype="BYTES", shape=[1, 1])
        found[f"BYTES {name}"] = request
    flag = pb.ModelInferRequest(model_name="bool", raw_input_contents=[b"\2"])
    flag.inputs.add(name="INPUT0", datatype="BOOL", shape=[1, 1])
    found["BOOL neither 0 nor 1"] = flag
    return found


def messages() -> list[Case]:
    """Bytes that are no message."""
    whole = good().SerializeToString()
    found = [
        Case(f"cut off at {tenth} tenths", whole[: len(whole) * tenth // 10])
        for tenth in range(1, 10)
    ]
    length = b"\xff\xff\xff\xff\x0f"
    found += [
        Case("text", CANARY.encode()),
        Case("zeros", b"\0" * 100),
        Case("a length of 4 GiB", b"\x2a" + length + b"x"),
        Case("a varint without end", b"\x28" + b"\xff" * 100),
        Case("a group without end", b"\x0b" * 100_000),
        Case("deep unknown groups", b"\x9b\x06" * 100_000),
        Case("wrong wire type", b"\x0d\0\0\0\0"),
        Case("invalid utf-8 as model", b"\x0a\x02\xc3\x28"),
        Case("invalid utf-8 as id", b"\x1a\x02\xc3\x28" + whole),
    ]
    return found


def selectors() -> list[Case]:
    found = []
    for name in ("nobody", "", "..", "../etc/passwd", "a" * 10_000, "add-sub\0", "add-sub/1"):
        request = good()
        request.model_name = name
        found.append(Case(f"model {name[:20]!r}", request.SerializeToString(), UNKNOWN))
    for version, code in {"9": UNKNOWN, "0": INVALID, "-1": INVALID, "01": INVALID, "1.0": INVALID,
                          "..": INVALID, "1\0": INVALID, "9" * 30: INVALID}.items():
        request = good()
        request.model_version = version
        found.append(Case(f"version {version[:20]!r}", request.SerializeToString(), code))
    return found


def cases() -> list[Case]:
    found = [Case(name, request.SerializeToString())
             for name, request in {**requests(), **contents()}.items()]
    found += [*messages(), *selectors()]
    missing = grpc.StatusCode.UNIMPLEMENTED
    for method in ("/inference.GRPCInferenceService/Nothing", "/nothing.Service/ModelInfer",
                   "/", "/inference.GRPCInferenceService/", "//", "/../ModelInfer"):
        found.append(Case(f"method {method}", good().SerializeToString(), missing, method))
    return found


CASES = cases()


def printable(case: Case) -> str:
    return case.name.encode("unicode_escape").decode()


def assert_told(error: grpc.RpcError, code: grpc.StatusCode):
    assert error.code() == code, error.details()
    assert error.details()
    assert len(error.details()) < 10_000
    for canary in (CANARY, str(CANARY_NUMBER)):
        assert canary not in error.details()


@pytest.mark.parametrize("case", CASES, ids=printable)
def test_malformed(server, case):
    assert_told(send(server, case.method, case.message), case.code)
    ask(server)


def test_there_are_many():
    assert len(CASES) > 150


@pytest.mark.parametrize("method", ["ModelReady", "ModelMetadata"])
@pytest.mark.parametrize(
    ("name", "version", "code"),
    [("nobody", "", UNKNOWN), ("", "", UNKNOWN), ("add-sub", "9", UNKNOWN),
     ("add-sub", "0", INVALID), ("../add-sub", "1", UNKNOWN)],
)
def test_questions_about_models_that_are_not_there(server, method, name, version, code):
    message = pb.ModelMetadataRequest(name=name, version=version).SerializeToString()
    assert_told(send(server, f"/inference.GRPCInferenceService/{method}", message), code)


@pytest.mark.parametrize("size", [BODY_BYTES_MAX + 1, 4 * BODY_BYTES_MAX])
def test_a_message_beyond_the_limit(server, size):
    error = send(server, METHOD, b"\x3a" + b"\xff\xff\xff\x7f" + b" " * size)
    assert error.code() in (grpc.StatusCode.OUT_OF_RANGE, grpc.StatusCode.RESOURCE_EXHAUSTED)
    ask(server)


def test_a_message_that_unpacks_beyond_the_limit(server):
    """It is as large as the server says it may be, once it is unpacked, and never more."""
    packing = grpc.Compression.Gzip
    with grpc.insecure_channel(server.grpc, oip.OPTIONS, compression=packing) as channel:
        call = channel.unary_unary(METHOD, lambda data: data, lambda data: data)
        call(good().SerializeToString() + b"\x92\x03\x00" * 1000, timeout=PATIENCE)
        with pytest.raises(grpc.RpcError) as refused:
            call(bytes(8 * BODY_BYTES_MAX), timeout=PATIENCE)
    assert refused.value.code() == grpc.StatusCode.OUT_OF_RANGE
    ask(server)


@pytest.mark.parametrize(
    "text",
    [b"\0" * 64, b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n\0\0\0"],
    ids=["zeros", "half a preface", "older HTTP"],
)
def test_what_is_no_http_2(server, text):
    """Somebody at the wrong port is sent away, and hangs nobody up."""
    try:
        answer = wire.exchange(server, text, door="grpc")
    except (ConnectionError, OSError, wire.http.client.HTTPException):
        answer = None
    assert answer is None or answer.status < 500
    ask(server)

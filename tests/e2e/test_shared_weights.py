"""Sessions of one model share its constants, whatever the engine makes of them; answers stay those of
plain onnxruntime."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from support.server import Server

RANDOM = np.random.default_rng(7)
FLOAT = TensorProto.FLOAT


def weight(name: str, *shape: int, dtype=np.float32):
    return numpy_helper.from_array(RANDOM.normal(0, 0.1, shape).astype(dtype), name)


def tensor(name: str, *shape):
    return helper.make_tensor_value_info(name, FLOAT, shape)


def model(nodes, inputs, weights, opset: int = 17) -> bytes:
    graph = helper.make_graph(nodes, "graph", inputs, [tensor("y", None, None)], weights)
    opsets = [helper.make_opsetid("", opset)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString()


def dense() -> bytes:
    nodes = [helper.make_node("Gemm", ["x", "w", "b"], ["y"], transB=1)]
    return model(nodes, [tensor("x", "rows", 64)], [weight("w", 512, 64), weight("b", 512)])


def folded() -> bytes:
    """The engine computes another constant from the shared one, once and for all."""
    nodes = [
        helper.make_node("Transpose", ["w"], ["t"], perm=[1, 0]),
        helper.make_node("MatMul", ["x", "t"], ["y"]),
    ]
    return model(nodes, [tensor("x", "rows", 64)], [weight("w", 512, 64)])


def fused() -> bytes:
    """A normalisation that the engine multiplies into the weights of the convolution before it."""
    norm = [weight(name, 32) for name in ("scale", "shift", "mean")]
    variance = numpy_helper.from_array(np.abs(RANDOM.normal(1, 0.1, 32)).astype(np.float32), "var")
    nodes = [
        helper.make_node("Conv", ["image", "w"], ["c"], pads=[1, 1, 1, 1]),
        helper.make_node("BatchNormalization", ["c", "scale", "shift", "mean", "var"], ["n"]),
        helper.make_node("ReduceMean", ["n"], ["y"], axes=[2, 3], keepdims=0),
        helper.make_node("Reshape", ["x", "shape"], ["image"]),
    ]
    nodes = [nodes[3], *nodes[:3]]
    shape = numpy_helper.from_array(np.array([-1, 16, 2, 2], dtype=np.int64), "shape")
    weights = [weight("w", 32, 16, 3, 3), *norm, variance, shape]
    return model(nodes, [tensor("x", "rows", 64)], weights)


def unused() -> bytes:
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"])]
    weights = [weight("w", 64, 128), weight("nobody", 64, 128)]
    return model(nodes, [tensor("x", "rows", 64)], weights)


def used_twice() -> bytes:
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["h"]),
        helper.make_node("Tanh", ["h"], ["t"]),
        helper.make_node("MatMul", ["t", "w"], ["y"]),
    ]
    return model(nodes, [tensor("x", "rows", 64)], [weight("w", 64, 64)])


def halves() -> bytes:
    nodes = [
        helper.make_node("Cast", ["w"], ["wide"], to=FLOAT),
        helper.make_node("MatMul", ["x", "wide"], ["y"]),
    ]
    return model(nodes, [tensor("x", "rows", 64)], [weight("w", 64, 128, dtype=np.float16)])


def inner() -> bytes:
    """The constant is the outer graph's, and a branch uses it."""

    def branch(name: str, sign: float):
        factor = numpy_helper.from_array(np.float32(sign), f"{name}-sign")
        nodes = [
            helper.make_node("MatMul", ["x", "w"], [f"{name}-h"]),
            helper.make_node("Mul", [f"{name}-h", f"{name}-sign"], [f"{name}-y"]),
        ]
        return helper.make_graph(nodes, name, [], [tensor(f"{name}-y", None, None)], [factor])

    zero = numpy_helper.from_array(np.float32(0), "zero")
    nodes = [
        helper.make_node("ReduceL1", ["x"], ["sum"], keepdims=0),
        helper.make_node("Greater", ["sum", "zero"], ["positive"]),
        helper.make_node(
            "If", ["positive"], ["y"], then_branch=branch("a", 1), else_branch=branch("b", -1)
        ),
    ]
    return model(nodes, [tensor("x", "rows", 64)], [weight("w", 64, 128), zero])


def default() -> bytes:
    """A constant that is an input, too: callers may leave it out, and the engine has it."""
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"])]
    inputs = [tensor("x", "rows", 64), tensor("w", 64, 128)]
    return model(nodes, inputs, [weight("w", 64, 128)])


GRAPHS = (dense, folded, fused, unused, used_twice, halves, inner)


@pytest.fixture(scope="module")
def plain() -> dict:
    return {graph.__name__: graph() for graph in GRAPHS}


@pytest.mark.parametrize("optimization", ["off", "all"])
def test_answers_are_those_of_plain_onnxruntime(plain, optimization, registry, start):
    for name, file in plain.items():
        folder = registry.add_onnx(name, file)
        settings = f'[engine]\ninstances = 3\noptimization = "{optimization}"\n'
        (folder / "model.toml").write_text(settings)
    server: Server = start(registry.path).wait_ready()
    for name, file in plain.items():
        session = onnxruntime.InferenceSession(file)
        rows = RANDOM.normal(size=(16, 64)).astype(np.float32)

        def ask(row: np.ndarray, name=name) -> np.ndarray:
            data = {"name": "x", "datatype": "FP32", "shape": [1, 64], "data": row.tolist()}
            answer = server.post(f"/v2/models/{name}/infer", {"inputs": [data]}).json()
            return np.array(answer["outputs"][0]["data"], dtype=np.float32)

        with ThreadPoolExecutor(8) as callers:
            answers = list(callers.map(ask, rows))
        for row, answer in zip(rows, answers, strict=True):
            expected = session.run(None, {"x": row[None]})[0].ravel()
            np.testing.assert_allclose(answer, expected, rtol=1e-5, atol=1e-5, err_msg=name)
    assert "will not share" not in server.log.text()


def test_a_default_stays_a_default(registry, start):
    file = default()
    registry.add_onnx("default", file)
    server: Server = start(registry.path).wait_ready()
    row = RANDOM.normal(size=(1, 64)).astype(np.float32)
    data = {"name": "x", "datatype": "FP32", "shape": [1, 64], "data": row[0].tolist()}
    answer = server.post("/v2/models/default/infer", {"inputs": [data]}).json()
    [expected] = onnxruntime.InferenceSession(file).run(None, {"x": row})
    np.testing.assert_allclose(answer["outputs"][0]["data"], expected.ravel(), rtol=1e-5, atol=1e-5)

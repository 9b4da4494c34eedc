"""Writes a network of the usual form and size for ten seconds of a 12-lead ECG at 100 Hz (as in
PTB-XL): convolutions, then five probabilities. Its weights are by chance: it is for timing.

    python ecg_12_lead.py FILE
"""

import sys

import numpy
import onnx
from onnx import TensorProto, helper, numpy_helper

chance = numpy.random.default_rng(12)
nodes, weights = [], []


def weight(name: str, *shape: int, scale: float) -> str:
    data = chance.standard_normal(shape) * scale
    weights.append(numpy_helper.from_array(data.astype(numpy.float32), name))
    return name


def add(kind: str, *inputs: str, output: str, **attributes) -> str:
    nodes.append(helper.make_node(kind, list(inputs), [output], **attributes))
    return output


def convolution(x: str, name: str, channels: tuple[int, int], width: int, stride: int) -> str:
    before, after = channels
    w = weight(f"{name}.w", after, before, width, scale=(2 / before / width) ** 0.5)
    b = weight(f"{name}.b", after, scale=0.01)
    sizes = {"kernel_shape": [width], "strides": [stride], "pads": [width // 2] * 2}
    return add("Relu", add("Conv", x, w, b, output=name, **sizes), output=f"{name}.relu")


x = convolution("ecg", "c1", (12, 64), 15, 4)
x = convolution(x, "c2", (64, 128), 7, 2)
x = convolution(x, "c3", (128, 160), 5, 2)
x = convolution(x, "c4", (160, 256), 5, 2)
x = convolution(x, "c5", (256, 256), 5, 2)
x = add("Flatten", add("GlobalAveragePool", x, output="mean"), output="flat", axis=1)
x = add(
    "Gemm",
    x,
    weight("out.w", 256, 5, scale=0.1),
    weight("out.b", 5, scale=0.01),
    output="logits",
)
add("Sigmoid", x, output="probability")

graph = helper.make_graph(
    nodes,
    "ecg-12-lead",
    [helper.make_tensor_value_info("ecg", TensorProto.FLOAT, ["batch", 12, 1000])],
    [helper.make_tensor_value_info("probability", TensorProto.FLOAT, ["batch", 5])],
    weights,
)
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
onnx.checker.check_model(model)
onnx.save(model, sys.argv[1])

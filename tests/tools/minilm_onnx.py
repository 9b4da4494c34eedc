"""A BERT sentence transformer as an ONNX graph, node by node from its weights: an implementation of
its own to hold others against, with mean pooling and length 1.
"""

import json
import struct
from pathlib import Path

import numpy as np
from onnx import TensorProto, helper, numpy_helper, save

OPSET = 20  # The first with Gelu.


def read(path: Path) -> dict[str, np.ndarray]:
    """The FP32 tensors of a safetensors file."""
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    header.pop("__metadata__", None)
    tensors = {}
    for name, entry in header.items():
        if entry["dtype"] == "F32":
            begin, end = (8 + length + offset for offset in entry["data_offsets"])
            tensors[name] = np.frombuffer(data[begin:end], np.float32).reshape(entry["shape"])
    return tensors


class Graph:
    def __init__(self, weights: dict[str, np.ndarray]):
        self.weights, self.nodes, self.constants, self.count = weights, [], [], 0

    def add(self, kind: str, *inputs: str, **attributes) -> str:
        self.count += 1
        output = f"v{self.count}"
        self.nodes.append(helper.make_node(kind, list(inputs), [output], **attributes))
        return output

    def constant(self, value) -> str:
        self.count += 1
        name = f"c{self.count}"
        self.constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def linear(self, x: str, name: str) -> str:
        weight = self.constant(np.ascontiguousarray(self.weights[f"{name}.weight"].T))
        return self.add("Add", self.add("MatMul", x, weight), self.constant(self.weights[f"{name}.bias"]))

    def norm(self, x: str, name: str, epsilon: float) -> str:
        parts = [self.constant(self.weights[f"{name}.{part}"]) for part in ("weight", "bias")]
        return self.add("LayerNormalization", x, *parts, axis=-1, epsilon=epsilon)


def export(folder: Path, path: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    heads, epsilon = config["num_attention_heads"], config["layer_norm_eps"]
    extent = config["hidden_size"] // heads
    graph = Graph(read(folder / "model.safetensors"))
    add, constant = graph.add, graph.constant

    words = constant(graph.weights["embeddings.word_embeddings.weight"])
    positions = graph.weights["embeddings.position_embeddings.weight"]
    positions = positions + graph.weights["embeddings.token_type_embeddings.weight"][0]
    length = add("Gather", add("Shape", "input_ids"), constant(np.int64([1])))
    places = add("Slice", constant(positions), constant(np.int64([0])), length, constant(np.int64([0])))
    x = add("Add", add("Gather", words, "input_ids"), places)
    x = graph.norm(x, "embeddings.LayerNorm", epsilon)

    mask = add("Cast", "attention_mask", to=TensorProto.FLOAT)
    hidden = add("Sub", mask, constant(np.float32(1.0)))
    hidden = add("Mul", hidden, constant(np.float32(1e9)))
    hidden = add("Unsqueeze", hidden, constant(np.int64([1, 2])))
    split = constant(np.int64([0, 0, heads, extent]))
    joined = constant(np.int64([0, 0, heads * extent]))
    for layer in range(config["num_hidden_layers"]):
        name = f"encoder.layer.{layer}"
        part = {}
        for key in ("query", "key", "value"):
            rows = add("Reshape", graph.linear(x, f"{name}.attention.self.{key}"), split)
            order = [0, 2, 3, 1] if key == "key" else [0, 2, 1, 3]
            part[key] = add("Transpose", rows, perm=order)
        scores = add("MatMul", part["query"], part["key"])
        scores = add("Mul", scores, constant(np.float32(extent**-0.5)))
        shares = add("Softmax", add("Add", scores, hidden), axis=-1)
        out = add("Transpose", add("MatMul", shares, part["value"]), perm=[0, 2, 1, 3])
        out = graph.linear(add("Reshape", out, joined), f"{name}.attention.output.dense")
        x = graph.norm(add("Add", out, x), f"{name}.attention.output.LayerNorm", epsilon)
        wide = add("Gelu", graph.linear(x, f"{name}.intermediate.dense"))
        narrow = graph.linear(wide, f"{name}.output.dense")
        x = graph.norm(add("Add", narrow, x), f"{name}.output.LayerNorm", epsilon)

    counts = add("Unsqueeze", mask, constant(np.int64([2])))
    sums = add("ReduceSum", add("Mul", x, counts), constant(np.int64([1])), keepdims=0)
    mean = add("Div", sums, add("ReduceSum", counts, constant(np.int64([1])), keepdims=0))
    graph.nodes.append(helper.make_node("LpNormalization", [mean], ["embedding"], axis=-1, p=2))

    def side(name, kind, shape):
        return helper.make_tensor_value_info(name, kind, shape)

    inputs = [side(name, TensorProto.INT64, ["rows", "tokens"]) for name in ("input_ids", "attention_mask")]
    outputs = [side("embedding", TensorProto.FLOAT, ["rows", heads * extent])]
    built = helper.make_graph(graph.nodes, "minilm", inputs, outputs, graph.constants)
    model = helper.make_model(built, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=10)
    save(model, path)

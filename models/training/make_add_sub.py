"""add-sub: the sum and the difference of two vectors of 16 numbers.

Nothing is learnt. It is the model that example clients of inference servers
have long been written against.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from onnx import TensorProto, helper

import common

NAME = "add-sub"
VERSION = "1"
WIDTH = 16


def build(model_dir: Path) -> None:
    def tensor(name: str):
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", WIDTH])

    graph = helper.make_graph(
        [
            helper.make_node("Add", ["INPUT0", "INPUT1"], ["OUTPUT0"], name="sum"),
            helper.make_node("Sub", ["INPUT0", "INPUT1"], ["OUTPUT1"], name="difference"),
        ],
        NAME,
        inputs=[tensor("INPUT0"), tensor("INPUT1")],
        outputs=[tensor("OUTPUT0"), tensor("OUTPUT1")],
    )
    path = model_dir / VERSION / "model.onnx"
    common.save_model(helper.make_model(graph), path)

    # The classic example (0..15 and all ones), then signs, fractions and zeros.
    ramp = np.arange(WIDTH, dtype=np.float32)
    first = np.stack([ramp, -ramp, ramp / 8, np.zeros_like(ramp)])
    second = np.stack([np.ones_like(ramp), ramp, ramp[::-1] / 4, -ramp])
    inputs = {"INPUT0": first, "INPUT1": second}
    outputs = {"OUTPUT0": first + second, "OUTPUT1": first - second}
    worst = common.require_agreement(path, inputs, outputs)
    common.report(NAME, VERSION, path, worst)
    common.write_examples(
        path.with_name("examples.json"),
        source="made-up numbers; outputs computed by numpy",
        inputs=inputs,
        outputs=outputs,
    )

"""Operators beyond ONNX's come from libraries that the server allows, and from nowhere else."""

import importlib.util
import shutil
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper

from support.server import run, until

DOMAIN = "onnx_extended.ortops.tutorial.cpu"
PACKAGE = Path(importlib.util.find_spec("onnx_extended").origin).parent
LIBRARY = PACKAGE / "ortops/tutorial/cpu/libortops_tutorial_cpu.so"


def total() -> bytes:
    """The sum of two tensors, by an operator of onnx-extended."""
    node = helper.make_node("MyCustomOp", ["a", "b"], ["sum"], domain=DOMAIN)
    sides = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["rows", 3])
        for name in ("a", "b", "sum")
    ]
    graph = helper.make_graph([node], "total", sides[:2], sides[2:])
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid(DOMAIN, 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString()


@pytest.fixture
def folder(registry):
    folder = registry.add_onnx("total", total())
    (folder / "model.toml").write_text('[engine]\noperators = ["sums"]\n')
    return folder


def reason(server) -> str:
    def entry():
        [entry] = server.post("/v2/repository/index", {}).json()
        return entry if entry.get("reason") else None

    return until(entry)["reason"]


def test_an_allowed_library_computes(registry, folder, start):
    server = start(registry.path, "--operators", f"sums={LIBRARY}").wait_ready()
    values = {
        name: np.random.default_rng(place).normal(size=(2, 3)).astype(np.float32)
        for place, name in enumerate("ab")
    }
    inputs = [
        {"name": name, "datatype": "FP32", "shape": [2, 3], "data": value.tolist()}
        for name, value in values.items()
    ]
    answer = server.post("/v2/models/total/infer", {"inputs": inputs}).json()
    options = onnxruntime.SessionOptions()
    options.register_custom_ops_library(str(LIBRARY))
    [expected] = onnxruntime.InferenceSession(total(), options).run(None, values)
    np.testing.assert_array_equal(np.float32(answer["outputs"][0]["data"]), expected.ravel())
    np.testing.assert_array_equal(expected, values["a"] + values["b"])


def test_a_library_that_is_not_allowed_is_not_loaded(registry, folder, start):
    """Not even where the model brings it along."""
    shutil.copy(LIBRARY, folder / "1" / "sums.so")
    server = start(registry.path, "--operators", f"other={LIBRARY}")
    told = reason(server)
    assert "engine.operators names 'sums', which this server does not allow" in told
    (folder / "model.toml").write_text("")
    until(lambda: DOMAIN in reason(server))


def test_a_library_that_is_not_there_is_named(registry, folder, start, tmp_path):
    server = start(registry.path, "--operators", f"sums={tmp_path}/missing.so")
    assert "missing.so" in reason(server)


def test_a_wrong_flag_is_told_before_anything_else(registry, tmp_path):
    done = run("check", str(registry.path), "--operators", "sums=lib.so", cwd=tmp_path)
    assert done.returncode == 64
    assert "operators: expected a name and an absolute path, got 'sums' and 'lib.so'" in done.stderr

"""Models come and go, and the memory they took does not stay."""

import statistics
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from support.demo import example
from support.server import Server, until

# glibc's arenas fill up for some cycles, and differ by up to 7 % after that. A leak is more: sessions
# take hundreds of kilobytes, and fifty of them would stay.
WARM_UP, CYCLES, WINDOW = 100, 50, 10
GROWTH_MAX = 1.10
MODELS = ("ecg-rhythm", "breast-cancer")

LAYERS, WIDTH = 12, 1024  # 4 MiB each.
# What may stay of the weights, in all cycles together: the first request's own first costs.
REST_MAX = 0.5


def load(server: Server, model: str):
    response = server.post(f"/v2/repository/models/{model}/load", {})
    assert response.status_code == 200, response.text


def unload(server: Server, model: str):
    """Returns when the model says that it is gone."""
    assert server.post(f"/v2/repository/models/{model}/unload", {}).status_code == 200

    def gone() -> bool:
        index = server.post("/v2/repository/index", {}).json()
        entries = [entry for entry in index if entry["name"] == model]
        return all(entry.get("reason") == "unloaded" for entry in entries)

    until(gone)


@pytest.mark.timeout(240)
def test_fifty_cycles_leave_nothing(engine, registry, start, figures):
    for model in MODELS:
        registry.add_demo(model)
    flags = ["--backend", engine, "--model-control-mode", "explicit"]
    server = start(registry.path, *flags).wait_ready()
    memory = []
    for _ in range(WARM_UP + CYCLES):
        for model in MODELS:
            load(server, model)
            asked = example(model)
            assert server.post(asked.path("infer"), asked.body()).status_code == 200
        for model in MODELS:
            unload(server, model)
        memory.append(server.memory_bytes())
    before, after = max(memory[WARM_UP - WINDOW : WARM_UP]), statistics.median(memory[-WINDOW:])
    figures.append(
        f"{CYCLES} loads and unloads on {engine}: {before / 2**20:.1f} MiB before, "
        f"{after / 2**20:.1f} MiB after"
    )
    assert after <= before * GROWTH_MAX


def layers() -> bytes:
    """A model of 48 MiB."""
    random = np.random.default_rng(1)
    weights = [
        numpy_helper.from_array(
            random.normal(0, WIDTH**-0.5, (WIDTH, WIDTH)).astype(np.float32), f"w{layer}"
        )
        for layer in range(LAYERS)
    ]
    nodes = [
        helper.make_node("MatMul", [f"x{layer}", f"w{layer}"], [f"x{layer + 1}"])
        for layer in range(LAYERS)
    ]
    sides = [
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["rows", WIDTH])]
        for name in ("x0", f"x{LAYERS}")
    ]
    graph = helper.make_graph(nodes, "layers", *sides, weights)
    opset = [helper.make_opsetid("", 17)]
    return helper.make_model(graph, opset_imports=opset, ir_version=8).SerializeToString()


def test_weights_go_back_to_the_system(engine, registry, start, figures):
    registry.add_onnx("layers", layers())
    registry.add_demo("add-sub")
    flags = ["--backend", engine, "--model-control-mode", "explicit"]
    server = start(registry.path, *flags).wait_ready()
    # What the first model of all costs is the engine's own.
    load(server, "add-sub")
    before, weights = server.memory_bytes(), 4 * LAYERS * WIDTH**2
    tensor = {"name": "x0", "datatype": "FP32", "shape": [1, WIDTH], "data": [1.0] * WIDTH}
    for _ in range(WINDOW):
        load(server, "layers")
        response = server.post("/v2/models/layers/infer", {"inputs": [tensor]})
        assert response.status_code == 200, response.text
        loaded = server.memory_bytes()
        assert loaded > before + weights
        unload(server, "layers")
        # Its instances end on threads of their own.
        until(lambda: server.memory_bytes() <= before + weights * REST_MAX)
    after = server.memory_bytes()
    figures.append(
        f"{WINDOW} loads and unloads of 48 MiB on {engine}: {before / 2**20:.1f} MiB before, "
        f"{loaded / 2**20:.1f} MiB loaded, {after / 2**20:.1f} MiB after"
    )


def test_instances_share_their_weights(registry, start, figures):
    """Eight sessions, all of which have computed, take hardly more than one."""
    tensor = {"name": "x0", "datatype": "FP32", "shape": [1, WIDTH], "data": [1.0] * WIDTH}
    resident, model = [], layers()
    for instances in (1, 8):
        name = f"layers{instances}"
        folder = registry.add_onnx(name, model)
        (folder / "model.toml").write_text(f"[engine]\ninstances = {instances}\n")
        flags = ["--model-control-mode", "explicit", "--load-model", name]
        server = start(registry.path, *flags).wait_ready()
        answers = []
        with ThreadPoolExecutor(16) as callers:
            asked = callers.map(
                lambda _: server.post(f"/v2/models/{name}/infer", {"inputs": [tensor]}), range(64)
            )
            answers += [answer.json()["outputs"][0]["data"] for answer in asked]
        assert all(np.allclose(answer, answers[0], rtol=1e-5, atol=1e-6) for answer in answers)
        resident.append(server.memory_bytes())
        server.stop()
    figures.append(
        f"a model of 48 MiB on onnxruntime: {resident[0] / 2**20:.0f} MiB with one instance, "
        f"{resident[1] / 2**20:.0f} MiB with eight"
    )
    assert resident[1] < resident[0] * 1.3

"""Models that ask for a GPU, on a machine without one: what is said, and what serves all the same."""

import json
import shutil

import pytest

from support.server import REPOSITORY, run, until

TRANSFORMER = REPOSITORY / "tests" / "transformers" / "bert-sequence"
PBTXT = """
platform: "onnxruntime_onnx"
max_batch_size: 8
instance_group [ {{ kind: {kind} {gpus} }} ]
"""


def add(registry, name: str, device: str, *more: str):
    """A model of one of both engines that can compute on a GPU, with more lines of its table."""
    if name == "transformer":
        folder = registry.path / name
        shutil.copytree(TRANSFORMER, folder / "1")
    else:
        folder = registry.add_demo("ecg-rhythm", name)
    text = (folder / "model.toml").read_text() if (folder / "model.toml").exists() else ""
    lines = ["[engine]", f'device = "{device}"', *more]
    (folder / "model.toml").write_text(text + "\n" + "\n".join(lines) + "\n")


def reason(server, model: str) -> str:
    index = server.post("/v2/repository/index", {}).json()
    [entry] = [entry for entry in index if entry["name"] == model]
    assert entry["state"] == "UNAVAILABLE"
    return entry["reason"]


@pytest.mark.parametrize("name", ["ecg", "transformer"])
def test_a_gpu_that_is_not_there_is_an_error_that_says_what_to_do(registry, start, name):
    add(registry, name, "cuda:0")
    registry.add_demo("breast-cancer")
    server = start(registry.path)
    server.log.wait_for(message="version failed", model=name)
    assert 'engine.device is "cuda:0"' in reason(server, name)
    assert 'engine.device = "cuda:0 or cpu"' in reason(server, name)
    until(lambda: server.get("/v2/models/breast-cancer/ready").ok)


@pytest.mark.parametrize("name", ["ecg", "transformer"])
def test_where_the_processor_may_stand_in_it_does_and_the_log_says_so(registry, start, name):
    add(registry, name, "gpu:3 or cpu")
    server = start(registry.path).wait_ready()
    [warning] = server.log.wait_for(level="WARN", device="cuda:3")
    assert warning["message"] == "the device can not be used; the model computes on cpu"
    [ready] = server.log.wait_for(message="version ready", model=name)
    assert ready["device"] == "cpu"
    assert server.get(f"/v2/models/{name}/config").json()["instance_group"][0]["kind"] == "KIND_CPU"


@pytest.mark.parametrize(
    ("device", "more", "part"),
    [
        ("tpu", [], "device: expected"),
        ("cuda:0", ["[engine.tensorrt]"], 'engine.device is "cuda:0", but this ONNX Runtime library has no TensorRT'),
        ("cuda:0", ["cuda_graph = true"], "computes on the processor only"),
        ("cpu", ["cuda_graph = true"], 'engine.cuda_graph needs a GPU; engine.device is "cpu"'),
        ("cpu", ["[engine.tensorrt]"], "engine.tensorrt needs a GPU"),
        ("cuda", ["cuda_graph = true", "[engine.tensorrt]"], "expected one of them"),
        ("cuda", ["[engine.tensorrt]", 'precision = "fp64"'], "expected one of `fp32`"),
        ("cuda", ["[engine.tensorrt]", "workspace_bytes_max = 0"], "expected 1 or more"),
        ("cuda", ["gpu_memory_bytes_max = 0"], "engine.gpu_memory_bytes_max: expected 1 or more"),
        ("cuda", ["gpu_memory_bytes_max = -1"], "integer `-1`"),
    ],
)
def test_what_is_asked_of_a_gpu_and_can_not_be_had_is_named(registry, start, device, more, part):
    add(registry, "ecg", device, *more)
    server = start(registry.path)
    server.log.wait_for(level="ERROR")
    assert part in server.log.text().replace('\\"', '"')


def test_what_is_asked_of_a_gpu_does_not_matter_to_the_processor_that_stands_in(registry, start):
    add(registry, "ecg", "cuda or cpu", "gpu_memory_bytes_max = 1000", "[engine.tensorrt]", 'precision = "fp16"')
    add(registry, "auto", "auto", "cuda_graph = true")
    server = start(registry.path).wait_ready()
    config = server.get("/v2/models/ecg/config").json()
    [accelerator] = config["optimization"]["execution_accelerators"]["gpu_execution_accelerator"]
    assert accelerator == {"name": "tensorrt", "parameters": {"precision_mode": "FP16"}}
    assert config["parameters"]["gpu_mem_limit"]["string_value"] == "1000"
    assert config["instance_group"][0]["kind"] == "KIND_CPU"
    assert server.get("/v2/models/auto/config").json()["optimization"]["cuda"]["graphs"]
    # Nothing was compiled, so nothing is kept.
    assert not (registry.path / ".galen" / "compiled").exists()


def test_engines_without_a_gpu_say_so(registry, start):
    add(registry, "ecg", "cuda:0")
    add(registry, "instead", "cuda:1 or cpu")
    add(registry, "transformer", "cuda or cpu", "[engine.tensorrt]")
    server = start(registry.path, "--backend", "tract")
    server.log.wait_for(message="version failed", model="ecg")
    assert "tract computes on the processor only" in reason(server, "ecg")
    server.log.wait_for(message="version failed", model="transformer")
    assert "engine.tensorrt is for the backend onnxruntime, not candle" in reason(server, "transformer")
    [warning] = server.log.wait_for(level="WARN", device="cuda:1")
    assert warning["message"] == "the device can not be used; the model computes on cpu"
    server.log.wait_for(message="version ready", model="instead")


@pytest.mark.parametrize(
    ("kind", "gpus", "part"),
    [
        ("KIND_GPU", "", 'engine.device is "cuda:0"'),
        ("KIND_GPU", "gpus: [ 2 ]", 'engine.device is "cuda:2"'),
        ("KIND_GPU", "gpus: [ 0, 1 ]", "instance_group.gpus"),
        ("KIND_CPU", "gpus: [ 0 ]", "KIND_CPU has no gpus"),
    ],
)
def test_tritons_instance_groups_place_models(registry, start, kind, gpus, part):
    folder = registry.add_demo("ecg-rhythm")
    (folder / "model.toml").unlink()
    (folder / "config.pbtxt").write_text(PBTXT.format(kind=kind, gpus=gpus))
    server = start(registry.path)
    server.log.wait_for(level="ERROR")
    assert part in server.log.text().replace('\\"', '"')


def test_without_a_gpu_auto_is_the_processor(registry, start):
    registry.add_demo("ecg-rhythm")
    server = start(registry.path).wait_ready()
    [ready] = server.log.wait_for(message="version ready")
    assert ready["device"] == "cpu"
    assert not [record for record in server.log.records() if record["level"] == "WARN"]


def test_explain_says_which_engine_serves_and_why_another_does_not(registry, tmp_path):
    shutil.copytree(TRANSFORMER, registry.path / "transformer" / "1")
    registry.add_demo("breast-cancer")
    done = run("explain", "transformer", "--models", str(registry.path), "--json", cwd=tmp_path)
    [version] = json.loads(done.stdout)["versions"]
    engines = {entry["engine"]: entry for entry in version["engines"]}
    assert engines["candle"]["serves"] and not engines["tract"]["serves"]
    assert "model.onnx" in engines["onnxruntime"]["reason"]
    done = run("check", str(registry.path), "--engines", cwd=tmp_path)
    assert "transformer/1 on candle: serves" in done.stdout
    assert "breast-cancer/1 on onnxruntime: serves" in done.stdout
    assert "breast-cancer/2 on onnxruntime: serves" in done.stdout
    assert "breast-cancer/2 on tract: serves" in done.stdout
    assert "breast-cancer/2 on candle: expected a model file model.safetensors" in done.stdout
    done = run("explain", "breast-cancer/1", "--models", str(registry.path), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "model.safetensors" in done.stdout
    assert "device" in done.stdout

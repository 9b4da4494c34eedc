"""A real ensemble, written in both forms and asked through both of Triton's clients: its answers are
those of its steps called by hand. And kept answers, as Triton's statistics tell of them.
"""

import numpy as np
import pytest
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton_http
from onnx import TensorProto, helper, numpy_helper

from support import held_out, oip
from support.exposition import Scrape

DOORS = {"rest": (oip.rest_client, triton_http), "grpc": (oip.grpc_client, triton_grpc)}
DATA = held_out.breast_cancer()
WIDTH = len(DATA.names)
MEDIANS = np.median(DATA.trained, axis=0)

TOML = f"""
[[inputs]]
name = "raw"
datatype = "FP32"
shape = [-1, {WIDTH}]

[[outputs]]
name = "risk"
datatype = "FP32"
shape = [-1, 1]

[[outputs]]
name = "diagnosis"
datatype = "INT64"
shape = [-1]

[[ensemble.steps]]
model = "impute"
inputs = {{ raw = "raw" }}
outputs = {{ filled = "features" }}

[[ensemble.steps]]
model = "breast-cancer"
version = 1
inputs = {{ features = "features" }}
outputs = {{ label = "diagnosis", probabilities = "both" }}

[[ensemble.steps]]
model = "risk"
inputs = {{ probabilities = "both" }}
outputs = {{ risk = "risk" }}
"""

# The last step first: what is needed decides, not the order.
PBTXT = f"""
platform: "ensemble"
max_batch_size: 64
input [ {{ name: "raw" data_type: TYPE_FP32 dims: [ {WIDTH} ] }} ]
output [ {{ name: "risk" data_type: TYPE_FP32 dims: [ 1 ] }} ]
ensemble_scheduling {{
  step [
    {{
      model_name: "risk"
      model_version: -1
      input_map {{ key: "probabilities" value: "both" }}
      output_map {{ key: "risk" value: "risk" }}
    }},
    {{
      model_name: "impute"
      model_version: -1
      input_map {{ key: "raw" value: "raw" }}
      output_map {{ key: "filled" value: "features" }}
    }},
    {{
      model_name: "breast-cancer"
      model_version: 1
      input_map {{ key: "features" value: "features" }}
      output_map {{ key: "probabilities" value: "both" }}
    }}
  ]
}}
"""


def onnx_model(nodes, given: tuple[str, int], answered: tuple[str, int], **constants) -> bytes:
    sides = [
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["rows", width])]
        for name, width in (given, answered)
    ]
    held = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "graph", *sides, held)
    opset = [helper.make_opsetid("", 17)]
    return helper.make_model(graph, opset_imports=opset, ir_version=8).SerializeToString()


def impute() -> bytes:
    """The median of training where a value is missing."""
    nodes = [
        helper.make_node("IsNaN", ["raw"], ["missing"]),
        helper.make_node("Where", ["missing", "medians", "raw"], ["filled"]),
    ]
    return onnx_model(nodes, ("raw", WIDTH), ("filled", WIDTH), medians=MEDIANS)


def risk() -> bytes:
    """Percent of being malignant."""
    nodes = [
        helper.make_node("Gather", ["probabilities", "malignant"], ["share"], axis=1),
        helper.make_node("Mul", ["share", "hundred"], ["risk"]),
    ]
    constants = {"malignant": np.array([0]), "hundred": np.array(100, np.float32)}
    return onnx_model(nodes, ("probabilities", 2), ("risk", 1), **constants)


@pytest.fixture
def server(registry, start):
    registry.add_onnx("impute", impute())
    registry.add_onnx("risk", risk())
    registry.add_demo("breast-cancer")
    for name, file, text in (("toml", "model.toml", TOML), ("pbtxt", "config.pbtxt", PBTXT)):
        (registry.path / name / "1").mkdir(parents=True)
        (registry.path / name / file).write_text(text)
    return start(registry.path).wait_ready()


def ask(client, module, model: str, name: str, rows: np.ndarray, version: str = ""):
    given = module.InferInput(name, rows.shape, "FP32").set_data_from_numpy(rows)
    return client.infer(model, [given], model_version=version)


def rows_with_gaps(count: int) -> np.ndarray:
    rows = DATA.sample(1, count)
    rows[np.random.default_rng(2).random(rows.shape) < 0.1] = np.nan
    return rows


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("model", ["toml", "pbtxt"])
def test_an_ensemble_answers_as_its_steps_do(server, model, door):
    connect, module = DOORS[door]
    raw = rows_with_gaps(50)
    with connect(server) as client:
        whole = ask(client, module, model, "raw", raw)
        filled = ask(client, module, "impute", "raw", raw).as_numpy("filled")
        answer = ask(client, module, "breast-cancer", "features", filled, "1")
        by_hand = ask(client, module, "risk", "probabilities", answer.as_numpy("probabilities"))
        # One row has the answer that it has among others.
        alone = ask(client, module, model, "raw", raw[7:8])
    assert np.array_equal(filled, np.where(np.isnan(raw), MEDIANS, raw))
    given = whole.as_numpy("risk")
    assert given.shape == (50, 1) and np.array_equal(given, by_hand.as_numpy("risk"))
    assert np.array_equal(given, answer.as_numpy("probabilities")[:, :1] * np.float32(100))
    if model == "toml":
        assert np.array_equal(whole.as_numpy("diagnosis"), answer.as_numpy("label"))
    assert set(np.unique(answer.as_numpy("label"))) == {0, 1}
    assert alone.as_numpy("risk") == pytest.approx(given[7:8], rel=1e-5)


def test_both_forms_mean_the_same(server):
    raw = rows_with_gaps(30)
    with oip.rest_client(server) as client:
        toml, pbtxt = (ask(client, triton_http, model, "raw", raw) for model in ("toml", "pbtxt"))
        assert np.array_equal(toml.as_numpy("risk"), pbtxt.as_numpy("risk"))
        for model in ("toml", "pbtxt"):
            config = client.get_model_config(model)
            assert config["platform"] == "ensemble"
            steps = {step["model_name"] for step in config["ensemble_scheduling"]["step"]}
            assert steps == {"impute", "breast-cancer", "risk"}
    # Each step did its work behind its own model.
    scrape = Scrape(server)
    for step in ("impute", "breast-cancer", "risk"):
        assert scrape.value("nv_inference_count", model=step) == 60, step


def statistics(client, module, model: str) -> dict[str, int]:
    found = client.get_inference_statistics(model, "1")
    if module is triton_http:
        seen = found["model_stats"][0]["inference_stats"]
        return {key: seen[key]["count"] for key in ("success", "cache_hit", "cache_miss")}
    seen = found.model_stats[0].inference_stats
    return {key: getattr(seen, key).count for key in ("success", "cache_hit", "cache_miss")}


@pytest.mark.parametrize("door", DOORS)
def test_kept_answers_are_in_the_statistics(registry, start, door):
    toml = registry.add_demo("breast-cancer", "m") / "model.toml"
    toml.write_text("response_cache = true\n" + toml.read_text())
    server = start(registry.path).wait_ready()
    connect, module = DOORS[door]
    rows = DATA.held_out[:3]
    with connect(server) as client:
        first = ask(client, module, "m", "features", rows, "1")
        for _ in range(4):
            again = ask(client, module, "m", "features", rows, "1")
            for name in ("label", "probabilities"):
                assert np.array_equal(again.as_numpy(name), first.as_numpy(name))
        # Another version's answer is another one, and so is another row's.
        other = ask(client, module, "m", "features", rows, "2")
        assert not np.array_equal(other.as_numpy("probabilities"), first.as_numpy("probabilities"))
        ask(client, module, "m", "features", rows[:1], "1")
        seen = statistics(client, module, "m")
    assert seen == {"success": 6, "cache_hit": 4, "cache_miss": 2}
    scrape = Scrape(server)
    labels = {"model": "m", "version": "1"}
    assert scrape.value("nv_cache_num_hits_per_model", **labels) == 4
    assert scrape.value("nv_cache_num_misses_per_model", **labels) == 2
    # An engine call for each answer that was not kept; drift has seen them all.
    assert scrape.value("nv_inference_exec_count", **labels) == 2
    assert server.get("/models/m/versions/1/drift").json()["rows"] == 3 * 5 + 1

"""BentoML: one service, one worker, one API per model; access log and tracing off."""

import json
import os
from pathlib import Path

import bentoml
import numpy
import onnxruntime

REGISTRY = Path(os.environ["MODELS"])


def engine(model: str, version: str):
    path = REGISTRY / model / version / "model.onnx"
    if not path.exists():
        return lambda array: {"OUTPUT0": array.tolist()}
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options)
    name = session.get_inputs()[0].name
    outputs = [output.name for output in session.get_outputs()]

    def run(array):
        results = session.run(None, {name: array})
        return {key: value.tolist() for key, value in zip(outputs, results, strict=True)}

    return run


def api(key: str, model: str, version: str):
    run = engine(model, version)

    def call(self, data: list) -> dict:
        return {"outputs": run(numpy.array(data, numpy.float32))}

    call.__name__ = key.replace("-", "_")
    return bentoml.api(call, route=f"/{key}")


apis = {key.replace("-", "_"): api(key, *rest) for key, *rest in json.loads(os.environ["KEYS"])}
Served = bentoml.service(
    workers=1,
    traffic={"timeout": 60, "concurrency": 256},
    logging={"access": {"enabled": False}},
    metrics={"enabled": False},
)(type("Served", (), apis))

"""FastAPI as one would write it with care: one worker, sessions made once, orjson for answers.

Two routes per model. `typed` is the usual one: a Pydantic model of the features with their ranges,
which is checked and documented. `array` is as lean as FastAPI gets: a list, parsed by orjson.
`THREADPOOL=1` runs the engine in the thread pool in place of the event loop.
"""

import json
import os
import sys
import tomllib
from pathlib import Path

import numpy
import onnxruntime
import orjson
import uvicorn
from fastapi import FastAPI, Request, Response
from pydantic import Field, create_model
from starlette.concurrency import run_in_threadpool

REGISTRY = Path(os.environ["MODELS"])
THREADPOOL = os.environ.get("THREADPOOL") == "1"
app = FastAPI()


def engine(model: str, version: str):
    path = REGISTRY / model / version / "model.onnx"
    if not path.exists():
        return lambda array: {"OUTPUT0": array}
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    outputs = [output.name for output in session.get_outputs()]
    return lambda array: dict(zip(outputs, session.run(None, {name: array}), strict=True))


async def answer(run, array) -> Response:
    outputs = await run_in_threadpool(run, array) if THREADPOOL else run(array)
    body = orjson.dumps({"outputs": outputs}, option=orjson.OPT_SERIALIZE_NUMPY)
    return Response(body, media_type="application/json")


def add(key: str, model: str, version: str) -> None:
    run = engine(model, version)
    manifest = tomllib.loads((REGISTRY / model / "model.toml").read_text())["inputs"][0]
    features = manifest.get("features")
    if features:
        limits = {f["name"]: (float, Field(ge=f["range"][0], le=f["range"][1])) for f in features}
        names = list(limits)
        record = create_model("Record", **limits)
    else:
        deep = len(manifest["shape"]) == 3
        names, record = None, create_model("Record", **{
            manifest["name"]: (list[list[float]] if deep else list[float], ...)})
    body = create_model("Body", records=(list[record], Field(min_length=1, max_length=64)))

    @app.post(f"/typed/{key}", name=f"typed {key}")
    async def typed(request: body) -> dict:
        if names:
            rows = [[getattr(one, name) for name in names] for one in request.records]
        else:
            rows = [getattr(one, manifest["name"]) for one in request.records]
        return await answer(run, numpy.array(rows, numpy.float32))

    @app.post(f"/array/{key}", name=f"array {key}")
    async def array(request: Request) -> Response:
        rows = orjson.loads(await request.body())["data"]
        return await answer(run, numpy.array(rows, numpy.float32))


for entry in json.loads(os.environ["KEYS"]):
    add(*entry)


@app.get("/ready")
def ready() -> dict:
    return {}


if __name__ == "__main__":
    uvicorn.run(app, port=int(sys.argv[1]), access_log=False, log_level="warning")

"""LitServe: one API per model, one worker each, no batching (its queue is between processes)."""

import json
import os
import sys
from pathlib import Path

import litserve
import numpy
import onnxruntime

REGISTRY = Path(os.environ["MODELS"])


class Served(litserve.LitAPI):
    def __init__(self, key: str, model: str, version: str):
        super().__init__(api_path=f"/{key}")
        self.path = REGISTRY / model / version / "model.onnx"

    def setup(self, device):
        if not self.path.exists():
            self.run = lambda array: {"OUTPUT0": array.tolist()}
            return
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        session = onnxruntime.InferenceSession(self.path, options)
        name = session.get_inputs()[0].name
        outputs = [output.name for output in session.get_outputs()]

        def run(array):
            results = session.run(None, {name: array})
            return {key: value.tolist() for key, value in zip(outputs, results, strict=True)}

        self.run = run

    def decode_request(self, request):
        return numpy.array(request["data"], numpy.float32)

    def predict(self, array):
        return self.run(array)

    def encode_response(self, outputs):
        return {"outputs": outputs}


if __name__ == "__main__":
    apis = [Served(*entry) for entry in json.loads(os.environ["KEYS"])]
    server = litserve.LitServer(apis, accelerator="cpu", workers_per_device=1)
    server.run(
        host="127.0.0.1",
        port=int(sys.argv[1]),
        generate_client_file=False,
        log_level="warning",
        access_log=False,
    )

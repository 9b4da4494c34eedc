"""The servers of the comparison: how each is started, and what is asked of it."""

import json
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import cells
from cells import Call, Model
from process import Server, free_port

HERE = Path(__file__).resolve().parent


class Peer:
    """One server. `forms` of one `kind` are held against each other."""

    name = ""
    requirements = ""

    def __init__(self, context):
        self.context = context
        self.python = None

    def install(self) -> None:
        """Its own environment, made once; the reason goes up where that fails."""
        if not self.requirements:
            return
        wanted = HERE / "requirements" / self.requirements
        folder = self.context.work / wanted.stem
        self.python = folder / "bin" / "python"
        stamp = folder / ".requirements"
        if stamp.exists() and stamp.read_text() == wanted.read_text():
            return
        venv.create(folder, with_pip=True, clear=True)
        pip = [self.python, "-m", "pip", "install", "--quiet", "-r", wanted]
        done = subprocess.run(pip, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError((done.stderr.strip() or "pip failed").splitlines()[-1])
        stamp.write_text(wanted.read_text())

    def start(self) -> Server:
        raise NotImplementedError

    def calls(self, model: Model) -> list[Call]:
        raise NotImplementedError

    def launch(self, command: list, *ready: str, **env: str) -> Server:
        keys = [[model.key, model.name, model.version] for model in self.context.models]
        env = {"MODELS": str(self.context.registry), "KEYS": json.dumps(keys), **env}
        log = self.context.work / f"{self.name}.log"
        return Server(command, env, HERE / "servers", list(ready), log)


class Maker(Peer):
    """Not a server: writes the model that is not among the demo models."""

    requirements = "models.txt"

    def make(self) -> None:
        folder = self.context.registry / "ecg-12-lead"
        path = folder / "1" / "model.onnx"
        if not path.exists():
            path.parent.mkdir(parents=True)
            (folder / "model.toml").write_text(ECG_12_LEAD)
            subprocess.run([self.python, HERE / "ecg_12_lead.py", path], check=True)


ECG_12_LEAD = """
[[inputs]]
name = "ecg"
datatype = "FP32"
shape = [-1, 12, 1000]
"""


class Galen(Peer):
    name = "Galen"

    def start(self) -> Server:
        self.http, self.grpc = (f"127.0.0.1:{free_port()}" for _ in range(2))
        command = [self.context.galen, "serve", "--models", self.context.registry]
        command += ["--http", self.http, "--grpc", self.grpc, "--metrics", "127.0.0.1:0"]
        command += ["--strict-readiness", "--log-format", "json"]
        return self.launch(command, f"http://{self.http}/v2/health/ready")

    def calls(self, model: Model) -> list[Call]:
        path = f"{model.name}/versions/{model.version}"
        infer = f"http://{self.http}/v2/models/{path}/infer"
        predict = f"http://{self.http}/models/{path}/predict"
        calls = [
            Call("array", infer, cells.v2_json(model)),
            cells.v2_binary(model, infer),
            cells.v2_grpc(model, self.grpc, f"{model.name}/{model.version}"),
        ]
        body = cells.encoded({"records": [cells.typed(model)]})
        return [Call("typed", predict, body), *calls]


class FastApi(Peer):
    name = "FastAPI"
    requirements = "fastapi.txt"
    threadpool = "0"

    def start(self) -> Server:
        self.http = f"127.0.0.1:{free_port()}"
        command = [self.python, "fastapi_app.py", self.http.split(":")[1]]
        return self.launch(command, f"http://{self.http}/ready", THREADPOOL=self.threadpool)

    def calls(self, model: Model) -> list[Call]:
        typed = cells.encoded({"records": [cells.typed(model)]})
        array = cells.encoded({"data": model.nested})
        return [
            Call("typed", f"http://{self.http}/typed/{model.key}", typed),
            Call("array", f"http://{self.http}/array/{model.key}", array),
        ]


class FastApiPool(FastApi):
    name = "FastAPI, thread pool"
    threadpool = "1"


class LitServe(Peer):
    name = "LitServe"
    requirements = "litserve.txt"

    def start(self) -> Server:
        self.http = f"127.0.0.1:{free_port()}"
        command = [self.python, "litserve_app.py", self.http.split(":")[1]]
        return self.launch(command, f"http://{self.http}/health")

    def calls(self, model: Model) -> list[Call]:
        body = cells.encoded({"data": model.nested})
        return [Call("array", f"http://{self.http}/{model.key}", body)]


class BentoMl(Peer):
    name = "BentoML"
    requirements = "bentoml.txt"

    def start(self) -> Server:
        self.http = f"127.0.0.1:{free_port()}"
        command = [self.python, "-m", "bentoml", "serve", "bento_app:Served"]
        command += ["--host", "127.0.0.1", "--port", self.http.split(":")[1]]
        home = str(self.context.work / "bentoml-home")
        env = {"BENTOML_HOME": home, "BENTOML_DO_NOT_TRACK": "True", "DO_NOT_TRACK": "1"}
        return self.launch(command, f"http://{self.http}/readyz", **env)

    def calls(self, model: Model) -> list[Call]:
        body = cells.encoded({"data": model.nested})
        return [Call("array", f"http://{self.http}/{model.key}", body)]


class MlServer(Peer):
    name = "MLServer"
    requirements = "mlserver.txt"

    def start(self) -> Server:
        self.http, self.grpc = (f"127.0.0.1:{free_port()}" for _ in range(2))
        folder = self.context.work / "mlserver-models"
        shutil.rmtree(folder, ignore_errors=True)
        settings = {
            "host": "127.0.0.1",
            "http_port": int(self.http.split(":")[1]),
            "grpc_port": int(self.grpc.split(":")[1]),
            "metrics_port": free_port(),
            "parallel_workers": 0,
            "debug": False,
        }
        for model in self.context.models:
            (folder / model.key).mkdir(parents=True)
            path = self.context.registry / model.name / model.version / "model.onnx"
            parameters = {"uri": str(path)} if path.exists() else {}
            chosen = {
                "name": model.key,
                "implementation": "mlserver_runtime.Onnx",
                "parameters": parameters,
                "max_batch_size": 64,
                "max_batch_time": 0.0005,
            }
            (folder / model.key / "model-settings.json").write_text(json.dumps(chosen))
        (folder / "settings.json").write_text(json.dumps(settings))
        command = [self.python.parent / "mlserver", "start", folder]
        # The server says that it is ready before its models are.
        models = f"http://{self.http}/v2/models"
        ready = [f"{models}/{model.key}/ready" for model in self.context.models]
        return self.launch(command, *ready, PYTHONPATH=str(HERE / "servers"))

    def calls(self, model: Model) -> list[Call]:
        url = f"http://{self.http}/v2/models/{model.key}/infer"
        return [
            Call("array", url, cells.v2_json(model)),
            cells.v2_grpc(model, self.grpc, model.key),
        ]


class Floor(Peer):
    """The engine alone, called in a loop from Python: no server can cost less than nothing."""

    name = "bare onnxruntime"
    requirements = "fastapi.txt"

    def measure(self, model: Model) -> dict | None:
        """What a row costs alone and in the cheapest batch, and the first number of the answer."""
        path = self.context.registry / model.name / model.version / "model.onnx"
        if not path.exists():
            return None
        code = HERE / "servers" / "floor.py"
        row = json.dumps({"shape": model.shape, "row": model.row})
        done = subprocess.run([self.python, code, path], input=row, capture_output=True, text=True)
        if done.returncode:
            sys.stderr.write(done.stderr)
            return None
        return json.loads(done.stdout)


ALL = [Galen, FastApi, FastApiPool, MlServer, LitServe, BentoMl]

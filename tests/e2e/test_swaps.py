"""Versions change under load, over both doors: nobody gets an error, a wrong number or an older
version than before.
"""

import hashlib
import shutil
import threading

import numpy as np
import onnx
import pytest
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton_http
from onnx import TensorProto, helper, numpy_helper

from support import oip
from support.server import PATIENCE, Server

SWAPS = 200
CALLERS = 2  # On each door.
ROWS = 3


def stamped(version: int) -> bytes:
    """A model that adds its version to what it is given."""
    sides = [
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["rows", 1])] for name in "xy"
    ]
    number = numpy_helper.from_array(np.array([version], np.float32), "version")
    graph = helper.make_graph(
        [helper.make_node("Add", ["x", "version"], ["y"])], "stamp", *sides, [number]
    )
    opset = [helper.make_opsetid("", 17)]
    return helper.make_model(graph, opset_imports=opset, ir_version=8).SerializeToString()


def publish(registry, version: int):
    """A version appears whole: written aside with its digest, then renamed."""
    aside = registry.path / "stamp" / f".{version}"
    aside.mkdir(parents=True)
    model = stamped(version)
    (aside / "model.onnx").write_bytes(model)
    digest = hashlib.sha256(model).hexdigest()
    (aside / "SHA256SUMS").write_text(f"{digest}  model.onnx\n")
    aside.rename(aside.with_name(str(version)))


class Caller(threading.Thread):
    """Asks on one connection for as long as it may, and notes what is not as it should be."""

    def __init__(self, server: Server, module, news: threading.Condition):
        super().__init__(daemon=True)
        self.server, self.module, self.news = server, module, news
        self.count, self.version, self.problem = 0, 0, None
        self.stopped = False

    def run(self):
        rest = self.module is triton_http
        try:
            with (oip.rest_client if rest else oip.grpc_client)(self.server) as client:
                while not self.stopped and not self.problem:
                    self.ask(client)
        except Exception as error:
            self.problem = repr(error)
        with self.news:
            self.news.notify()

    def ask(self, client):
        sent = np.arange(self.count, self.count + ROWS, dtype=np.float32).reshape(ROWS, 1)
        tensor = self.module.InferInput("x", sent.shape, "FP32").set_data_from_numpy(sent)
        answer = client.infer("stamp", [tensor])
        got, response = answer.as_numpy("y"), answer.get_response()
        named = response["model_version"] if isinstance(response, dict) else response.model_version
        version = int(named)
        if not np.array_equal(got, sent + version):
            self.problem = f"version {version} was sent {sent.tolist()}, answered {got.tolist()}"
        if version < self.version:
            self.problem = f"version {version} came after {self.version}"
        self.count += 1
        if version != self.version:
            with self.news:
                self.version = version
                self.news.notify()


@pytest.mark.timeout(240)
def test_two_hundred_swaps_under_load(registry, start, tmp_path, figures):
    (tmp_path / "galen.toml").write_text("[registry]\npoll_ms = 10\nsettle_ms = 0\n")
    publish(registry, 1)
    server = start(registry.path).wait_ready()
    news = threading.Condition()
    modules = [triton_http, triton_grpc] * CALLERS
    callers = [Caller(server, module, news) for module in modules]
    for caller in callers:
        caller.start()
    try:
        for version in range(1, SWAPS + 2):
            if version > 1:
                publish(registry, version)
            # Everybody has its answer before the next one comes: each swap is one under load.
            with news:
                heard = news.wait_for(
                    lambda: all(c.version == version or c.problem for c in callers), PATIENCE
                )
            assert heard, f"version {version} does not serve"
            shutil.rmtree(registry.path / "stamp" / str(version - 1), ignore_errors=version == 1)
    finally:
        for caller in callers:
            caller.stopped = True
        for caller in callers:
            caller.join()
    assert [caller.problem for caller in callers if caller.problem] == []
    asked = sum(caller.count for caller in callers)
    figures.append(f"{SWAPS} swaps: {asked} requests over both doors, none failed, none wrong")

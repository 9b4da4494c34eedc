"""Doors on unix sockets: the same answers, and no file left behind."""

import contextlib
import json
import signal
import tempfile
from pathlib import Path

import pytest

from support import oip
from support.demo import example
from support.server import MODELS, PATIENCE
from support.unix import UnixConnection


@pytest.fixture
def folder():
    """A short path: a socket's may have no more than a hundred characters."""
    with tempfile.TemporaryDirectory(prefix="galen") as path:
        yield Path(path)


def predict(path: Path, asked) -> dict:
    with contextlib.closing(UnixConnection(str(path))) as connection:
        connection.request("POST", asked.path("infer"), json.dumps(asked.body()))
        response = connection.getresponse()
        assert response.status == 200
        return json.load(response)


def test_both_doors_and_the_metrics(folder, start):
    doors = {door: f"unix:{folder}/{door}.sock" for door in ("http", "grpc", "metrics")}
    server = start(MODELS, **doors)
    assert server.addresses == doors
    server.wait_ready()
    asked = example("breast-cancer", "1").row(3)
    for entry in predict(folder / "http.sock", asked)["outputs"]:
        asked.assert_answer(entry["name"], [entry["data"]] if entry["shape"][1:] else entry["data"])
    with oip.stub(server) as service:
        answer = oip.call(service, oip.raw_request(asked))
    for name, values in oip.outputs_of(answer).items():
        asked.assert_answer(name, values)
    with contextlib.closing(UnixConnection(f"{folder}/metrics.sock")) as connection:
        connection.request("GET", "/metrics")
        text = connection.getresponse().read().decode()
    assert 'nv_inference_request_success{model="breast-cancer",version="1"} 2' in text
    assert server.stop() == 0
    assert not list(folder.iterdir()), "the sockets' files are gone"


def test_the_file_of_a_killed_server_is_no_obstacle(folder, start):
    door = f"unix:{folder}/http.sock"
    killed = start(MODELS, http=door)
    killed.process.send_signal(signal.SIGKILL)
    killed.process.wait(PATIENCE)
    assert (folder / "http.sock").exists()
    start(MODELS, http=door).wait_ready()
    predict(folder / "http.sock", example("add-sub"))


def test_the_socket_of_a_living_server_is_not_taken(folder, start):
    door = f"unix:{folder}/http.sock"
    start(MODELS, http=door).wait_ready()
    with pytest.raises(AssertionError, match=f"can not listen on {door}"):
        start(MODELS, http=door)
    predict(folder / "http.sock", example("add-sub"))

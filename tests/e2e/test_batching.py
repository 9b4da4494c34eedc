"""Many callers at once: they share engine calls, and each gets exactly its own answers."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from support import oip
from support.demo import Example, Tensor, example
from support.exposition import Scrape
from support.server import Server

CALLERS = 64
REQUESTS = 20
# Long enough that callers find company even on a slow machine.
DELAY, TARGET = "queue_delay_us_max = 5000", "latency_target_us = 20000"
WAYS = [("onnxruntime", DELAY), ("tract", DELAY), ("onnxruntime", TARGET)]


@pytest.fixture(params=WAYS, ids=["onnxruntime", "tract", "target"])
def server(request, registry, start) -> Server:
    engine, company = request.param
    for model in ("breast-cancer", "add-sub"):
        manifest = registry.add_demo(model) / "model.toml"
        text = manifest.read_text().replace("queue_delay_us_max = 0", company)
        assert company in text
        manifest.write_text(text)
    return start(registry.path, "--backend", engine).wait_ready()


def ask(server: Server, requests: list[Example]):
    with oip.stub(server) as service:
        for asked in requests:
            outputs = oip.outputs_of(oip.call(service, oip.raw_request(asked)))
            for name, values in outputs.items():
                asked.assert_answer(name, values)


def run(server: Server, per_caller: list[list[Example]]):
    """Every caller on a thread and a connection of its own; the first failure is raised."""
    with ThreadPoolExecutor(CALLERS) as pool:
        for done in [pool.submit(ask, server, requests) for requests in per_caller]:
            done.result()


def assert_shared(server: Server, model: str, version: str, rows: int):
    labels = {"model": model, "version": version}
    scrape = Scrape(server)
    sizes = scrape.histogram("galen_inference_batch_size", **labels)
    alone = dict(sizes.buckets)[1.0]
    assert sizes.count > alone, "no engine call had more than one row"
    assert sizes.total == rows, "every row is computed once"
    assert scrape.value("nv_inference_exec_count", **labels) == sizes.count
    assert scrape.value("nv_inference_count", **labels) == rows
    requests = scrape.histogram("galen_inference_batch_requests", **labels)
    assert requests.total == CALLERS * REQUESTS


@pytest.mark.parametrize("version", ["1", "2"])
def test_rows_of_one_model(server, version):
    rows = example("breast-cancer", version).rows()
    per_caller = [
        [rows[(caller + 7 * request) % len(rows)] for request in range(REQUESTS)]
        for caller in range(CALLERS)
    ]
    run(server, per_caller)
    assert_shared(server, "breast-cancer", version, CALLERS * REQUESTS)


def sums(number: int, rows: int) -> Example:
    """A request that no other equals, with one to three rows."""
    first = np.arange(rows * 16, dtype=np.float32).reshape(rows, 16) + np.float32(number * 100)
    second = np.full((rows, 16), number, np.float32)
    inputs = (Tensor("INPUT0", "FP32", first), Tensor("INPUT1", "FP32", second))
    outputs = (Tensor("OUTPUT0", "FP32", first + second), Tensor("OUTPUT1", "FP32", first - second))
    return Example("add-sub", "1", 0.0, inputs, outputs)


def test_no_two_answers_are_alike(server):
    per_caller = [
        [sums(caller * REQUESTS + request, 1 + request % 3) for request in range(REQUESTS)]
        for caller in range(CALLERS)
    ]
    run(server, per_caller)
    rows = sum(len(asked.inputs[0].values) for requests in per_caller for asked in requests)
    assert_shared(server, "add-sub", "1", rows)

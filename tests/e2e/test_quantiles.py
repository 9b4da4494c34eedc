"""Quantiles of windows: as NumPy has them of the same rows, within what the sketch promises; over
replicas; and in a form that Apache DataSketches reads.
"""

import base64
import csv

import datasketches
import numpy as np
import pytest

from support import held_out, oip
from test_drift import WINDOW, add, completed, drift, kept, send

DIABETES = held_out.diabetes()
SHARES = {"p01": 0.01, "p05": 0.05, "p25": 0.25, "p50": 0.5, "p75": 0.75, "p95": 0.95, "p99": 0.99}
# What KLL promises of k = 200 for 99 of 100 sketches, and half as much again.
RANK_ERROR = 0.02


def settings(path, rows: int, quantiles: str = "true"):
    text = f"[drift]\nwindow_rows = {rows}\nquantiles = {quantiles}\n"
    (path / "galen.toml").write_text(text)


def assert_ranks(quantiles: dict, values: np.ndarray):
    """A quantile's rank among the values, of which several may be equal."""
    assert list(quantiles) == list(SHARES)
    for name, share in SHARES.items():
        below = np.mean(values < quantiles[name]) - RANK_ERROR
        upto = np.mean(values <= quantiles[name]) + RANK_ERROR
        assert below <= share <= upto, f"{name}: {quantiles[name]} has ranks {below} to {upto}"


def fill(server, rows: np.ndarray):
    with oip.rest_client(server) as client:
        for start in range(0, len(rows), WINDOW):
            send(client, "diabetes", rows[start : start + WINDOW])


def test_a_window_has_the_quantiles_of_its_rows(registry, start, tmp_path):
    rows = DIABETES.sample(1, 8 * WINDOW)
    settings(tmp_path, len(rows))
    add(registry, DIABETES, "diabetes")
    server = start(registry.path).wait_ready()
    fill(server, rows)
    report = completed(server, "diabetes", 1)
    kinds = set()
    for column, feature in enumerate(report["features"]):
        kinds.add(feature["kind"])
        quantiles = feature["current"].get("quantiles")
        assert (quantiles is None) == (feature["kind"] == "categorical")
        assert "quantiles" not in feature["reference"]
        if quantiles:
            assert_ranks(quantiles, rows[:, column])
    assert kinds >= {"numeric"}
    assert all("quantiles" in output["current"] for output in report["outputs"])
    table = server.get("/models/diabetes/drift?format=csv").text
    lines = list(csv.DictReader(table.splitlines()))
    for line, feature in zip(lines, report["features"], strict=False):
        quantiles = feature["current"].get("quantiles", {})
        assert all(float(line[name]) == value for name, value in quantiles.items())


def test_replicas_add_up_and_datasketches_reads_them(registry, start, tmp_path):
    rows = DIABETES.sample(2, 6 * WINDOW)
    settings(tmp_path, 100 * WINDOW)
    add(registry, DIABETES, "diabetes")
    states = []
    for half in np.split(rows, 2):
        server = start(registry.path).wait_ready()
        fill(server, half)
        states.append(server.get("/models/diabetes/drift/state").json())
        if len(states) < 2:
            server.stop()
            kept(registry, "diabetes").unlink()
    # The second one runs, with its own half; the first one's comes on top.
    assert server.post("/models/diabetes/drift/state", states[0]).ok
    both = server.get("/models/diabetes/drift/state").json()["current"]
    assert both["rows"] == states[0]["current"]["rows"] + states[1]["current"]["rows"]
    numeric = [f["kind"] == "numeric" for f in drift(server, "diabetes")["features"]]
    for column, feature in enumerate(both["features"]):
        assert ("sketch" in feature) == numeric[column]
        if not numeric[column]:
            continue
        raw = base64.b64decode(feature["sketch"])
        sketch = datasketches.kll_doubles_sketch.deserialize(raw)
        assert (sketch.k, sketch.n) == (200, both["rows"])
        values = rows[-both["rows"] :, column]
        assert sketch.get_min_value() == values.min() and sketch.get_max_value() == values.max()
        found = sketch.get_quantiles(list(SHARES.values()), True)
        assert_ranks(dict(zip(SHARES, found, strict=True)), values)


@pytest.mark.parametrize("sketch", ["", "AAAA", "no base64"])
def test_a_sketch_that_is_none_is_refused_whole(registry, start, tmp_path, sketch):
    settings(tmp_path, 100 * WINDOW)
    add(registry, DIABETES, "diabetes")
    server = start(registry.path).wait_ready()
    fill(server, DIABETES.sample(3, WINDOW))
    state = server.get("/models/diabetes/drift/state").json()
    [one] = [f for f in state["current"]["features"] if "sketch" in f][:1]
    one["sketch"] = sketch
    answer = server.post("/models/diabetes/drift/state", state)
    assert answer.status_code == 400
    assert "current: the counts do not fit" in answer.json()["detail"]
    after = server.get("/models/diabetes/drift/state").json()
    assert after["current"]["rows"] == WINDOW


def test_nobody_asked(registry, start, tmp_path):
    settings(tmp_path, WINDOW, "false")
    add(registry, DIABETES, "diabetes")
    server = start(registry.path).wait_ready()
    fill(server, DIABETES.sample(4, WINDOW))
    report = completed(server, "diabetes", 1)
    assert not any("quantiles" in f["current"] for f in report["features"] + report["outputs"])
    assert "sketch" not in server.get("/models/diabetes/drift/state").text
    assert "p50" not in server.get("/models/diabetes/drift?format=csv").text

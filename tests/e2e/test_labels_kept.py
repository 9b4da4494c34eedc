"""What is labelled outlives a restart, and a crash but for one interval; what waits for its label does
not, and is told so.
"""

import datetime
import threading
import time
from pathlib import Path

from support import held_out
from support.exposition import Scrape
from support.server import until

CANCER = held_out.breast_cancer()
LABELS = ("malignant", "benign")
# scikit-learn's data say 0 for malignant.
TRUTH = [LABELS[truth] for truth in CANCER.truth]
SITES = ["A" if row % 3 else "B" for row in range(len(TRUTH))]


def serve(start, registry, tmp_path):
    """The demo model with a state folder of its own."""
    registry.add_demo("breast-cancer")
    (tmp_path / "galen.toml").write_text("[drift]\nsnapshot_seconds = 1\n")
    return start(registry.path).wait_ready()


def kept(registry) -> Path:
    return registry.path / ".galen/performance/breast-cancer-2.json"


def ask(server, row: int, request_id: str):
    part = CANCER.held_out[row : row + 1]
    body = {"inputs": [{"name": "features", "datatype": "FP32", "shape": [1, 30],
                        "data": part.ravel().tolist()}]}
    headers = {"x-request-id": request_id}
    path = "/v2/models/breast-cancer/versions/2/infer"
    assert server.post(path, body, headers=headers).status_code == 200


def label(server, row: int, request_id: str) -> dict:
    labels = [{"prediction_id": request_id, "label": TRUTH[row], "groups": {"site": SITES[row]}}]
    return server.post("/models/breast-cancer/feedback", {"labels": labels}).json()


def performance(server) -> dict:
    return server.get("/models/breast-cancer/versions/2/performance").json()


def test_a_crash_loses_no_more_labels_than_those_of_an_interval(registry, start, tmp_path):
    server = serve(start, registry, tmp_path)
    ask(server, 0, "waits")
    joined: list[float] = []

    def go_on():
        while True:
            row = len(joined) % len(TRUTH)
            try:
                ask(server, row, f"visit-{len(joined)}")
                if label(server, row, f"visit-{len(joined)}")["joined"] != 1:
                    return
            except Exception:
                return
            joined.append(time.time())

    caller = threading.Thread(target=go_on, daemon=True)
    caller.start()
    until(lambda: kept(registry).exists() and len(joined) > len(TRUTH))
    written = kept(registry).stat().st_mtime_ns
    until(lambda: kept(registry).stat().st_mtime_ns != written)
    server.process.kill()
    killed = time.time()
    caller.join(10)
    assert not caller.is_alive()
    start.servers.remove(server)

    server = start(registry.path).wait_ready()
    report = performance(server)
    restored = datetime.datetime.fromisoformat(report["restored_at"]).timestamp()
    before = sum(at < restored for at in joined)
    # A label may have been joined, and the answer to it have died with the server.
    assert before <= report["labelled"] <= len(joined) + 1
    # An interval, the second that is cut off, and one for a busy machine.
    assert killed - restored <= report["snapshot_interval_s"] + 2
    assert report["overall"]["n"] == report["labelled"] and report["calibration"]
    assert sum(group["n"] for group in report["groups"]) == report["labelled"]
    # What waited is told to be gone, and goes nowhere.
    assert (report["pending"], report["expired"] >= 1) == (0, True)
    answer = label(server, 0, "waits")
    assert answer["status"] == 422 and answer["errors"][0]["code"] == "unknown"
    # No id is on disk, and what is there is for the server's user alone.
    assert kept(registry).stat().st_mode & 0o077 == 0
    assert "visit-" not in kept(registry).read_text() and "waits" not in kept(registry).read_text()
    ask(server, 1, "after")
    assert label(server, 1, "after")["joined"] == 1
    assert performance(server)["labelled"] == report["labelled"] + 1


def test_an_orderly_end_loses_no_label_and_a_cut_off_file_is_told(registry, start, tmp_path):
    server = serve(start, registry, tmp_path)
    for row in range(40):
        ask(server, row, f"visit-{row}")
        assert label(server, row, f"visit-{row}")["joined"] == 1
    before = performance(server)
    assert before["restored_at"] is None
    assert server.stop() == 0
    start.servers.remove(server)

    server = start(registry.path).wait_ready()
    after = performance(server)
    assert after["restored_at"]
    same = ("labelled", "overall", "groups", "calibration")
    assert {key: after[key] for key in same} == {key: before[key] for key in same}
    assert server.stop() == 0
    start.servers.remove(server)

    text = kept(registry).read_bytes()
    kept(registry).write_bytes(text[: len(text) // 2])
    server = start(registry.path).wait_ready()
    said = server.log.wait_for(message="the kept labels are not used", level="WARN")
    assert said[0]["model"] == "breast-cancer/2"
    faults = Scrape(server).value(
        "galen_snapshot_faults", kind="performance", operation="read"
    )
    report = performance(server)
    assert (faults, report["labelled"], report["restored_at"]) == (1, 0, None)
    ask(server, 0, "new")
    assert label(server, 0, "new")["joined"] == 1

"""Alerts on their way to a webhook: told when they begin and when they end, tried again while the
receiver is away, dropped and counted when it stays away.
"""

import datetime
import json
import socket
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import numpy as np
import pytest
import tritonclient.http as triton_http

from support import oip
from support.exposition import Scrape
from support.server import until

WINDOW = 500
NEVER = "0001-01-01T00:00:00Z"
# A value that is in no message, for messages hold aggregates only.
SECRET = 987654.25


class Receiver:
    """What an operator points the webhook at; it answers with the statuses that it is given, the
    last one for ever."""

    def __init__(self, port: int = 0, statuses: tuple[int, ...] = (200,)):
        statuses = list(statuses)
        messages: list[dict] = []
        news = threading.Condition()

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["content-length"]))
                status = statuses.pop(0) if len(statuses) > 1 else statuses[0]
                with news:
                    messages.append({
                        "path": self.path,
                        "host": self.headers["host"],
                        "type": self.headers["content-type"],
                        "status": status,
                        "body": json.loads(body),
                        "text": body.decode(),
                    })
                    news.notify_all()
                self.send_response(status)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass

        self.messages, self.news = messages, news
        self.server = HTTPServer(("127.0.0.1", port), Handler)
        self.port = self.server.server_address[1]
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()

    def wait_for(self, count: int) -> list[dict]:
        with self.news:
            assert self.news.wait_for(lambda: len(self.messages) >= count, 30), self.messages
            return list(self.messages)

    def close(self):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join(10)


@pytest.fixture
def receiver():
    receiver = Receiver()
    yield receiver
    receiver.close()


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def settings(path, port: int, retries: int = 100):
    (path / "galen.toml").write_text(
        f"[drift]\nwindow_rows = {WINDOW}\nsnapshot_seconds = 1\n"
        f'[alerts]\nwebhook = "http://localhost:{port}/hook?key=hush"\n'
        f"timeout_ms = 2000\nretries = {retries}\nbackoff_ms = 50\n"
    )


def add(registry, name: str = "m"):
    """An echo model of two features, with a profile of even numbers between 0 and 1, and scores."""
    folder = registry.path / name
    (folder / "1").mkdir(parents=True)
    (folder / "model.toml").write_text(
        'backend = "identity"\n'
        f"[batching]\nbatch_size_max = {WINDOW}\n"
        '[[inputs]]\nname = "x"\ndatatype = "FP32"\nshape = [-1, 2]\n'
        '[[inputs.features]]\nname = "age"\n[[inputs.features]]\nname = "dose"\n'
        '[[outputs]]\nname = "p"\ndatatype = "FP32"\nshape = [-1, 2]\nlabels = ["no", "yes"]\n'
        '[performance]\noutput = "p"\npositive = "yes"\nat_least = { sensitivity = 0.9 }\n'
    )
    return folder


def rows(seed: int, count: int = WINDOW) -> np.ndarray:
    return np.random.default_rng(seed).random((count, 2), np.float32)


def profile(registry, tmp_path, name: str = "m"):
    from support.server import run

    data = tmp_path / "train.csv"
    trained = rows(99, 5000)
    data.write_text("age,dose\n" + "".join(f"{age},{dose}\n" for age, dose in trained))
    arguments = ("--data", str(data), "--models", str(registry.path))
    outcome = run("profile", name, *arguments, cwd=tmp_path)
    assert outcome.returncode == 0, outcome.stderr


def send(client, values: np.ndarray, model: str = "m", request_id: str | None = None):
    given = triton_http.InferInput("x", values.shape, "FP32").set_data_from_numpy(values)
    headers = {"x-request-id": request_id} if request_id else None
    return client.infer(model, [given], headers=headers)


def windows(server, batches):
    """Sends batches, each a window of its own."""
    done = server.get("/models/m/drift").json()["window"]["completed"]
    with oip.rest_client(server) as client:
        for count, batch in enumerate(batches, 1):
            send(client, batch)
            until(lambda: server.get("/models/m/drift").json()["window"]["completed"] >= done + count)


def shifted(seed: int) -> np.ndarray:
    values = rows(seed)
    values[:, 0] = values[:, 0] * 0.2 + 0.8
    values[0, 1] = SECRET
    return values


def notifications(server) -> dict[str, float]:
    scrape = Scrape(server)
    return {
        outcome: scrape.value("galen_alert_notifications", outcome=outcome)
        for outcome in ("delivered", "retried", "dropped")
    }


def moment(text: str) -> datetime.datetime:
    return datetime.datetime.fromisoformat(text)


def test_an_alert_is_told_when_it_begins_and_when_it_ends(registry, start, tmp_path, receiver):
    add(registry)
    settings(tmp_path, receiver.port)
    profile(registry, tmp_path)
    server = start(registry.path).wait_ready()
    windows(server, [shifted(1), shifted(2)])
    firing = receiver.wait_for(1)[0]
    assert (firing["path"], firing["type"]) == ("/hook?key=hush", "application/json")
    assert firing["host"] == f"localhost:{receiver.port}"
    body = firing["body"]
    assert (body["version"], body["status"], body["receiver"]) == ("4", "firing", "galen")
    (alert,) = body["alerts"]
    assert alert["labels"] == body["commonLabels"] == {
        "alertname": "GalenDrift",
        "kind": "drift",
        "model": "m",
        "version": "1",
        "severity": "warning",
    }
    assert (alert["status"], alert["endsAt"]) == ("firing", NEVER)
    assert "age: psi " in alert["annotations"]["description"]
    assert "dose" not in alert["annotations"]["description"]
    assert Scrape(server).value("galen_alert", model="m", version="1", kind="drift") == 1

    windows(server, [shifted(3), rows(4), rows(5)])
    messages = receiver.wait_for(2)
    resolved = messages[1]["body"]
    assert [message["body"]["status"] for message in messages] == ["firing", "resolved"]
    (over,) = resolved["alerts"]
    assert (over["status"], over["fingerprint"]) == ("resolved", alert["fingerprint"])
    assert over["startsAt"] == alert["startsAt"]
    assert moment(over["endsAt"]) >= moment(over["startsAt"])
    assert Scrape(server).value("galen_alert", model="m", version="1", kind="drift") == 0
    assert notifications(server) == {"delivered": 2, "retried": 0, "dropped": 0}
    # No row is in a message, and no secret of the address in the log.
    assert not any(str(int(SECRET)) in message["text"] for message in messages)
    assert "hush" not in server.log.text()


def test_quality_and_performance_have_alerts_of_their_own(registry, start, tmp_path, receiver):
    add(registry)
    settings(tmp_path, receiver.port)
    profile(registry, tmp_path)
    server = start(registry.path).wait_ready()
    gaps = [rows(1), rows(2)]
    for values in gaps:
        values[::10, 1] = np.nan
    windows(server, gaps)
    alert = receiver.wait_for(1)[0]["body"]["alerts"][0]
    assert alert["labels"]["alertname"] == "GalenQuality"
    description = alert["annotations"]["description"]
    assert "dose: 10.0 % missing, 0.0 % in training" in description and "age" not in description

    # Forty who were positive and called negative: so much is not chance.
    missed = np.tile(np.array([[0.8, 0.2]], np.float32), (40, 1))
    with oip.rest_client(server) as client:
        send(client, missed, request_id="patient-77")
    labels = [{"prediction_id": "patient-77", "row": row, "label": "yes"} for row in range(40)]
    assert server.post("/models/m/feedback", {"labels": labels}).json()["joined"] == 40
    body = receiver.wait_for(2)[1]
    alert = body["body"]["alerts"][0]
    assert alert["labels"]["alertname"] == "GalenPerformance"
    assert alert["annotations"]["description"].startswith("sensitivity 0.000 (0.000 to 0.088, 40 ")
    assert "patient-77" not in body["text"]
    report = server.get("/models/m/performance").json()
    assert report["alert"] == [alert["annotations"]["description"]]
    # Enough of them called rightly: it ends.
    found = np.tile(np.array([[0.2, 0.8]], np.float32), (400, 1))
    with oip.rest_client(server) as client:
        send(client, found, request_id="later")
    labels = [{"prediction_id": "later", "row": row, "label": "yes"} for row in range(400)]
    assert server.post("/models/m/feedback", {"labels": labels}).json()["joined"] == 400
    last = receiver.wait_for(3)[2]["body"]
    assert (last["status"], last["commonLabels"]["kind"]) == ("resolved", "performance")
    assert server.get("/models/m/performance").json()["alert"] == []


def test_a_receiver_that_is_away_gets_it_when_it_is_back(registry, start, tmp_path):
    add(registry)
    port = free_port()
    settings(tmp_path, port)
    profile(registry, tmp_path)
    server = start(registry.path).wait_ready()
    windows(server, [shifted(1), shifted(2)])
    until(lambda: notifications(server)["retried"] >= 2)
    assert notifications(server)["delivered"] == 0
    receiver = Receiver(port, statuses=(503, 429, 200))
    try:
        messages = receiver.wait_for(3)
        until(lambda: notifications(server)["delivered"] == 1)
    finally:
        receiver.close()
    assert [message["status"] for message in messages] == [503, 429, 200]
    assert {message["text"] for message in messages} == {messages[0]["text"]}
    assert notifications(server)["dropped"] == 0


def test_what_nobody_takes_is_dropped_and_counted(registry, start, tmp_path):
    add(registry)
    settings(tmp_path, free_port(), retries=2)
    profile(registry, tmp_path)
    server = start(registry.path).wait_ready()
    # Each is there from the start: what appears with its first count is no increase.
    assert len(Scrape(server).samples("galen_alert_notifications")) == 3
    windows(server, [shifted(1), shifted(2)])
    until(lambda: notifications(server)["dropped"] == 1)
    assert notifications(server) == {"delivered": 0, "retried": 2, "dropped": 1}
    said = server.log.wait_for(message="an alert could not be told", level="ERROR")[0]
    assert (said["model"], said["attempts"]) == ("m/1", 3)
    # The server answers all the while, and ends when it is told to.
    assert server.get("/models/m/drift").json()["status"] == "alert"


def test_a_refusal_is_final(registry, start, tmp_path):
    receiver = Receiver(statuses=(404,))
    try:
        add(registry)
        settings(tmp_path, receiver.port)
        profile(registry, tmp_path)
        server = start(registry.path).wait_ready()
        windows(server, [shifted(1), shifted(2)])
        until(lambda: notifications(server)["dropped"] == 1)
        assert len(receiver.wait_for(1)) == 1 and notifications(server)["retried"] == 0
    finally:
        receiver.close()


def test_after_a_restart_what_is_in_alert_is_told_again(registry, start, tmp_path, receiver):
    folder = add(registry)
    settings(tmp_path, receiver.port)
    profile(registry, tmp_path)
    server = start(registry.path).wait_ready()
    windows(server, [shifted(1), shifted(2)])
    first = receiver.wait_for(1)[0]["body"]["alerts"][0]
    assert server.stop() == 0
    start.servers.remove(server)
    server = start(registry.path).wait_ready()
    again = receiver.wait_for(2)[1]["body"]["alerts"][0]
    assert (again["status"], again["fingerprint"]) == ("firing", first["fingerprint"])
    # A version that goes takes its alert with it.
    folder.rename(registry.path / "m.tmp")
    last = receiver.wait_for(3)[2]["body"]
    assert (last["status"], last["commonLabels"]["model"]) == ("resolved", "m")


def test_an_address_that_is_none_is_refused_before_a_port_is_bound(registry, tmp_path):
    from support.server import run

    outcome = run(
        "serve", "--models", str(registry.path), "--alerts-webhook", "https://hush/", cwd=tmp_path
    )
    assert outcome.returncode == 64
    assert "alerts.webhook: expected http://" in outcome.stderr and "hush" not in outcome.stderr

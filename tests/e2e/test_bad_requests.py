"""Whatever is sent to the REST door: the caller is told what is wrong in JSON, never gets a
server's error, never its own data back, and the next caller notices nothing.
"""

import collections
import http.client
import socket

import pytest

from support import malformed, wire
from support.malformed import ADD, BODY_BYTES_MAX, CANARY, CANARY_NUMBER, CASES, PREDICT, Case
from support.registry import Registry
from support.server import Server

# What the whole of this file may leave in memory.
GROWTH_MAX = 200 << 20


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bad")
    registry = Registry(folder / "models")
    for model in ("add-sub", "diabetes-progression"):
        registry.add_demo(model)
    for datatype in ("INT8", "BOOL"):
        registry.add_echo(datatype.lower(), datatypes=(datatype,))
    registry.add_echo("words", datatypes=("BYTES",))
    flags = ["--body-bytes-max", str(BODY_BYTES_MAX)]
    with Server(registry.path, *flags, cwd=folder) as server:
        server.wait_ready()
        ask(server)
        before = server.memory_bytes()
        yield server
        assert server.memory_bytes() - before < GROWTH_MAX
    for canary in (CANARY, str(CANARY_NUMBER)):
        assert canary not in server.log.text()


def ask(server: Server):
    """A good request, on a connection of its own."""
    body = malformed.dump(malformed.good())
    head = wire.head("POST", ADD, f"Content-Length: {len(body)}")
    answer = wire.exchange(server, head, body)
    assert answer.status == 200
    assert answer.json()["outputs"][1]["data"] == [0.0] * 16


def assert_told(answer: wire.Answer, status: int, typed: bool):
    """The error is in the form of its dialect, and repeats nothing."""
    assert answer.status == status, answer.body[:500]
    for canary in (CANARY, str(CANARY_NUMBER)):
        assert canary.encode() not in answer.body
    assert len(answer.body) < 100_000
    body = answer.json()
    if typed:
        assert answer.headers["content-type"] == "application/problem+json"
        assert body["status"] == status and body["title"] and body["detail"]
        assert (status == 422) == bool(body.get("errors"))
    else:
        assert answer.headers["content-type"] == "application/json"
        assert list(body) == ["error"] and body["error"]


def printable(case: Case) -> str:
    return case.name.encode("unicode_escape").decode()


def is_typed(path: str) -> bool:
    return path == "/models" or path.startswith("/models/")


def test_there_are_many_and_all_are_named():
    names = collections.Counter((case.name, case.path) for case in CASES)
    assert len(CASES) > 400
    assert not [name for name, count in names.items() if count > 1]


@pytest.mark.parametrize("case", CASES, ids=printable)
def test_malformed(server, case):
    headers = [f"{name}: {value}" for name, value in case.headers.items()]
    head = wire.head(case.verb, case.path, *headers, f"Content-Length: {len(case.body)}")
    answer = wire.exchange(server, head, case.body)
    assert_told(answer, case.status, typed=is_typed(case.path))
    ask(server)


def chunked(path: str, *headers: str) -> bytes:
    return wire.head("POST", path, "Transfer-Encoding: chunked", *headers)


def test_a_body_in_tiny_chunks_is_a_body(server):
    body = malformed.dump(malformed.good())
    body = body[:-1] + b" " * 200_000 + body[-1:]
    answer = wire.exchange(server, chunked(ADD), wire.chunks(body, 1))
    assert answer.status == 200
    ask(server)


@pytest.mark.parametrize("path", [ADD, PREDICT])
def test_many_chunks_of_nonsense(server, path):
    answer = wire.exchange(server, chunked(path), wire.chunks(b"[" * 600_000, 1))
    assert_told(answer, 400, typed=path == PREDICT)
    ask(server)


def test_chunks_beyond_the_limit(server):
    piece = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
    pieces = [piece] * (BODY_BYTES_MAX // 0x10000 + 1)
    answer = wire.exchange(server, chunked(ADD), *pieces, b"0\r\n\r\n")
    assert_told(answer, 413, typed=False)
    ask(server)


@pytest.mark.parametrize("length", [BODY_BYTES_MAX + 1, 2**40, 2**63])
def test_an_announced_size_is_refused_before_it_is_sent(server, length):
    answer = wire.exchange(server, wire.head("POST", ADD, f"Content-Length: {length}"))
    assert_told(answer, 413, typed=False)
    ask(server)


@pytest.mark.parametrize(
    "body",
    [
        b"x\r\n",
        b"-1\r\n",
        b"5\r\nabc\r\n0\r\n\r\n",
        b"ffffffffffffffffff\r\n",
        b"1;" + b"a" * 70_000,
    ],
    ids=["no number", "negative", "short", "beyond 64 bits", "endless extension"],
)
def test_broken_chunks(server, body):
    assert wire.exchange(server, chunked(ADD), body).status == 400
    ask(server)


@pytest.mark.parametrize(
    "head",
    [
        b"GET\r\n\r\n",
        b"\0\1\2\3\r\n\r\n",
        b"GET /v2 HTTP/9.9\r\n\r\n",
        b"GET /v2 HTTP/1.1\r\nbad header\r\n\r\n",
        b"GET /v2 HTTP/1.1\r\nx: \0\r\n\r\n",
        b"GET /%zz\0 HTTP/1.1\r\n\r\n",
        b"POST /v2 HTTP/1.1\r\nContent-Length: x\r\n\r\n",
        b"POST /v2 HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"POST /v2 HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n",
        b"POST /v2 HTTP/1.1\r\nA:1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"POST /v2 HTTP/1.1\r\nB:1\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n",
        b"POST /v2 HTTP/1.1\r\nC:1\r\nContent-Length: 0\r\nContent-Length: 0\r\n\r\n",
        b"POST /v2 HTTP/1.1\r\nD:1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        b"POST /v2 HTTP/1.1\r\nE:1\r\n Content-Length: 0\r\n\r\n",
        b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\n\r\n",
        b"GET /v2 HTTP/1.1\r\nx: " + b"a" * 100_000 + b"\r\n\r\n",
        b"GET /v2 HTTP/1.1\r\n" + b"x: y\r\n" * 1000 + b"\r\n",
    ],
    ids=lambda head: repr(head[:36]),
)
def test_broken_heads(server, head):
    """Below the doors: the status is all there is."""
    assert 400 <= wire.exchange(server, head).status < 500
    ask(server)


def test_a_body_that_ends_early(server):
    host, port = server.http.rsplit(":", 1)
    for _ in range(20):
        with socket.create_connection((host, int(port)), timeout=10) as connection:
            connection.sendall(wire.head("POST", ADD, "Content-Length: 1000") + b'{"inputs"')
    ask(server)


@pytest.mark.parametrize("is_chunked", [False, True])
def test_an_answer_before_the_body_leaves_the_connection_as_it_was(server, is_chunked):
    """An error that needs no body is told at once; the body is skipped, the next request read."""
    body = malformed.dump(malformed.good())
    length = "Transfer-Encoding: chunked" if is_chunked else f"Content-Length: {len(body)}"
    sent = wire.chunks(body, 100) if is_chunked else body
    host, port = server.http.rsplit(":", 1)
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        for path, status in (("/v2/models/nobody/infer", 404), (ADD, 200)) * 3:
            connection.sendall(wire.head("POST", path, length, connection="keep-alive"))
            if status != 404:
                connection.sendall(sent)
            response = http.client.HTTPResponse(connection)
            response.begin()
            response.read()
            assert response.status == status
            if status == 404:
                connection.sendall(sent)


def test_a_large_body_that_nobody_wants_is_not_waited_for(server):
    host, port = server.http.rsplit(":", 1)
    length = f"Content-Length: {BODY_BYTES_MAX}"
    head = wire.head("POST", "/v2/models/nobody/infer", length, connection="keep-alive")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(head)
        response = http.client.HTTPResponse(connection)
        response.begin()
        response.read()
        assert response.status == 404
        assert connection.recv(1) == b""

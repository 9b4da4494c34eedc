"""HTTP/1.1 by hand, for requests that no client would send."""

import http.client
import json
import socket
from dataclasses import dataclass

from support.server import PATIENCE, Server


@dataclass(frozen=True)
class Answer:
    status: int
    headers: http.client.HTTPMessage
    body: bytes

    def json(self):
        return json.loads(self.body)


def exchange(server: Server, *parts: bytes, door: str = "http") -> Answer:
    """Sends bytes as they are, and reads one answer, which may come before all are sent."""
    host, port = server.addresses[door].rsplit(":", 1)
    with socket.create_connection((host, int(port)), timeout=PATIENCE) as connection:
        try:
            for part in parts:
                connection.sendall(part)
        except (BrokenPipeError, ConnectionResetError):
            pass  # The server has heard enough: its answer is there.
        response = http.client.HTTPResponse(connection)
        response.begin()
        return Answer(response.status, response.headers, response.read())


def head(verb: str, path: str, *headers: str, connection: str = "close") -> bytes:
    """A request's first lines; as a rule, the connection is not used again."""
    lines = [f"{verb} {path} HTTP/1.1", "Host: galen", f"Connection: {connection}", *headers, "", ""]
    return "\r\n".join(lines).encode("latin-1")


def chunks(data: bytes, size: int) -> bytes:
    """A body in chunks of this size, with the last one."""
    parts = [data[start : start + size] for start in range(0, len(data), size)]
    return b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in [*parts]) + b"0\r\n\r\n"

"""One HTTP/1.1 connection that sends prepared bytes, each request in one packet.

`http.client` sends head and body apart, which would have the gateway read twice; no other client does.
"""

from __future__ import annotations

import re
import socket

from .environment import EnvironmentFailure

PATIENCE_SECONDS = 120
_LENGTH = re.compile(rb"^content-length: *(\d+)\r$", re.IGNORECASE | re.MULTILINE)


def request(method: str, path: str, headers: dict[str, str] | None = None, body: str = "") -> bytes:
    """The bytes of a request."""
    content = body.encode()
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    if content:
        lines.append(f"Content-Length: {len(content)}")
    return "\r\n".join([*lines, "", ""]).encode() + content


class Connection:
    """Sends requests one after the other."""

    def __init__(self, port: int) -> None:
        """Connects to this machine."""
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_SECONDS)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def send(self, prepared: bytes) -> tuple[int, bytes]:
        """Sends a request and waits for its whole answer: status and body. Answers without a length are refused."""
        try:
            self._socket.sendall(prepared)
            received = b""
            while b"\r\n\r\n" not in received:
                received += self._more()
            head, _, body = received.partition(b"\r\n\r\n")
            length = _LENGTH.search(head + b"\r")
            if not length:
                raise EnvironmentFailure(f"an answer without a length: {head[:200]!r}")
            while len(body) < int(length[1]):
                body += self._more()
        except OSError as error:
            raise EnvironmentFailure(f"no answer: {error}") from error
        return int(head.split()[1]), body

    def _more(self) -> bytes:
        part = self._socket.recv(65536)
        if not part:
            raise EnvironmentFailure("the gateway has closed the connection")
        return part

    def close(self) -> None:
        """Closes it."""
        self._socket.close()

"""The load generator: a process of its own that keeps requests in flight over kept-alive connections.

It speaks just enough HTTP/1.1, and takes some 20 us of CPU a request, so that the host is what is measured;
it tells how busy it was. Reads its orders as JSON from standard input and writes what it saw as JSON.
"""

import asyncio
import gc
import itertools
import json
import re
import sys
import time
from typing import Any
from urllib.parse import urlsplit

LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


class Load:
    """Sends `requests` in turn, `count` in all, with `in_flight` of them under way at a time."""

    def __init__(self, requests: list[bytes], count: int, in_flight: int) -> None:
        self.latencies: list[float] = []
        self.last = b""
        self.finished = asyncio.get_running_loop().create_future()
        self._to_send = itertools.islice(itertools.cycle(requests), count)
        self._under_way = in_flight

    def next(self) -> bytes | None:
        request = next(self._to_send, None)
        if request is None:
            self._under_way -= 1
            if self._under_way == 0 and not self.finished.done():
                self.finished.set_result(None)
        return request

    def fail(self, reason: str) -> None:
        if not self.finished.done():
            self.finished.set_exception(RuntimeError(reason))


class Connection(asyncio.Protocol):
    """One connection, with one request under way at a time."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._answer = b""
        self._sent = 0.0
        self.transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def send(self) -> None:
        request = self._load.next()
        if request is not None:
            self._sent = time.perf_counter()
            self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._answer += data
        head = self._answer.find(b"\r\n\r\n")
        if head < 0:
            return
        length = LENGTH.search(self._answer, 0, head + 2)
        if length is None or self._answer[9:10] != b"2":
            self._load.fail(f"refused: {self._answer[:500].decode(errors='replace')}")
            return
        if len(self._answer) < head + 4 + int(length[1]):
            return
        self._load.latencies.append(time.perf_counter() - self._sent)
        self._load.last, self._answer = self._answer[head + 4 :], b""
        self.send()

    def connection_lost(self, exc: Exception | None) -> None:
        self._load.fail(f"the host closed the connection ({exc})")


async def generate(
    url: str, requests: list[tuple[str, str, Any]], count: int, in_flight: int, headers: dict[str, str]
) -> dict[str, Any]:
    """Send method, path and JSON body of each request in turn; returns what was seen, in seconds."""
    where = urlsplit(url)
    encoded = [encode(where.netloc, headers, *request) for request in requests]
    load = Load(encoded, count, in_flight)
    assert where.hostname is not None
    assert where.port is not None
    loop = asyncio.get_running_loop()
    connections = [
        (await loop.create_connection(lambda: Connection(load), where.hostname, where.port))[1]
        for _ in range(in_flight)
    ]
    gc.disable()
    began, busy = time.time(), time.process_time()
    for connection in connections:
        connection.send()
    await load.finished
    return {
        "began": began,
        "ended": time.time(),
        "busy": time.process_time() - busy,
        "latencies": load.latencies,
        "last": load.last.decode(),
    }


def encode(host: str, headers: dict[str, str], method: str, path: str, body: Any) -> bytes:
    content = b"" if body is None else json.dumps(body, separators=(",", ":")).encode()
    given = {"host": host, "content-type": "application/json", "content-length": str(len(content)), **headers}
    lines = "".join(f"{name}: {value}\r\n" for name, value in given.items())
    return f"{method} {path} HTTP/1.1\r\n{lines}\r\n".encode() + content


if __name__ == "__main__":
    json.dump(asyncio.run(generate(**json.load(sys.stdin))), sys.stdout)

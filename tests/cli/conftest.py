import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from click.testing import CliRunner, Result

COUNTS = {"total": 2, "skipped": 0, "failed": 0}
HAPPENED = [
    ("stage.started", {"status": "running", "done": 0} | COUNTS),
    ("stage.progress", {"status": "running", "done": 1} | COUNTS),
    ("stage.finished", {"status": "completed", "done": 2} | COUNTS),
]


@dataclass
class Host:
    """A host that speaks the contract: one run, whose stream breaks off after `break_after` events, once."""

    url: str = ""
    outcome: dict = field(default_factory=lambda: {"status": "completed", "output": {"words": 3}})
    break_after: int | None = None
    lose_first_answer: bool = False
    refusal: tuple[int, dict] | None = None
    requests: list[tuple[str, str]] = field(default_factory=list)
    bodies: list = field(default_factory=list)
    keys: list = field(default_factory=list)
    resumed_from: list = field(default_factory=list)
    finished: bool = False
    pages: dict = field(default_factory=dict)
    documents: dict = field(default_factory=dict)
    posted: dict = field(default_factory=dict)
    preferred: list = field(default_factory=list)

    def document(self) -> dict:
        ended = self.outcome if self.finished else {"status": "running"}
        times = {"createdAt": "2026-01-02T03:04:05Z", "updatedAt": "2026-01-02T03:04:06Z"}
        progress = (
            {"progress": {"Split": {"status": "completed", "done": 2} | COUNTS}}
            if self.finished
            else {"progress": {}}
        )
        return {"runId": "run-a", "pipeline": "p", "output": None, "error": None} | progress | times | ended


def _handler(host: Host) -> type[BaseHTTPRequestHandler]:  # noqa: C901 - the whole contract on one page
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_):
            pass

        def answer(self, status, document):
            content = document if isinstance(document, bytes) else json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def do_GET(self):
            host.requests.append(("GET", self.path))
            path, _, query = self.path.partition("?")
            if path == "/api/runs/run-a/events":
                self.stream()
            elif path == "/api/runs/run-a":
                self.answer(200, host.document())
            elif path == "/api/runs" or (path.startswith("/api/pipelines") and query in host.pages):
                self.answer(200, host.pages[query])
            elif self.path in host.documents:
                self.answer(200, host.documents[self.path])
            elif path in host.documents:
                self.answer(200, host.documents[path])
            else:
                self.answer(404, {"title": "Not found", "detail": f"there is no {path}"})

        def do_PUT(self):
            host.requests.append(("PUT", self.path))
            host.bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.answer(*(host.refusal or (201, host.documents[self.path])))

        def do_DELETE(self):
            host.requests.append(("DELETE", self.path))
            self.send_response(204)
            self.end_headers()

        def do_POST(self):
            host.requests.append(("POST", self.path))
            host.keys.append(self.headers["Idempotency-Key"])
            host.bodies.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            if host.refusal:
                self.answer(*host.refusal)
            elif host.lose_first_answer and len(host.keys) == 1:
                self.close_connection = True
            elif self.path in host.posted:
                host.preferred.append(self.headers["Prefer"])
                self.answer(*host.posted[self.path])
            elif self.path.startswith("/admin/queues/"):
                self.answer(201, {"results": [{"sequenceNumber": 7, "duplicate": len(host.bodies) > 1}]})
            else:
                self.answer(202, host.document())

        def stream(self):
            last = self.headers["Last-Event-ID"]
            host.resumed_from.append(last)
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.end_headers()
            for number in range(int(last or 0), len(HAPPENED)):
                if number == host.break_after and last is None:
                    return
                name, stage = HAPPENED[number]
                data = {"stages": {"Split": stage}}
                self.wfile.write(f"id: {number + 1}\nevent: {name}\ndata: {json.dumps(data)}\n\n".encode())
            host.finished = True
            self.wfile.write(
                f"id: end\nevent: run.finished\ndata: {json.dumps(host.document())}\n\n".encode()
            )

    return Handler


@contextmanager
def _serving(host: Host) -> Iterator[Host]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _handler(host)) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        host.url = f"http://127.0.0.1:{server.server_port}"
        try:
            yield host
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def host(monkeypatch) -> Iterator[Host]:
    with _serving(Host()) as host:
        monkeypatch.setenv("LOOM_URL", host.url)
        yield host


@pytest.fixture
def nowhere(monkeypatch) -> str:
    """An address where nobody listens."""
    with ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as server:
        url = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setenv("LOOM_URL", url)
    return url


@pytest.fixture
def loom():
    def invoke(command, *arguments, **options) -> Result:
        return CliRunner().invoke(command, arguments, **options)

    return invoke

"""Speak to a Loom host over HTTP.

With the standard library only: a fuller client would cost every command 150 ms at its start.
"""

import json
import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote, urlencode, urlsplit

import click

from loom_local.cli.sse import Event, parse

DEFAULT_URL = "http://127.0.0.1:7071"
BODY_LIMIT = 64 * 1024 * 1024  # bytes of one answer
CHUNK = 256 * 1024
HTTP_ERROR = 400
UNAUTHORIZED = 401
SERVER_ERROR = 500


class UnreachableError(click.ClickException):
    """No host answers, or what answers is no Loom host."""

    exit_code = 3


class RefusedError(click.ClickException):
    """The host refused the request; `document` is its problem document (RFC 9457), printed under --json."""

    exit_code = 2

    def __init__(self, status: int, document: Mapping[str, Any]) -> None:
        super().__init__(_explain(status, document))
        self.status = status
        self.document = document
        context = click.get_current_context(silent=True)
        self._as_json = bool(context and context.params.get("as_json"))

    def show(self, file: IO[Any] | None = None) -> None:
        if self._as_json:
            click.echo(json.dumps(self.document, ensure_ascii=False))
        super().show(file)


class BrokenError(RefusedError):
    """The host could not answer (5xx): not the request's fault."""

    exit_code = 3


@dataclass(frozen=True, slots=True)
class Api:
    """A Loom host at `url`. Every method raises UnreachableError and RefusedError."""

    url: str
    key: str | None = field(default=None, repr=False)
    timeout: float = 30.0

    def get(self, path: str, query: Mapping[str, str | int | None] | None = None) -> Any:
        """Answer the JSON document at `path`."""
        wanted = {name: value for name, value in (query or {}).items() if value is not None}
        return self._json("GET", f"{path}?{urlencode(wanted)}" if wanted else path)

    def post(self, path: str, document: Any = None, *, headers: Mapping[str, str] | None = None) -> Any:
        """Send a JSON document to `path`, and answer the one that comes back."""
        return self._json("POST", path, json.dumps(document).encode(), headers)

    def put(self, path: str, document: bytes) -> Any:
        """Store a JSON document, as it is written, at `path`, and answer the one that comes back."""
        return self._json("PUT", path, document)

    def delete(self, path: str) -> None:
        self._json("DELETE", path)

    def events(self, path: str, *, last_id: str = "") -> Iterator[Event]:
        """Yield the events at `path` that came after `last_id`, until the host ends the stream.

        Raises OSError, HTTPException or StreamError when the stream breaks once it has begun.
        """
        headers = {"Accept": "text/event-stream"} | ({"Last-Event-ID": last_id} if last_id else {})
        connection, response = self._send("GET", path, None, headers)
        try:
            if response.status >= HTTP_ERROR:
                raise _refusal(response.status, _read(response))
            yield from parse(iter(lambda: response.read1(65536), b""), last_id=last_id)
        finally:
            connection.close()

    def chunks(self, path: str) -> Iterator[bytes]:
        """Yield what is at `path`, however large, as it comes. Raises UnreachableError if it breaks off."""
        connection, response = self._send("GET", path, None, {"Accept": "*/*"})
        try:
            if response.status >= HTTP_ERROR:
                raise _refusal(response.status, _read(response))
            while chunk := response.read(CHUNK):
                yield chunk
        except (OSError, HTTPException) as error:
            raise UnreachableError(f"{self.url} broke off: {_reason(error)}") from error
        finally:
            connection.close()

    def _json(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Any:
        try:
            connection, response = self._send(method, path, body, headers or {})
            try:
                content = _read(response)
            finally:
                connection.close()
        except (OSError, HTTPException) as error:
            raise UnreachableError(f"{self.url} broke off: {_reason(error)}") from error
        if response.status >= HTTP_ERROR:
            raise _refusal(response.status, content)
        try:
            return json.loads(content) if content else None
        except ValueError as error:
            raise UnreachableError(f"{self.url} is no Loom host: its answer is not JSON") from error

    def _send(
        self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]
    ) -> tuple[HTTPConnection, HTTPResponse]:
        connection, base = _connection(self.url, self.timeout)
        sent = {"Accept": "application/json", **headers}
        if body is not None:
            sent["Content-Type"] = "application/json"
        if self.key:
            sent["x-functions-key"] = self.key
        try:
            connection.request(method, base + path, body=body, headers=sent)
            return connection, connection.getresponse()
        except (OSError, HTTPException) as error:
            connection.close()
            raise UnreachableError(f"no Loom host answers at {self.url}: {_reason(error)}") from error


def connect(url: str | None = None) -> Api:
    """The host at `url`, else at LOOM_URL, else at the default address; LOOM_API_KEY is its key."""
    return Api((url or os.environ.get("LOOM_URL") or DEFAULT_URL).rstrip("/"), os.environ.get("LOOM_API_KEY"))


def segment(name: str) -> str:
    """Quote a name for its place in a path."""
    return quote(name, safe="")


def json_option(_context: click.Context, _parameter: click.Parameter, text: str | None) -> Any:
    """Read an option that holds JSON, `@FILE` or `-` for the standard input. Raises click.BadParameter."""
    if text is None:
        return None
    try:
        if text == "-":
            return json.load(sys.stdin)
        if text.startswith("@"):
            return json.loads(Path(text[1:]).read_text(encoding="utf-8"))
        return json.loads(text)
    except OSError as error:
        raise click.BadParameter(f"{error.filename}: {error.strerror}") from error
    except ValueError as error:
        raise click.BadParameter(f"not JSON: {error}") from error


def _connection(url: str, timeout: float) -> tuple[HTTPConnection, str]:
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise click.BadParameter(f"{url!r} is not an http(s) address")
    kind = HTTPSConnection if parts.scheme == "https" else HTTPConnection
    try:
        return kind(parts.hostname, parts.port, timeout=timeout), parts.path
    except ValueError as error:
        raise click.BadParameter(f"{url!r}: {error}") from error


def _read(response: HTTPResponse) -> bytes:
    content = response.read(BODY_LIMIT + 1)
    if len(content) > BODY_LIMIT:
        raise click.ClickException(f"the answer is larger than {BODY_LIMIT // 1024 // 1024} MB")
    return content


def _refusal(status: int, content: bytes) -> RefusedError:
    try:
        document = json.loads(content)
    except ValueError:
        document = None
    if not isinstance(document, dict):
        document = {"status": status, "detail": content[:500].decode(errors="replace").strip()}
    return (BrokenError if status >= SERVER_ERROR else RefusedError)(status, document)


def _explain(status: int, document: Mapping[str, Any]) -> str:
    lines = [str(document.get("detail") or document.get("title") or f"the host answered {status}")]
    if status == UNAUTHORIZED:
        lines.append("  The key of this host belongs into LOOM_API_KEY.")
    problems = document.get("problems")
    if isinstance(problems, list):
        lines += [
            f"  {problem.get('path', '$')}: {problem.get('message', '')}"
            for problem in problems
            if isinstance(problem, dict)
        ]
    return "\n".join(lines)


def _reason(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__

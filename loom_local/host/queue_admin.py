"""Queues over HTTP, under /admin/queues: send, count, look at what waits, mend what died."""

import re
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from http import HTTPStatus

from pydantic import AwareDatetime, ConfigDict, Field, JsonValue
from pydantic.alias_generators import to_camel
from pydantic_core import from_json

from loom_core.errors import ConflictError, InvalidError, NotFoundError, Problem
from loom_core.wire.json import Json, dump
from loom_local.broker import Broker, Message, QueueCounts, QueueProperties, StoredMessage
from loom_local.host.documents import Document, read
from loom_local.host.queues import OnEngine

MAX_BODY = 4 << 20

_PATH = re.compile(
    r"/admin/queues(?:/(.+?)(?:(/messages|/deadletters)(?:/(\d{1,18})(/replay)?)?)?)?/?", re.ASCII
)
_STATUSES: dict[type[Exception], int] = {InvalidError: 422, NotFoundError: 404, ConflictError: 409}


class Outgoing(Document):
    """A message to send. A `body` that is no text is sent as JSON; durations are seconds or ISO 8601."""

    model_config = ConfigDict(extra="forbid")

    body: JsonValue
    message_id: str | None = None
    session_id: str | None = None
    correlation_id: str | None = None
    subject: str | None = None
    content_type: str | None = None
    to: str | None = None
    reply_to: str | None = None
    reply_to_session_id: str | None = None
    application_properties: dict[str, str | int | float | bool | None] = Field(default_factory=dict)
    scheduled_enqueue_time: AwareDatetime | None = None
    time_to_live: timedelta | None = None

    def message(self) -> Message:
        is_text = isinstance(self.body, str)
        due, ttl = self.scheduled_enqueue_time, self.time_to_live
        return Message(
            **self.model_dump(exclude={"body", "content_type", "scheduled_enqueue_time", "time_to_live"}),
            body=(self.body if isinstance(self.body, str) else dump(self.body)).encode(),
            content_type=self.content_type or (None if is_text else "application/json"),
            scheduled_enqueue_time=due.timestamp() if due is not None else None,
            time_to_live=ttl.total_seconds() if ttl is not None else None,
        )


class QueueAdmin:
    """Answers requests under /admin/queues with a status and a JSON document."""

    def __init__(self, broker: Broker, on_engine: OnEngine) -> None:
        self._broker = broker
        self._on_engine = on_engine

    async def answer(
        self, method: str, path: str, query: Mapping[str, str], body: bytes
    ) -> tuple[int, Json] | None:
        """Answer one request, its path being decoded; None if it is not about queues."""
        match = _PATH.fullmatch(path)
        if match is None:
            return None
        try:
            return await self._route(method, *match.groups(), query=query, body=body)
        except (InvalidError, NotFoundError, ConflictError) as error:
            problems = error.problems if isinstance(error, InvalidError) else ()
            status = _STATUSES[type(error)]
            return status, {
                "type": "about:blank",
                "title": HTTPStatus(status).phrase,
                "status": status,
                "detail": str(error),
                "problems": [{"path": p.path, "message": p.message} for p in problems],
            }

    async def _route(  # noqa: PLR0911 - a route, an answer
        self,
        method: str,
        queue: str | None,
        part: str | None,
        number: str | None,
        replay: str | None,
        *,
        query: Mapping[str, str],
        body: bytes,
    ) -> tuple[int, Json]:
        broker, sequence = self._broker, int(number or 0)
        match method, queue, part, number is not None, replay is not None:
            case "GET", None, None, False, False:
                return 200, {"queues": await self._on_engine(_describe_all)(broker)}
            case "GET", str(), None, False, False:
                return 200, await self._on_engine(_describe)(broker, queue)
            case "POST", str(), "/messages", False, False:
                return 201, {"results": await self._send(queue, body)}
            case "GET", str(), "/messages", False, False:
                return 200, _page(await self._on_engine(broker.peek)(queue, *_window(query)))
            case "DELETE", str(), "/messages", True, False:
                await self._on_engine(broker.cancel_scheduled)(queue, sequence)
                return 200, {"cancelled": sequence}
            case "GET", str(), "/deadletters", False, False:
                return 200, _page(await self._on_engine(broker.dead_letters)(queue, *_window(query)))
            case "DELETE", str(), "/deadletters", False, False:
                purge = self._on_engine(broker.purge_dead_letters)
                return 200, {"purged": await purge(queue, read(Purge, query).before.timestamp())}
            case "POST", str(), "/deadletters", True, True:
                return 201, {"sequenceNumber": await self._on_engine(broker.replay)(queue, sequence)}
        raise NotFoundError(f"there is no {method} here")

    async def _send(self, queue: str, body: bytes) -> list[Json]:
        if len(body) > MAX_BODY:
            raise InvalidError(f"the request has {len(body)} bytes; at most {MAX_BODY} are allowed")
        try:
            document = from_json(body, allow_inf_nan=False)
        except ValueError as error:
            raise InvalidError(f"the request is not JSON: {error}") from None
        listed = document if isinstance(document, list) else [document]
        messages: list[Message] = []
        problems: list[Problem] = []
        for index, each in enumerate(listed):
            try:
                messages.append(read(Outgoing, each, f"$[{index}]").message())
            except InvalidError as error:
                problems.extend(error.problems)
        if problems:
            raise InvalidError(problems)
        sent = await self._on_engine(self._broker.send)(queue, messages)
        return [{"sequenceNumber": each.sequence_number, "duplicate": each.duplicate} for each in sent]


async def _describe_all(broker: Broker) -> list[Json]:
    return [await _describe(broker, name) for name in sorted(await broker.queues())]


async def _describe(broker: Broker, name: str) -> dict[str, Json]:
    counts = await broker.counts(name)
    properties = (await broker.queues())[name]
    return {"name": name} | _camel(properties) | {"counts": _camel(counts)}


def _camel(value: QueueProperties | QueueCounts) -> dict[str, Json]:
    return {to_camel(name): field for name, field in asdict(value).items()}


class Window(Document):
    after: int = Field(0, ge=0, lt=1 << 63)
    limit: int = Field(100, ge=1, le=256)


class Purge(Document):
    """Dead letters that died before this time are deleted for good."""

    before: AwareDatetime


def _window(query: Mapping[str, str]) -> tuple[int, int]:
    window = read(Window, query)
    return window.after, window.limit


def _page(found: Sequence[StoredMessage]) -> Json:
    """`next` is the `after` of the next page, or null behind the last message."""
    return {"messages": [*map(_show, found)], "next": found[-1].sequence_number if found else None}


def _show(stored: StoredMessage) -> Json:
    message = stored.message
    shown: dict[str, Json] = {
        "sequenceNumber": stored.sequence_number,
        "messageId": message.message_id,
        "sessionId": message.session_id,
        "correlationId": message.correlation_id,
        "subject": message.subject,
        "contentType": message.content_type,
        "to": message.to,
        "replyTo": message.reply_to,
        "replyToSessionId": message.reply_to_session_id,
        "applicationProperties": message.application_properties or None,
        "enqueuedTime": datetime.fromtimestamp(stored.enqueued_time, UTC).isoformat(),
        "expiresAt": datetime.fromtimestamp(stored.expires_at, UTC).isoformat(),
        "deliveryCount": stored.delivery_count,
        "deadLetterReason": stored.dead_letter_reason,
        "deadLetterDescription": stored.dead_letter_description,
    }
    try:
        shown["body"] = message.body.decode()
    except UnicodeDecodeError:
        shown["bodyBase64"] = b64encode(message.body).decode()
    return {name: value for name, value in shown.items() if value is not None}

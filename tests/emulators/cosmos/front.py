"""HTTP: reads requests, lets faults hit them, and answers."""

import json
import uuid
from asyncio import sleep as wait

from aiohttp import web

from tests.emulators.cosmos.answers import Answer, refusal
from tests.emulators.cosmos.doors import Doors
from tests.emulators.cosmos.errors import CosmosError, bad_request
from tests.emulators.cosmos.faults import DROPPED, LOST, Faults, faulted
from tests.emulators.cosmos.requests import Request
from tests.emulators.cosmos.statistics import Statistics

# Far above what the service takes, so that what is too large is refused in its words.
LARGEST_BODY = 64 * 1024 * 1024


class Front:
    def __init__(self, service, authorization, *, latency_ms=0):
        self.faults = Faults()
        self.statistics = Statistics()
        self._service = service
        self._authorization = authorization
        self._doors = Doors(self.faults, service.clock, self.statistics)
        self._latency = latency_ms / 1000

    async def handle(self, incoming):
        """Answer an aiohttp request."""
        body = await incoming.read()
        if incoming.path.startswith("/_"):
            return self._door(incoming, body)
        request = Request.of(incoming, body)
        fault, hit = self.faults.draw(request.kind, request.method, request.path)
        if hit == DROPPED:
            return self._cut(incoming, request, Answer(0))
        answer = refusal(faulted(fault, hit)) if isinstance(hit, int) else self._answer(request)
        if self._latency:
            await wait(self._latency)
        if hit == LOST:
            return self._cut(incoming, request, answer)
        self.statistics.count(request.kind, answer.status, answer.charge, answer.operations)
        return self._response(request, answer)

    def _answer(self, request):
        try:
            self._authorization.check(request)
            return self._service.answer(request)
        except CosmosError as error:
            return refusal(error)
        except RecursionError:
            return refusal(bad_request("The request is nested too deeply."))

    def _cut(self, incoming, request, answer):
        self.statistics.count(request.kind, 0, answer.charge, answer.operations)
        if incoming.transport is not None:
            incoming.transport.abort()
        # Nobody reads this any more.
        return web.Response()

    def _response(self, request, answer):
        headers = {
            "x-ms-activity-id": request.headers.get("x-ms-activity-id") or str(uuid.uuid4()),
            "x-ms-request-charge": f"{answer.charge:.2f}",
            "x-ms-gatewayversion": "2.0.0",
            "lsn": str(self._service.database.last),
            **answer.headers,
        }
        if answer.text is None:
            return web.Response(status=204 if answer.status in (200, 201) else answer.status, headers=headers)
        headers["content-type"] = "application/json"
        return web.Response(status=answer.status, headers=headers, body=answer.text.encode())

    def _door(self, incoming, body):
        try:
            found = self._doors.opened(incoming.method, incoming.path, json.loads(body) if body else {})
        except (ValueError, TypeError) as error:
            return web.json_response({"message": str(error)}, status=400)
        return web.json_response(found, status=404 if found is None else 200)

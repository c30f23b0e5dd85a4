"""One request, within its time, repeated as long as that cannot do it twice; errors as the port has them."""

import asyncio
from collections.abc import Awaitable, Callable
from contextvars import Token
from dataclasses import dataclass
from functools import partial
from typing import Any

from loom_core.adapters.cosmos.account import Account
from loom_core.adapters.cosmos.charges import CURRENT
from loom_core.errors import InvalidError, LoomError, UnavailableError

BUDGET = 10.0
"""Seconds for one call of the port: for opening, all requests, and all waiting between them."""
ATTEMPTS = 5
_PAUSE = 0.02
_MAYBE = "; the write may have been applied, read to know"
_BEHIND = 1002
_NOT_APPLIED = {
    (429, 0): "Cosmos DB is throttling: it needs more request units",
    (449, 0): "Cosmos DB had other writes to the same documents",
    (403, 3): "Cosmos DB takes no writes in this region now",
}
_REFUSED = {
    401: "Cosmos DB refuses the credential: are the endpoint and the clock right?",
    403: "Cosmos DB refuses the identity: has it the role Cosmos DB Built-in Data Contributor, "
    "and does the account's network let it in?",
    404: "the database or the container is missing in Cosmos DB",
}


@dataclass(frozen=True, slots=True)
class _Fault:
    """What an error means: `wait` (seconds) if the request may be sent again, `renew` for a new client."""

    error: LoomError
    wait: float | None = None
    renew: bool = False


class Requests:
    """Sends reads again after anything that may pass, writes only when they were surely not applied."""

    def __init__(self, account: Account, budget: float = BUDGET) -> None:
        self._account = account
        self._budget = budget
        self._running = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._closed = False

    async def aclose(self) -> None:
        """Refuse what comes now, wait for what is under way (it has its budget), and close the account."""
        self._closed = True
        await self._idle.wait()
        await self._account.aclose()

    async def read[T](self, operation: str, work: Callable[[Any], Awaitable[T]]) -> T:
        return await self._within(operation, partial(self._attempts, work, ""), "")

    async def write[T](self, operation: str, work: Callable[[Any], Awaitable[T]]) -> T:
        """`work` can be done again from its beginning after 429 and 449, whatever it consists of."""
        return await self._within(operation, partial(self._attempts, work, _MAYBE), _MAYBE)

    async def _within[T](self, operation: str, work: Callable[[float], Awaitable[T]], maybe: str) -> T:
        if self._closed:
            raise UnavailableError("the store is closed")
        self._running += 1
        self._idle.clear()
        token: Token[str] = CURRENT.set(operation)
        until = asyncio.get_running_loop().time() + self._budget
        limit = asyncio.timeout_at(until)
        try:
            async with limit:
                return await work(until)
        except TimeoutError as error:
            if not limit.expired():
                raise
            raise UnavailableError(f"Cosmos DB gave no answer in {self._budget:g} s{maybe}") from error
        finally:
            CURRENT.reset(token)
            self._running -= 1
            if not self._running:
                self._idle.set()

    async def _attempts[T](self, work: Callable[[Any], Awaitable[T]], maybe: str, until: float) -> T:
        from azure.core.exceptions import AzureError  # noqa: PLC0415 - at first use

        attempt = 1
        while True:
            container = None
            try:
                container = await self._account.opened()
                return await work(container)
            except AzureError as error:
                # Nothing was written before there is a container.
                fault = _judge(error, maybe if container else "")
                wait = fault.wait and fault.wait * 2 ** (attempt - 1)
                now = asyncio.get_running_loop().time()
                if wait is None or attempt == ATTEMPTS or now + wait >= until:
                    raise fault.error from error
            if fault.renew:
                self._account.renew(container)
            await asyncio.sleep(wait)
            attempt += 1


def _judge(error: Any, maybe: str) -> _Fault:
    """Say what an error of the SDK means; `maybe` is what to say of a write whose answer was lost."""
    from azure.core.exceptions import ClientAuthenticationError, HttpResponseError  # noqa: PLC0415 - at first use

    if isinstance(error, ClientAuthenticationError):
        told = "no token for Cosmos DB: give the app its managed identity, or sign in (`az login`)"
        return _Fault(UnavailableError(told))
    if isinstance(error, HttpResponseError) and error.status_code:
        return _answered(error, maybe)
    if _was_not_sent(error):
        return _Fault(
            UnavailableError(f"Cosmos DB cannot be reached: {type(error.inner_exception).__name__}")
        )
    return _Fault(UnavailableError(f"the answer of Cosmos DB was lost{maybe}"), None if maybe else _PAUSE)


def _answered(error: Any, maybe: str) -> _Fault:
    status, sub = int(error.status_code), int(getattr(error, "sub_status", None) or 0)
    if told := _NOT_APPLIED.get((status, sub if status == 403 else 0)):
        wait = _asked(error) if status == 429 else _PAUSE
        return _Fault(UnavailableError(f"{told} ({status})"), wait, renew=status == 403)
    if status in (400, 413):
        return _Fault(InvalidError(f"Cosmos DB refuses this with {status}: {_reason(error)}"))
    if status in _REFUSED and (status, sub) != (404, _BEHIND):
        return _Fault(UnavailableError(f"{_REFUSED[status]} ({status})"))
    told = f"Cosmos DB answered {status}" + (f"/{sub}" if sub else "")
    return _Fault(UnavailableError(told + maybe), None if maybe else _PAUSE)


def _asked(error: Any) -> float:
    """Give how long the service wants to be left alone, in seconds."""
    told: Any = getattr(error, "headers", None) or {}
    told = told.get("x-ms-retry-after-ms")
    return float(told) / 1000 if told else _PAUSE


def _reason(error: Any) -> str:
    return str(getattr(error, "http_error_message", None) or error.message).partition("\n")[0][:300]


def _was_not_sent(error: Any) -> bool:
    import aiohttp  # noqa: PLC0415 - at first use

    # The SDK calls every broken connection a ServiceRequestError; these alone never had one.
    never = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError)
    return isinstance(getattr(error, "inner_exception", None), never)

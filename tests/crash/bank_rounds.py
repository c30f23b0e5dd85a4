"""Kill the host at random moments while clients use actors; check that everything happened once.

What clients ask for is written down before they ask, and they ask again, with the same message ids, until it
is acknowledged, after however many restarts. So in the end it is known to the cent what must be there. With
faults, the ports of the host are badly connected as well, and 503 is an answer like none. On Azure's
services, these misbehave instead, and are killed too.
"""

import asyncio
import random
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import aiohttp

from loom_core.errors import UnavailableError
from loom_core.ports.queue import MessageQueue, QueueMessage
from tests.crash.bank_audit import audit
from tests.crash.host import LOST, Host
from tests.emulators.services import Azure, azure

HERE = Path(__file__).parent
QUEUES = HERE / "bank" / "queues.json"
ACCOUNTS = [f"a{number}" for number in range(20)]
CLOSED = ["closed0", "closed1"]
LEDGERS = 10
CLIENTS = 8
MAIL = "/admin/queues/actors/messages"
PATIENCE = 120
"""Seconds until all must be quiet: an outage may have somebody wait for a minute before the next attempt."""
PACE = 0.01
"""Seconds between a client's requests: what is sent must also be served."""


@dataclass
class Request:
    path: str
    body: Any
    wait: bool = False


@dataclass
class Book:
    """What must be true in the end, and what has not been acknowledged yet."""

    seen: dict[str, set[str]] = field(default_factory=dict[str, set[str]])
    """The ids that each ledger must have, once."""
    transfers: set[str] = field(default_factory=set[str])
    deposited: int = 0
    open: list[Request] = field(default_factory=list[Request])
    acknowledged: int = 0
    unanswered: int = 0

    def order(self, id_: str, **about: Any) -> dict[str, Any]:
        """An order whose actor has to tell a ledger of it."""
        ledger = f"Ledger/l{random.randrange(LEDGERS)}"
        self.seen.setdefault(ledger, set()).add(id_)
        return {"id": id_, "ledger": ledger, **about}


def requests(book: Book, prefix: str) -> Iterator[Request]:
    """What one client asks for, of every kind at random, and what is still open."""
    kinds = [_deposit, _deposit, _transfer, _transfer, _family, _wait, _wait_in_vain, _alarms, _mail]
    for number in count():
        book.open += random.choice(kinds)(book, f"{prefix}-{number}")
        yield book.open.pop(random.randrange(len(book.open)))


def _deposit(book: Book, id_: str) -> Iterator[Request]:
    cents = random.randrange(1, 50_00)
    book.deposited += cents
    yield _to(f"Account/{random.choice(ACCOUNTS)}", id_, {"cents": cents}, wait=random.random() < 0.5)


def _transfer(book: Book, id_: str) -> Iterator[Request]:
    source, target = random.choice(ACCOUNTS), random.choice(ACCOUNTS + CLOSED)
    book.transfers.add(id_)
    order = book.order(id_, cents=random.randrange(1, 100_00), **{"from": source, "to": target})
    yield _to(f"Transfer/t{random.randrange(20)}", id_, order, wait=random.random() < 0.2)


def _family(book: Book, id_: str) -> Iterator[Request]:
    yield _to(f"Family/f{random.randrange(10)}", id_, book.order(id_, children=random.randrange(1, 4)))


def _wait(book: Book, id_: str) -> Iterator[Request]:
    waiter = f"Waiter/w{random.randrange(10)}"
    event = {"messageType": "event", "payload": {"eventType": "go", "data": id_}, "messageId": f"{id_}-go"}
    both = [_to(waiter, id_, book.order(id_)), Request(f"/api/actors/{waiter}/messages", event)]
    yield from random.sample(both, 2)


def _wait_in_vain(book: Book, id_: str) -> Iterator[Request]:
    yield _to(f"Waiter/v{random.randrange(10)}", id_, book.order(id_, timeout=random.uniform(0.01, 0.5)))


def _alarms(book: Book, id_: str) -> Iterator[Request]:
    messages = [
        {
            "actorId": f"Alarm/m{random.randrange(20)}",
            "messageId": f"{id_}-{number}",
            "payload": book.order(f"{id_}-{number}", left=random.randrange(3)),
        }
        for number in range(5)
    ]
    yield Request("/api/messages", messages)


def _mail(book: Book, id_: str) -> Iterator[Request]:
    order = book.order(id_)
    letter = {"actorId": order["ledger"], "payload": order}
    yield Request(MAIL, {"body": letter, "messageId": id_, "sessionId": order["ledger"]})


def _to(target: str, id_: str, payload: Any, *, wait: bool = False) -> Request:
    return Request(f"/api/actors/{target}/messages", {"messageId": id_, "payload": payload}, wait)


@dataclass(frozen=True)
class Bank:
    """Where clients send what they ask for: mail goes to a broker, if the host has none of its own."""

    session: aiohttp.ClientSession
    url: str
    faulty: bool
    broker: MessageQueue | None


async def ask(bank: Bank, request: Request) -> bool:
    """Whether it was acknowledged. Raises what `LOST` names, and AssertionError for any refusal."""
    if bank.broker and request.path == MAIL:
        letter = request.body
        mail = QueueMessage(
            body=letter["body"], message_id=letter["messageId"], session_id=letter["sessionId"]
        )
        try:
            await bank.broker.send("actors", [mail])
        except UnavailableError:
            return False
        return True
    headers = {"Prefer": "wait=1"} if request.wait else {}
    async with bank.session.post(bank.url + request.path, json=request.body, headers=headers) as response:
        answer = await response.text()
    if bank.faulty and response.status == 503:
        return False
    assert response.status in {200, 201, 202}, f"{request} was answered {response.status}: {answer}"
    return True


async def client(bank: Bank, book: Book, prefix: str) -> None:
    """Ask for one thing after the other, some of it twice, until the host dies."""
    for request in requests(book, prefix):
        again = [ask(bank, request) for _ in range(2 if random.random() < 0.1 else 1)]
        answers = await asyncio.gather(*again, return_exceptions=True)
        failures = [answer for answer in answers if isinstance(answer, BaseException)]
        if refused := next((failure for failure in failures if not isinstance(failure, LOST)), None):
            raise refused
        if True in answers:
            book.acknowledged += 1
        else:
            book.open.append(request)
            book.unanswered += 1
        if failures:
            return
        await asyncio.sleep(PACE)


async def attack(host: Host, book: Book, name: str, *, faulty: bool, services: Azure | None) -> None:
    """Use the host from several clients for a while, and kill it meanwhile, and maybe a service before."""
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=20)) as session:
        broker = services and services.broker
        bank = Bank(session, host.url, faulty or services is not None, broker)
        clients = [asyncio.create_task(client(bank, book, f"{name}-{number}")) for number in range(CLIENTS)]
        if services:
            await services.torment()
        await asyncio.sleep(random.uniform(0.05, 1.0))
        await host.end(signal.SIGKILL)
        await asyncio.gather(*clients)


async def insist(host: Host, book: Book, services: Azure | None, patience: float) -> None:
    """Ask again for what was never acknowledged."""
    deadline = time.monotonic() + patience
    async with aiohttp.ClientSession() as session:
        bank = Bank(session, host.url, faulty=True, broker=services and services.broker)
        while book.open and time.monotonic() < deadline:
            request = book.open.pop()
            if not await ask(bank, request):
                book.open.append(request)


async def bank_rounds(
    rounds: int,
    folder: Path,
    *,
    seed: int | None = None,
    faulty: bool = False,
    on_azure: bool = False,
    progress: bool = False,
) -> dict[str, Any]:
    """Run the rounds in `folder` and return the figures; `wrong` is empty when all is as it must be.

    `faulty` has the ports misbehave, `on_azure` has services do so that are killed as well.
    """
    random.seed(seed)
    book = Book()
    host = Host(HERE / "bank", folder / "data", folder / "host.log")
    patience = PATIENCE + rounds
    async with AsyncExitStack() as stack:
        services = await stack.enter_async_context(azure(folder, QUEUES, faulty=True)) if on_azure else None
        await stack.enter_async_context(host)
        settings = {"LOOM_DATA": str(folder / "data"), **(services.settings if services else {})}
        for number in range(rounds):
            faults = {"LOOM_CRASH_FAULTS": str(random.randrange(1, 2**32))} if faulty else {}
            await host.start(settings | faults)
            await attack(host, book, f"r{number}", faulty=faulty, services=services)
            if progress:
                sys.stderr.write(f"\rround {number + 1}/{rounds}: {book.acknowledged} requests acknowledged")
        if services:
            await services.calm()
        await host.start(settings)
        await insist(host, book, services, patience)
        wrong = await audit(host.url, book, folder / "data" / "tally.txt", patience)
    return {
        "rounds": rounds,
        "acknowledged": book.acknowledged,
        "asked again": book.unanswered,
        "orders": sum(map(len, book.seen.values())),
        "transfers": len(book.transfers),
        "wrong": [f"{request} was never acknowledged" for request in book.open] + wrong,
    }

"""The audit after the rounds: every order once, every cent there, nobody stuck, every journal whole."""

import asyncio
import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

import aiohttp

from loom_core.patches import apply

OPENING = 100_00
ANSWERED = 60.0
"""Seconds within which every question is answered, also by a host that often says 503."""
TYPES = ("Account", "Transfer", "Ledger", "Family", "Child", "Waiter", "Alarm")
INSTANCES = "/runtime/webhooks/durabletask/instances"


class Expected(Protocol):
    @property
    def seen(self) -> dict[str, set[str]]: ...
    @property
    def transfers(self) -> set[str]: ...
    @property
    def deposited(self) -> int: ...


async def audit(url: str, book: Expected, tally: Path, patience: float) -> list[str]:
    """Wait until nothing is left to do, then say what is wrong."""
    async with aiohttp.ClientSession() as session:
        auditor = _Auditor(session, url)
        await auditor.quiet(book, tally, time.monotonic() + patience)
        actors = {name: await auditor.get(f"/api/actors/{name}") async for name in auditor.actors()}
        wrong = [*_ledgers(book, actors), *_money(book, actors), *_stuck(actors), *_tallied(book, tally)]
        wrong += await auditor.running()
        returned = sum(actor["state"].get("returned", 0) for actor in _of("Transfer", actors))
        wrong += await auditor.dead_letters(returned)
        for name, actor in actors.items():
            wrong += await auditor.journal(name, actor)
    return wrong


class _Auditor:
    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session, self._url = session, url

    async def text(self, path: str) -> str:
        """Ask until it is answered: with faults, some answers are 503, some streams break off, and what is
        not in the store yet cannot be asked for (422)."""
        deadline = time.monotonic() + ANSWERED
        while True:
            assert time.monotonic() < deadline, f"{path} was not answered"
            with suppress(aiohttp.ClientPayloadError):
                async with self._session.get(self._url + path) as response:
                    answer = await response.text()
                if response.status in {200, 202}:
                    return answer
                assert response.status in {422, 503}, f"{path}: {response.status} {answer}"
            await asyncio.sleep(0.05)

    async def get(self, path: str) -> Any:
        return json.loads(await self.text(path))

    async def quiet(self, book: Expected, tally: Path, deadline: float) -> None:
        """Return when all has been seen and nothing runs, or at the deadline."""
        while time.monotonic() < deadline:
            ledgers = {name: await self.get(f"/api/actors/{name}") for name in book.seen}
            if not [*_ledgers(book, ledgers), *_tallied(book, tally)] and not await self.running():
                return
            await asyncio.sleep(0.2)

    async def running(self) -> list[str]:
        found = await self.get(
            f"{INSTANCES}?runtimeStatus=Running,Pending,Suspended,Failed,Terminated&top=100"
        )
        return [f"{one['instanceId']} is {one['runtimeStatus']}: {one.get('output')}" for one in found][:5]

    async def actors(self) -> AsyncIterator[str]:
        for kind in TYPES:
            after: str | None = ""
            while after is not None:
                page = await self.get(f"/api/actors/{kind}?limit=1000" + (f"&after={after}" if after else ""))
                for name in page["actors"]:
                    yield name
                after = page["next"]

    async def dead_letters(self, returned: int) -> list[str]:
        """What closed accounts were sent, and nothing else, was refused, once each."""
        letters: list[Any] = []
        after: str | None = ""
        while after is not None:
            page = await self.get(f"/api/deadletters?limit=1000&after={after}")
            letters += page["deadLetters"]
            after = page["next"]
        refused = [letter for letter in letters if letter["actorId"].startswith("Account/closed")]
        wrong = [f"a dead letter: {letter}" for letter in letters if letter not in refused][:5]
        if len(refused) != returned:
            wrong.append(f"closed accounts refused {len(refused)} transfers and {returned} were returned")
        return wrong

    async def journal(self, name: str, actor: dict[str, Any]) -> list[str]:
        """Its entries are all there, and make the state that the actor has."""
        then = await self.get(f"/api/actors/{name}/state?at={actor['seq']}")
        entries = [json.loads(line) for line in (await self.text(f"/api/actors/{name}/export")).splitlines()]
        state: Any = None
        for entry in entries:
            if entry["type"] == "state_patches":
                state = apply(state, entry["patches"])
        wrong: list[str] = []
        if [entry["seq"] for entry in entries] != list(range(1, actor["seq"] + 1)):
            wrong.append(f"the journal of {name} has gaps")
        if not state == then["state"] == actor["state"]:
            wrong.append(f"the journal of {name} does not lead to its state")
        return wrong


def _of(kind: str, actors: dict[str, Any]) -> list[Any]:
    return [actor for name, actor in actors.items() if name.startswith(f"{kind}/")]


def _ledgers(book: Expected, actors: dict[str, Any]) -> Iterator[str]:
    for name, expected in book.seen.items():
        state = actors[name]["state"] if name in actors else {"seen": {}, "twice": []}
        seen = set(state["seen"])
        for words, ids in (
            ("never saw", expected - seen),
            ("saw twice", state["twice"]),
            ("knows of", seen - expected),
        ):
            if ids:
                yield f"{name} {words} {len(ids)}: {sorted(ids)[:5]}"


def _money(book: Expected, actors: dict[str, Any]) -> Iterator[str]:
    accounts = [actor["state"]["cents"] for actor in _of("Account", actors) if actor["state"]]
    opened = OPENING * len(accounts)
    if sum(accounts) != opened + book.deposited:
        yield f"accounts have {sum(accounts)} cents, of {opened} and {book.deposited} deposited"


def _stuck(actors: dict[str, Any]) -> Iterator[str]:
    for name, actor in actors.items():
        about = (actor["status"], actor["mailbox"], actor["events"])
        if about != ("idle", 0, 0):
            yield f"{name} is {about[0]} with {about[1]} messages and {about[2]} events"


def _tallied(book: Expected, tally: Path) -> Iterator[str]:
    """Every message to the queue is there under one number; a crash may have it delivered again."""
    lines = tally.read_text(encoding="utf-8").splitlines() if tally.exists() else []
    stored = {tuple(line.split(maxsplit=2)) for line in lines}
    counts = Counter(json.loads(body)["payload"] for _, _, body in stored)
    if missing := book.transfers - counts.keys():
        yield f"the queue never had {len(missing)}: {sorted(missing)[:5]}"
    if twice := [id_ for id_, number in counts.items() if number > 1]:
        yield f"the queue had {len(twice)} twice: {twice[:5]}"

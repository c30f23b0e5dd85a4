"""Kill the host at random moments while clients use it; check that what it acknowledged survives.

`python -m tests.crash.rounds --rounds 1000`. Each round starts the host, lets clients start runs, signal
entities and send mailbox messages, and ends it with SIGKILL. In the end every acknowledged run must have
finished with the right result, every counter must hold each acknowledged signal exactly once, and every
acknowledged message must have reached its entity. The rounds over actors are in bank_rounds.py.
"""

import argparse
import asyncio
import collections
import json
import os
import random
import signal
import sys
import tempfile
import time
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp

from tests.crash.bank_rounds import bank_rounds
from tests.crash.host import LOST, Host

HERE = Path(__file__).parent
WEBHOOKS = "/runtime/webhooks/durabletask"


@dataclass
class Ledger:
    """What the host has acknowledged, and what it may have taken without saying so."""

    signals: collections.Counter[str] = field(default_factory=collections.Counter)
    unknown: collections.Counter[str] = field(default_factory=collections.Counter)
    runs: dict[str, Any] = field(default_factory=dict)
    mail: dict[str, list[str]] = field(default_factory=lambda: collections.defaultdict(list))
    maybe_runs: int = 0


async def post(session: aiohttp.ClientSession, url: str, body: object) -> int:
    async with session.post(url, json=body) as response:
        await response.read()
        return response.status


async def send_signals(session: aiohttp.ClientSession, url: str, ledger: Ledger) -> None:
    while True:
        key = f"c{random.randrange(20)}"
        try:
            status = await post(session, f"{url}{WEBHOOKS}/entities/counter/{key}?op=add", 1)
        except LOST:
            ledger.unknown[key] += 1
            return
        assert status == 202, status
        ledger.signals[key] += 1


async def start_runs(session: aiohttp.ClientSession, url: str, ledger: Ledger, prefix: str) -> None:
    for number in range(1_000_000):
        kind = random.choice(["parent", "parent", "sleeper"])
        size: float = random.randrange(1, 5) if kind == "parent" else random.uniform(0.1, 3.0)
        run = f"{prefix}-{number}"
        try:
            status = await post(session, f"{url}{WEBHOOKS}/orchestrators/{kind}/{run}", size)
        except LOST:
            ledger.maybe_runs += 1
            return
        assert status == 202, status
        ledger.runs[run] = sum(2 * i for i in range(int(size))) if kind == "parent" else "awake"
        await asyncio.sleep(0.02)


async def send_mail(session: aiohttp.ClientSession, url: str, ledger: Ledger, prefix: str) -> None:
    for number in range(1_000_000):
        box, message = f"box{random.randrange(5)}", f"{prefix}-{number}"
        letter = {"body": message, "messageId": message, "sessionId": box}
        try:
            status = await post(session, f"{url}/admin/queues/mail/messages", letter)
        except LOST:
            return
        assert status in {200, 201, 202}, status
        ledger.mail[box].append(message)
        await asyncio.sleep(0.01)


async def attack(url: str, ledger: Ledger, round_number: int, kill: asyncio.Event) -> None:
    """Use the host from several clients until it dies."""
    timeout = aiohttp.ClientTimeout(total=20)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        clients = [asyncio.create_task(send_signals(session, url, ledger)) for _ in range(6)]
        clients += [
            asyncio.create_task(start_runs(session, url, ledger, f"r{round_number}-{n}")) for n in range(2)
        ]
        clients.append(asyncio.create_task(send_mail(session, url, ledger, f"m{round_number}")))
        await kill.wait()
        await asyncio.gather(*clients)


async def spot_check(url: str, ledger: Ledger, recent: list[str]) -> None:
    """Right after a restart: what was acknowledged last is there."""
    async with aiohttp.ClientSession() as session:
        for run in recent:
            async with session.get(f"{url}{WEBHOOKS}/instances/{run}") as response:
                assert response.status != 404, f"{run} was acknowledged and is lost"


async def settle(url: str, ledger: Ledger, patience: float) -> dict[str, Any]:
    """Wait until nothing is left to do, then say what is wrong (nothing, one hopes)."""
    wrong: list[str] = []
    deadline = time.monotonic() + patience
    async with aiohttp.ClientSession() as session:
        for run, expected in ledger.runs.items():
            document = await finished(session, url, run, deadline)
            if document.get("runtimeStatus") != "Completed" or document.get("output") != expected:
                wrong.append(f"{run}: {json.dumps(document)[:200]} instead of {expected!r}")
        for box, messages in ledger.mail.items():
            missing = set(messages)
            while missing and time.monotonic() < deadline:
                missing = set(messages) - set(await state(session, url, "inbox", box) or [])
                await asyncio.sleep(0.05)
            wrong += [f"{box} never received {message}" for message in sorted(missing)[:5]]
        for key, count in ledger.signals.items():
            total = await state(session, url, "counter", key) or 0
            if not count <= total <= count + ledger.unknown[key]:
                wrong.append(f"counter {key} is {total}; acknowledged {count}, unknown {ledger.unknown[key]}")
    return {
        "runs": len(ledger.runs),
        "signals": ledger.signals.total(),
        "messages": sum(map(len, ledger.mail.values())),
        "unknown": ledger.unknown.total() + ledger.maybe_runs,
        "wrong": wrong,
    }


async def finished(session: aiohttp.ClientSession, url: str, run: str, deadline: float) -> dict[str, Any]:
    while True:
        async with session.get(f"{url}{WEBHOOKS}/instances/{run}") as response:
            if response.status == 404:
                return {"runtimeStatus": "lost"}
            document = await response.json()
        if response.status == 200 or time.monotonic() > deadline:
            return document
        await asyncio.sleep(0.05)


async def state(session: aiohttp.ClientSession, url: str, entity: str, key: str) -> Any:
    async with session.get(f"{url}{WEBHOOKS}/entities/{entity}/{key}") as response:
        return await response.json() if response.status == 200 else None


async def crash_rounds(
    rounds: int, folder: Path, *, seed: int | None = None, progress: bool = False
) -> dict[str, Any]:
    """Run the rounds in `folder` and return the figures; `wrong` is empty when nothing was lost."""
    random.seed(seed)
    ledger = Ledger()
    host = Host(HERE / "app", folder / "data", folder / "host.log")
    recent: list[str] = []
    async with host:
        for number in range(rounds):
            before = set(ledger.runs)
            await host.start()
            await spot_check(host.url, ledger, recent)
            kill = asyncio.Event()
            clients = asyncio.create_task(attack(host.url, ledger, number, kill))
            await asyncio.sleep(random.uniform(0.05, 1.2))
            await host.end(signal.SIGKILL)
            kill.set()
            await clients
            recent = sorted(set(ledger.runs) - before)[-20:]
            if progress:
                sys.stderr.write(f"\rround {number + 1}/{rounds}: {len(ledger.runs)} runs, "
                                 f"{ledger.signals.total()} signals acknowledged")  # fmt: skip
        await host.start()
        report = await settle(host.url, ledger, patience=60 + rounds)
    return {"rounds": rounds, **report}


def main() -> None:
    kinds = {
        "engine": crash_rounds,
        "bank": bank_rounds,
        "faults": partial(bank_rounds, faulty=True),
    }
    services = {"azure": partial(bank_rounds, on_azure=True)}
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=50, help="of each kind")
    parser.add_argument("--only", choices=kinds, help="the engine, a bank of actors, or that with faults")
    parser.add_argument(
        "--store", choices=["sqlite", "azure"], default="sqlite", help="what is under the bank"
    )
    parser.add_argument("--seed", type=int)
    options = parser.parse_args()
    seed = options.seed if options.seed is not None else int.from_bytes(os.urandom(4))
    is_wrong = False
    if options.store == "azure":
        kinds = services
    for kind in [options.only] if options.only else kinds:
        with tempfile.TemporaryDirectory() as folder:
            report = asyncio.run(kinds[kind](options.rounds, Path(folder), seed=seed, progress=True))
        print(f"\n{kind}, seed {seed}: {json.dumps(report)}")
        is_wrong |= bool(report["wrong"])
    sys.exit(is_wrong)


if __name__ == "__main__":
    main()

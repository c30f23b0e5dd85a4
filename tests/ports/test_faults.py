"""The faults that other tests rely on are those that they say."""

import asyncio
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loom_core.adapters.memory import (
    MemoryBlobStore,
    MemoryLockManager,
    MemoryMessageQueue,
    MemoryStateStore,
)
from loom_core.adapters.memory.queue import QueueRules
from loom_core.errors import ConflictError, UnavailableError
from loom_core.ports.queue import QueueMessage
from loom_core.ports.state import Put
from tests.faults import KINDS, Faults
from tests.ports.clock import Clock

MESSAGE = QueueMessage(body=1, message_id="m")


@pytest.fixture
def faults():
    return Faults.none()


async def test_without_a_fault_a_wrapped_port_is_the_port(faults):
    store = faults.wrap(MemoryStateStore())
    (etag,) = await store.write("p", [Put("x", {"n": 1}, if_absent=True)])

    assert (await store.read("p", "x")).etag == etag
    with pytest.raises(ConflictError):
        await store.write("p", [Put("x", {}, if_absent=True)])
    assert faults.log == []


async def test_a_call_that_fails_before_never_happened_and_one_whose_answer_is_lost_did(faults):
    store = faults.wrap(MemoryStateStore())

    for kind, happened in (("before", False), ("lost", True)):
        faults.next(kind, "write")
        with pytest.raises(UnavailableError):
            await store.write("p", [Put("x", {})])
        assert (await store.read("p", "x") is not None) == happened
    assert faults.log == [("before", "write"), ("lost", "write")]


async def test_a_conflict_happens_to_conditional_calls_only_and_changes_nothing(faults):
    blobs = faults.wrap(MemoryBlobStore())
    faults.next("conflict", "put")

    with pytest.raises(AssertionError, match="conflict cannot happen to this put"):
        await blobs.put("x", b"1")
    with pytest.raises(ConflictError):
        await blobs.put("x", b"1", if_absent=True)
    assert await blobs.head("x") is None


async def test_a_message_that_is_sent_twice_comes_once_and_one_completed_may_come_again(faults):
    queue = faults.wrap(MemoryMessageQueue())
    faults.next("duplicate", "send")
    await queue.send("work", [MESSAGE])
    (only,) = await queue.receive("work", limit=5)

    faults.next("duplicate", "settle")
    await queue.settle(only, "complete")

    (again,) = await queue.receive("work", limit=5)
    assert (again.message.body, again.attempts) == (1, 2)


async def test_a_lock_that_is_lost_by_a_fault_is_lost(faults):
    locks = faults.wrap(MemoryLockManager())
    lock = await locks.acquire("x", 15)
    faults.next("conflict", "extend")

    with pytest.raises(ConflictError):
        await locks.extend(lock)

    assert (await locks.acquire("x", 15)).token > lock.token


async def add_once(store, faults, name, amount):
    """What every writer does here: try, and after an error look whether it has happened."""
    while True:
        try:
            if await store.read("p", name):
                return
            total = await store.read("p", "total")
            old = total.body["n"] if total else 0
            guard = {"if_match": total.etag} if total else {"if_absent": True}
            await store.write(
                "p", [Put("total", {"n": old + amount}, **guard), Put(name, {}, if_absent=True)]
            )
        except (UnavailableError, ConflictError):
            continue
        return


@given(seed=st.integers(0, 2**32))
@settings(max_examples=30, deadline=None)
async def test_who_looks_before_trying_again_adds_exactly_once_whatever_goes_wrong(seed):
    faults = Faults(seed, dict.fromkeys(KINDS, 0.2))
    store = faults.wrap(MemoryStateStore())

    await asyncio.gather(*(add_once(store, faults, f"add-{n}", n) for n in range(20)))

    with faults.calm():
        assert (await store.read("p", "total")).body == {"n": sum(range(20))}, faults.log


async def insist(call, *args, **kwargs):
    while True:
        try:
            return await call(*args, **kwargs)
        except UnavailableError:
            continue


@given(seed=st.integers(0, 2**32))
@settings(max_examples=30, deadline=None)
async def test_who_sends_again_and_knows_what_it_has_seen_gets_all_once_and_in_order(seed):
    faults, clock = Faults(seed, dict.fromkeys(KINDS, 0.2)), Clock()
    often = QueueRules(max_delivery_count=10_000)
    queue = faults.wrap(MemoryMessageQueue(sessions=["mail"], rules=often, clock=clock))
    for n in range(20):
        await insist(queue.send, "mail", [QueueMessage(body=n, message_id=f"{n}", session_id="a")])

    seen = []
    while await insist(queue.peek, "mail"):
        found = await insist(queue.receive, "mail", limit=4)
        for delivery in found:
            if delivery.message.body not in seen:
                seen.append(delivery.message.body)
            with suppress(UnavailableError, ConflictError):
                await queue.settle(delivery, "complete")
        if not found:  # an answer was lost, and with it the lock
            await clock.advance(61)

    assert seen == [*range(20)], faults.log


async def run(seed):
    faults = Faults(seed, dict.fromkeys(KINDS, 0.3))
    store, queue = faults.wrap(MemoryStateStore()), faults.wrap(MemoryMessageQueue())
    for n in range(50):
        for call in (store.write("p", [Put(f"{n}", {}, if_absent=True)]), queue.send("work", [MESSAGE])):
            try:
                await call
            except (UnavailableError, ConflictError):
                continue
    with faults.calm():
        before = len(faults.log)
        for n in range(50):
            await store.read("p", f"{n}")
        assert len(faults.log) == before
    return faults.log


async def test_a_seed_gives_the_same_faults_again_and_another_seed_others():
    logs = [await run(1), await run(1), await run(2)]

    assert logs[0] == logs[1] != logs[2]
    assert {kind for kind, _ in logs[0]} == set(KINDS)

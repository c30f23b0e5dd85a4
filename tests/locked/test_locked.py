"""A lock is held as long as the block under it works, and the block works as long as the lock is held."""

import asyncio

import pytest

from loom_core.adapters.memory import MemoryLockManager
from loom_core.errors import ConflictError, UnavailableError
from loom_core.locked import locked
from tests.locked.virtual import run


class Locks:
    """A lock manager on the loop's time; `fault` may raise before an extension, or do worse."""

    def __init__(self):
        self.port = MemoryLockManager(lambda: asyncio.get_running_loop().time())
        self.extended = []

    async def fault(self, lock):
        pass

    async def acquire(self, name, ttl):
        return await self.port.acquire(name, ttl)

    async def extend(self, lock):
        self.extended.append(asyncio.get_running_loop().time())
        await self.fault(lock)
        return await self.port.extend(lock)

    async def release(self, lock):
        await self.port.release(lock)


def virtual(test):
    def in_no_time():
        run(test())

    in_no_time.__name__, in_no_time.__doc__ = test.__name__, test.__doc__
    return in_no_time


def now():
    return asyncio.get_running_loop().time()


@virtual
async def test_a_lock_lasts_as_long_as_the_work_and_no_longer():
    locks = Locks()
    async with locked(locks, "x", 60) as lock:
        await asyncio.sleep(190)
        assert await locks.acquire("x", 60) is None
        assert lock.token == 1
    await asyncio.sleep(100)

    assert locks.extended == [20 * n for n in range(1, 10)]
    assert (await locks.acquire("x", 60)).token == 2


@virtual
async def test_who_finds_it_locked_gets_nothing():
    locks = Locks()
    async with locked(locks, "x") as first, locked(locks, "x") as second:
        assert (first.token, second) == (1, None)

    async with locked(locks, "x") as third:
        assert third.token == 2


@virtual
async def test_work_whose_lock_is_lost_is_cancelled_at_the_next_beat():
    locks = Locks()

    async def taken(lock):
        await locks.port.release(lock)
        await locks.port.acquire("x", 60)

    locks.fault = taken
    with pytest.raises(ConflictError, match="the lock on x was lost"):
        async with locked(locks, "x", 60):
            await asyncio.sleep(1000)

    assert now() == 20
    assert asyncio.current_task().cancelling() == 0
    assert await locks.acquire("x", 60) is None  # the one who has it keeps it


@virtual
async def test_work_goes_on_over_an_outage_that_ends_in_time():
    locks = Locks()

    async def out(lock):
        if now() < 55:
            raise UnavailableError("out")

    locks.fault = out
    async with locked(locks, "x", 60):
        await asyncio.sleep(100)
        assert await locks.acquire("x", 60) is None


@pytest.mark.parametrize("how", ["fails", "hangs"])
def test_work_is_cancelled_before_a_lock_that_cannot_be_extended_runs_out(how):
    async def work():
        locks = Locks()

        async def out(lock):
            if how == "hangs":
                await asyncio.Event().wait()
            raise UnavailableError("out")

        locks.fault = out
        with pytest.raises(ConflictError):
            async with locked(locks, "x", 60):
                await asyncio.sleep(1000)
        assert now() == 60

    run(work())


@virtual
async def test_who_is_cancelled_from_outside_is_cancelled_and_gives_the_lock_up():
    locks = Locks()

    async def work():
        async with locked(locks, "x", 60):
            await asyncio.sleep(1000)

    task = asyncio.create_task(work())
    await asyncio.sleep(30)
    task.cancel("enough")
    with pytest.raises(asyncio.CancelledError, match="enough"):
        await task

    assert await locks.acquire("x", 60) is not None


@virtual
async def test_what_the_work_raises_comes_out_as_it_is():
    locks = Locks()
    for error in (ValueError("mine"), TimeoutError("mine"), ConflictError("mine")):
        with pytest.raises(type(error), match="mine"):
            async with locked(locks, "x", 60):
                raise error

    async with locked(locks, "x", 60) as lock:
        assert lock is not None


@virtual
async def test_work_that_does_not_heed_the_cancellation_is_a_conflict_all_the_same():
    locks = Locks()

    async def lost(lock):
        raise ConflictError("lost")

    locks.fault = lost

    async def heedless():
        async with locked(locks, "x", 60):
            with pytest.raises(asyncio.CancelledError):
                await asyncio.sleep(1000)
            await asyncio.sleep(100)

    with pytest.raises(ConflictError, match="the lock on x was lost"):
        await heedless()


@virtual
async def test_a_lock_that_cannot_be_given_up_does_not_undo_the_work():
    locks = Locks()

    async def out(lock):
        raise UnavailableError("out")

    locks.release = out
    async with locked(locks, "x", 60) as lock:
        assert lock is not None


@virtual
async def test_a_defect_in_the_heartbeat_comes_out():
    locks = Locks()

    async def broken(lock):
        raise ZeroDivisionError

    locks.fault = broken
    with pytest.raises(ZeroDivisionError):
        async with locked(locks, "x", 60):
            await asyncio.sleep(30)

"""What every LockManager does, as blob leases can do it; a new adapter adds one line to MANAGERS."""

import asyncio

import pytest

from loom_core.adapters.azure_blob import BlobLeaseLockManager
from loom_core.adapters.memory import MemoryLockManager
from loom_core.adapters.sqlite import SqliteLockManager
from loom_core.errors import ConflictError, InvalidError
from tests.ports.clock import Clock

MANAGERS = {
    "memory": lambda folder, clock, service: MemoryLockManager(clock),
    "sqlite": lambda folder, clock, service: SqliteLockManager(folder / "locks.db", clock=clock),
    "azure": lambda folder, clock, service: BlobLeaseLockManager(
        service.connection, container=service.new_container(), clock=clock
    ),
}


@pytest.fixture(params=MANAGERS)
def kind(request):
    return request.param


@pytest.fixture
def service(kind, request):
    return request.getfixturevalue("azurite") if kind == "azure" else None


@pytest.fixture
def clock(service):
    return service.new_clock() if service else Clock()


@pytest.fixture
async def locks(kind, service, tmp_path, clock):
    locks = MANAGERS[kind](tmp_path, clock, service)
    yield locks
    if hasattr(locks, "aclose"):
        await locks.aclose()


async def test_a_lock_keeps_everybody_else_out_until_it_is_released(locks, clock):
    lock = await locks.acquire("rooms/leader", 30)

    assert (lock.name, lock.ttl) == ("rooms/leader", 30)
    assert lock.until == pytest.approx(clock() + 30, abs=5)
    assert await locks.acquire("rooms/leader", 30) is None
    assert await locks.acquire("rooms/other", 30) is not None
    await locks.release(lock)
    assert await locks.acquire("rooms/leader", 30) is not None


async def test_of_many_who_want_it_exactly_one_gets_it(locks):
    wanted = await asyncio.gather(*(locks.acquire("x", 15) for _ in range(16)))

    assert len([lock for lock in wanted if lock]) == 1


async def test_a_lock_ends_with_its_time(locks, clock):
    lost = await locks.acquire("x", 15)
    await clock.advance(16)

    with pytest.raises(ConflictError):
        await locks.extend(lost)
    assert await locks.acquire("x", 15) is not None


async def test_a_lost_lock_does_nothing_to_the_one_that_came_after_it(locks, clock):
    lost = await locks.acquire("x", 15)
    await clock.advance(16)
    held = await locks.acquire("x", 15)

    with pytest.raises(ConflictError):
        await locks.extend(lost)
    await locks.release(lost)

    assert await locks.acquire("x", 15) is None
    assert (await locks.extend(held)).token == held.token


async def test_a_released_lock_is_lost(locks):
    lock = await locks.acquire("x", 15)
    await locks.release(lock)
    await locks.release(lock)

    with pytest.raises(ConflictError):
        await locks.extend(lock)


async def test_a_lock_that_is_extended_lasts_and_keeps_its_token(locks, clock):
    lock = first = await locks.acquire("x", 15)
    for _ in range(3):
        await clock.advance(10)
        lock = await locks.extend(lock)
        assert await locks.acquire("x", 15) is None

    assert lock.token == first.token
    assert lock.until == pytest.approx(clock() + 15, abs=5)


async def test_the_first_value_of_a_lock_still_extends_and_releases_it(locks, clock):
    lock = await locks.acquire("x", 15)
    await locks.extend(lock)
    await locks.extend(lock)

    await locks.release(lock)

    assert await locks.acquire("x", 15) is not None


async def test_tokens_only_grow_over_release_and_expiry(locks, clock):
    tokens = []
    for turn in range(6):
        lock = await locks.acquire("x", 15)
        tokens.append(lock.token)
        if turn % 2:
            await locks.release(lock)
        else:
            await clock.advance(16)
        if turn == 3:
            await locks.acquire("y", 15)

    assert tokens == sorted(set(tokens))


@pytest.mark.parametrize("ttl", [0, -1, 14, 61])
async def test_a_time_that_no_lease_can_have_is_refused(locks, ttl):
    with pytest.raises(InvalidError):
        await locks.acquire("x", ttl)


@pytest.mark.parametrize("name", ["", "/", "../x", "a//b", ".hidden", "a b", "ä", "x" * 201])
async def test_bad_names_are_refused(locks, name):
    with pytest.raises(InvalidError):
        await locks.acquire(name, 15)

"""Modules in the sandbox: what they give, what they may not, how they are kept."""

import asyncio
import hashlib
import json
import threading

import pytest

from loom_core.adapters.memory import MemoryBlobStore
from loom_core.errors import CancelledError, IntegrityError, NotFoundError, SandboxError
from loom_core.sandbox.sandbox import Sandbox
from tests.sandbox import guests


class Guests:
    """A sandbox and its modules, by name."""

    def __init__(self, *definitions, blobs, cache=None):
        self._sandbox = Sandbox(blobs, cache)
        self._definitions = {definition.name: definition for definition in definitions}

    async def run(self, value, name="guest", stop=None):
        pinned = self._definitions[name]
        data = json.dumps(value).encode()
        return await self._sandbox.run(
            pinned.digest, pinned.source, pinned.limits, data, stop or threading.Event()
        )


async def app(*modules, blobs=None, cache=None, **fields):
    """A sandbox whose modules are in its store, named guest, guest1, and so on."""
    blobs = blobs or MemoryBlobStore()
    definitions = []
    for index, wat in enumerate(modules):
        data = guests.build(wat)
        definitions.append(guests.define(data, name="guest" if index == 0 else f"guest{index}", **fields))
        await blobs.put(f"modules/{definitions[-1].digest}.wasm", data)
    return Guests(*definitions, blobs=blobs, cache=cache)


async def run(loaded, value, name="guest"):
    return await loaded.run(value, name)


async def test_a_module_that_computes_ends_when_it_is_asked_to_stop():
    loaded, stop = await app(guests.SPIN, limits={"maxExecutionMs": 300_000}), threading.Event()
    call = asyncio.create_task(loaded.run(None, stop=stop))
    await asyncio.sleep(0)

    stop.set()

    with pytest.raises(CancelledError, match="asked to stop"):
        await call


async def test_initialize_runs_before_the_first_call():
    assert await run(await app(guests.INITIALIZED), None) == 7


async def test_every_call_has_an_instance_of_its_own():
    loaded = await app(guests.COUNTS)

    assert [await run(loaded, None) for _ in range(3)] == [1, 1, 1]


FAILURES = {
    "loops for ever": (guests.SPIN, "longer than its limit of 200 ms"),
    "loops while it starts": (guests.SPIN_AT_START, "longer than its limit of 200 ms"),
    "loops in _initialize": (guests.SPIN_IN_INITIALIZE, "longer than its limit of 200 ms"),
    "wants 10 GB": (guests.GREEDY, "get no more memory; its limit is 16 MB"),
    "wants 4 GB to start": (guests.HUGE_AT_START, "cannot be started: memory minimum size of 65536 pages"),
    "wants a large table": (guests.HUGE_TABLE, "cannot be started: table minimum size of 1000000"),
    "recurses": (guests.RECURSE, "stack overflow"),
    "panics": (guests.UNREACHABLE, "unreachable"),
    "reads outside": (guests.OUT_OF_BOUNDS, "memory out of bounds"),
    "divides by zero": (guests.DIVIDE_BY_ZERO, "integer division by zero"),
    "points outside": (guests.POINTS_OUTSIDE, "points at 100 bytes at 4294967288"),
    "points past the end": (guests.POINTS_PAST_THE_END, "points at 2 bytes"),
    "allocates outside": (guests.ALLOC_OUTSIDE, "points at 4 bytes at 4294967292"),
    "cannot allocate": (guests.ALLOC_FAILS, "out of memory for its input; its limit is 16 MB"),
    "answers at length": (guests.LONG_OUTPUT, "output has 10000000 bytes; its limit is 1048576"),
    "answers nonsense": (guests.text("{nope"), "output is not JSON"),
    "answers nothing": (guests.text(""), "output is not JSON"),
    "answers NaN": (guests.text("NaN"), "output is not JSON"),
    "answers twice": (guests.text("1 2"), "output is not JSON"),
    "answers in great depth": (guests.text("[" * 5000 + "]" * 5000), "output is not JSON"),
    "reports an error": (guests.text('{"code":"bad","message":"no text"}', "1"), 'reports: {"code":"bad"'),
    "has no loom_run": (guests.NO_RUN, "does not export loom_run i32 i32 -> i64"),
    "has no memory": (guests.NO_MEMORY, "does not export memory"),
    "has another loom_run": (guests.WRONG_SIGNATURE, "does not export loom_run"),
    "imports http": (guests.UNGRANTED, "imports loom.http_request, which it has not been granted"),
    "imports WASI": (guests.WASI, "imports wasi_snapshot_preview1.fd_write"),
    "shares memory": (guests.THREADS, "cannot be compiled"),
    "has 64 bit memory": (guests.MEMORY64, "cannot be compiled"),
}


@pytest.mark.parametrize("failure", FAILURES)
async def test_whatever_a_module_does_is_an_error_with_a_reason_and_others_go_on(failure):
    wat, reason = FAILURES[failure]
    loaded = await app(wat, guests.ECHO, limits={"maxExecutionMs": 200})

    for _ in range(2):
        with pytest.raises(SandboxError) as raised:
            await run(loaded, "in")
        assert reason in str(raised.value)
        assert await run(loaded, "in", name="guest1") == "in"


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "not a WebAssembly core module"),
        (b"(module)", "not a WebAssembly core module"),
        (b"\0asm\x0d\0\x01\0", "not a WebAssembly core module"),
        (b"\0asm\x01\0\0\0garbage", "cannot be compiled"),
        (b"\0asm\x01\0\0\0" + b"\0" * (33 << 20), "33554432 are allowed"),
    ],
)
async def test_bytes_that_are_no_module_are_an_error_with_a_reason(data, reason):
    blobs = MemoryBlobStore()
    definition = guests.define(data)
    await blobs.put(f"modules/{definition.digest}.wasm", data)

    with pytest.raises(SandboxError, match=reason):
        await run(Guests(definition, blobs=blobs), None)


async def test_200_concurrent_calls_give_each_its_own_answer():
    loaded = await app(guests.ECHO, guests.UNREACHABLE, guests.COUNTS)

    async def one(n):
        try:
            return await run(
                loaded, {"n": n, "pad": "x" * (n % 7) * 100}, name=("guest", "guest1", "guest2")[n % 3]
            )
        except SandboxError:
            return "failed"

    outputs = await asyncio.gather(*map(one, range(200)))

    for n, output in enumerate(outputs):
        assert output == ({"n": n, "pad": "x" * (n % 7) * 100}, "failed", 1)[n % 3]


async def test_calls_together_stay_within_the_memory_of_the_process():
    loaded = await app(guests.ECHO, limits={"maxMemoryMB": 1024})

    assert await asyncio.gather(*(run(loaded, n) for n in range(8))) == list(range(8))


async def test_a_call_that_was_cancelled_gives_its_memory_back():
    loaded = await app(guests.SPIN, guests.ECHO, limits={"maxMemoryMB": 1024, "maxExecutionMs": 100})
    with pytest.raises(SandboxError):
        await run(loaded, 0)
    call = asyncio.create_task(run(loaded, 0))
    await asyncio.sleep(0)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call

    assert await run(loaded, 1, name="guest1") == 1


async def test_a_module_that_is_not_what_was_pinned_is_refused_until_it_is_published_again():
    blobs = MemoryBlobStore()
    data = guests.build(guests.ECHO)
    definition = guests.define(data)
    name = f"modules/{definition.digest}.wasm"
    await blobs.put(name, guests.build(guests.UNREACHABLE))
    loaded = Guests(definition, blobs=blobs)

    with pytest.raises(IntegrityError, match=definition.digest):
        await run(loaded, 1)
    await blobs.put(name, data)
    assert await run(loaded, 1) == 1


async def test_a_module_that_is_nowhere_is_not_found():
    definition = guests.define(b"never stored")

    with pytest.raises(NotFoundError):
        await run(Guests(definition, blobs=MemoryBlobStore()), 1)


async def test_compiled_code_is_kept_for_the_next_process_and_a_damaged_file_is_replaced(tmp_path):
    cache = tmp_path / "cache"
    blobs = MemoryBlobStore()
    assert await run(await app(guests.ECHO, blobs=blobs, cache=cache), 1) == 1
    (kept,) = cache.iterdir()
    whole = kept.read_bytes()
    assert cache.stat().st_mode & 0o077 == 0

    for damaged in (b"", whole[:-1], whole[:-1] + bytes([whole[-1] ^ 1]), whole[32:], b"\0" * len(whole)):
        kept.write_bytes(damaged)
        assert await run(await app(guests.ECHO, blobs=blobs, cache=cache), 2) == 2
        assert kept.read_bytes()[32:40] == whole[32:40]

    # A file that is whole but of another wasmtime.
    foreign = whole[32:].replace(b"50.0.1", b"49.0.0")
    kept.write_bytes(hashlib.sha256(foreign).digest() + foreign)
    assert await run(await app(guests.ECHO, blobs=blobs, cache=cache), 3) == 3


async def test_compiled_code_is_used_without_the_store(tmp_path):
    await run(await app(guests.ECHO, cache=tmp_path / "cache"), 1)
    definition = guests.define(guests.build(guests.ECHO))
    blobs = MemoryBlobStore()
    await blobs.put(f"modules/{definition.digest}.wasm", b"not what it was")

    assert await run(Guests(definition, blobs=blobs, cache=tmp_path / "cache"), 2) == 2


async def test_a_cache_that_others_can_write_is_not_used(tmp_path, caplog):
    tmp_path.chmod(0o777)

    assert await run(await app(guests.ECHO, cache=tmp_path), 1) == 1
    assert list(tmp_path.iterdir()) == []
    assert "not a directory of this user alone" in caplog.text

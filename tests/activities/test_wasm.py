import asyncio
import hashlib
import json
import subprocess
import sys

import pytest

from loom_core.activities import Activities
from loom_core.adapters.memory import MemoryBlobStore
from loom_core.catalogue.folders import load_modules
from loom_core.errors import IntegrityError, InvalidError, NotFoundError, SandboxError
from tests.activities import guests


async def app(*modules, blobs=None, cache=None, **fields):
    """An app whose modules are in its store, named guest, or by the pairs given."""
    blobs = blobs or MemoryBlobStore()
    definitions = []
    for index, wat in enumerate(modules):
        data = guests.build(wat)
        definitions.append(guests.define(data, name="guest" if index == 0 else f"guest{index}", **fields))
        await blobs.put(f"modules/{definitions[-1].digest}.wasm", data)
    return Activities([], definitions, blobs=blobs, cache=cache)


async def run(activities, value, name="guest"):
    return await activities.run({"activity": name, "input": value, "run": "run-1", "key": "k"})


async def test_a_module_is_given_the_input_and_gives_the_output():
    activities = await app(guests.ECHO)

    for value in (
        None,
        0,
        "ä\u2028\U0001f600",
        [1, {"a": [True, None]}],
        {"deep": {"x": 1.5}},
        "x" * 300_000,
    ):
        output = await run(activities, value)
        assert output == value or output["bytes"] == 300_000


async def test_initialize_runs_before_the_first_call():
    assert await run(await app(guests.INITIALIZED), None) == 7


async def test_every_call_has_an_instance_of_its_own():
    activities = await app(guests.COUNTS)

    assert [await run(activities, None) for _ in range(3)] == [1, 1, 1]


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
    activities = await app(wat, guests.ECHO, limits={"maxExecutionMs": 200})

    for _ in range(2):
        with pytest.raises(SandboxError) as raised:
            await run(activities, "in")
        assert reason in str(raised.value)
        assert await run(activities, "in", name="guest1") == "in"


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
        await run(Activities([], [definition], blobs=blobs), None)


async def test_200_concurrent_calls_give_each_its_own_answer():
    activities = await app(guests.ECHO, guests.UNREACHABLE, guests.COUNTS)

    async def one(n):
        try:
            return await run(
                activities, {"n": n, "pad": "x" * (n % 7) * 100}, name=("guest", "guest1", "guest2")[n % 3]
            )
        except SandboxError:
            return "failed"

    outputs = await asyncio.gather(*map(one, range(200)))

    for n, output in enumerate(outputs):
        assert output == ({"n": n, "pad": "x" * (n % 7) * 100}, "failed", 1)[n % 3]


async def test_calls_together_stay_within_the_memory_of_the_process():
    activities = await app(guests.ECHO, limits={"maxMemoryMB": 1024})

    assert await asyncio.gather(*(run(activities, n) for n in range(8))) == list(range(8))


async def test_a_call_that_was_cancelled_gives_its_memory_back():
    activities = await app(guests.SPIN, guests.ECHO, limits={"maxMemoryMB": 1024, "maxExecutionMs": 100})
    with pytest.raises(SandboxError):
        await run(activities, 0)
    call = asyncio.create_task(run(activities, 0))
    await asyncio.sleep(0)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call

    assert await run(activities, 1, name="guest1") == 1


async def test_input_and_output_are_held_to_their_schemas_with_every_problem_and_path():
    schema = {
        "type": "object",
        "required": ["name"],
        "properties": {
            "name": {},
            "n": {"type": "integer", "minimum": 1},
            "a b": {"items": {"type": "string"}},
        },
        "additionalProperties": False,
    }
    activities = await app(guests.ECHO, input_schema=schema)

    assert await run(activities, {"name": "x", "n": 1}) == {"name": "x", "n": 1}
    with pytest.raises(InvalidError) as raised:
        await run(activities, {"n": "SECRET", "a b": ["x", 1]})
    assert {problem.path for problem in raised.value.problems} == {"$", "$.n", '$["a b"][1]'}
    assert "SECRET" not in str(raised.value)

    activities = await app(guests.ECHO, output_schema=schema)
    with pytest.raises(SandboxError, match=r"output breaks its schema: \$\.n"):
        await run(activities, {"name": "x", "n": 0})


async def test_a_schema_cannot_make_the_host_fetch_anything():
    activities = await app(guests.ECHO, input_schema={"$ref": "http://127.0.0.1:1/schema"})

    with pytest.raises(InvalidError, match="not a usable JSON Schema") as refused:
        await run(activities, {})
    assert "\n" not in str(refused.value)


async def test_a_pattern_that_backtracks_does_not_stall_the_host():
    activities = await app(guests.ECHO, input_schema={"pattern": "^(a+)+$"})

    with pytest.raises(InvalidError):
        await run(activities, "a" * 5_000 + "b")


async def test_input_that_is_not_json_or_too_large_is_invalid():
    activities = await app(guests.ECHO)

    for value in ("\ud800", float("nan"), "x" * (17 << 20)):
        with pytest.raises(InvalidError):
            await run(activities, value)


async def test_a_module_that_is_not_what_was_pinned_is_refused_until_it_is_published_again():
    blobs = MemoryBlobStore()
    data = guests.build(guests.ECHO)
    definition = guests.define(data)
    name = f"modules/{definition.digest}.wasm"
    await blobs.put(name, guests.build(guests.UNREACHABLE))
    activities = Activities([], [definition], blobs=blobs)

    with pytest.raises(IntegrityError, match=definition.digest):
        await run(activities, 1)
    await blobs.put(name, data)
    assert await run(activities, 1) == 1


async def test_a_module_that_is_nowhere_is_not_found():
    definition = guests.define(b"never stored")

    with pytest.raises(NotFoundError):
        await run(Activities([], [definition], blobs=MemoryBlobStore()), 1)


def ship(folder, wat, name="echo", **changes):
    data = guests.build(wat)
    (folder / name).mkdir(parents=True)
    (folder / name / "echo.wasm").write_bytes(data)
    manifest = {
        "name": name,
        "version": "1.0.0",
        "module": "echo.wasm",
        "sha256": hashlib.sha256(data).hexdigest(),
    }
    (folder / name / "manifest.json").write_text(json.dumps(manifest | changes))
    return data


async def test_a_shipped_module_is_published_when_it_is_first_needed(tmp_path):
    data = ship(tmp_path, guests.ECHO, limits={"maxMemoryMB": 8})
    blobs = MemoryBlobStore()
    activities = Activities([], load_modules(tmp_path), blobs=blobs)

    assert await asyncio.gather(*(run(activities, n, name="echo") for n in range(4))) == [0, 1, 2, 3]
    assert (await blobs.get(f"modules/{hashlib.sha256(data).hexdigest()}.wasm")).data == data


async def test_a_shipped_module_that_was_changed_after_loading_is_not_published(tmp_path):
    ship(tmp_path, guests.ECHO)
    blobs = MemoryBlobStore()
    activities = Activities([], load_modules(tmp_path), blobs=blobs)
    (tmp_path / "echo" / "echo.wasm").write_bytes(guests.build(guests.SPIN))

    with pytest.raises(IntegrityError):
        await run(activities, 1, name="echo")
    assert await blobs.list() == []


def test_all_that_is_wrong_with_the_shipped_modules_is_told_at_once(tmp_path):
    ship(tmp_path, guests.ECHO, name="good")
    ship(tmp_path, guests.ECHO, name="tampered", sha256="0" * 64)
    ship(tmp_path, guests.ECHO, name="missing", module="other.wasm")
    ship(tmp_path, guests.ECHO, name="escaping", module="../good/echo.wasm")
    ship(tmp_path, guests.ECHO, name="greedy", limits={"maxMemoryMB": 100_000, "maxCoffee": 1})
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "manifest.json").write_text("{")

    with pytest.raises(InvalidError) as raised:
        load_modules(tmp_path)

    told = str(raised.value)
    assert len(raised.value.problems) == 6
    for words in (
        "$.sha256",
        "other.wasm: No such file",
        "$.module",
        "$.limits.maxMemoryMB",
        "$.limits.maxCoffee",
    ):
        assert words in told
    assert "broken/manifest.json" in told
    assert "good" not in {problem.path.split("/")[-2] for problem in raised.value.problems}


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

    assert await run(Activities([], [definition], blobs=blobs, cache=tmp_path / "cache"), 2) == 2


async def test_a_cache_that_others_can_write_is_not_used(tmp_path, caplog):
    tmp_path.chmod(0o777)

    assert await run(await app(guests.ECHO, cache=tmp_path), 1) == 1
    assert list(tmp_path.iterdir()) == []
    assert "not a directory of this user alone" in caplog.text


def test_activities_cost_no_wasmtime_and_no_jsonschema_until_a_module_runs():
    code = (
        "import sys, loom_core.activities;"
        "print(sorted({'wasmtime', 'jsonschema_rs', 'jsonschema', 'grpc'} & set(sys.modules)))"
    )

    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
        == "[]\n"
    )

import asyncio
import hashlib
import json
import subprocess
import sys

import pytest

from loom_core.activities import Activities
from loom_core.adapters.memory import MemoryBlobStore
from loom_core.catalogue.folders import load_modules
from loom_core.errors import IntegrityError, InvalidError, SandboxError
from tests.sandbox import guests


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


def test_activities_cost_no_wasmtime_and_no_jsonschema_until_a_module_runs():
    code = (
        "import sys, loom_core.activities;"
        "print(sorted({'wasmtime', 'jsonschema_rs', 'jsonschema', 'grpc'} & set(sys.modules)))"
    )

    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
        == "[]\n"
    )

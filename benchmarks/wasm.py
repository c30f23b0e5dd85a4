"""Warm WASM calls: a whole activity call beside the bare runtime."""

import asyncio
import hashlib
import itertools
import time
from pathlib import Path
from typing import Any

from wasmtime import Engine, Linker, Module, Store, wat2wasm

from benchmarks.measure import Figure, Row, Scale, Table, percentile
from loom_core.activities import Activities, Definition
from loom_core.adapters.memory import MemoryBlobStore
from loom_core.wire.json import JsonObject

ECHO = """
(module
  (memory (export "memory") 2)
  (func (export "loom_alloc") (param i32) (result i32) (i32.const 1024))
  (func (export "loom_run") (param $ptr i32) (param $len i32) (result i64)
    (i64.or
      (i64.shl (i64.extend_i32_u (local.get $ptr)) (i64.const 32))
      (i64.extend_i32_u (local.get $len)))))
"""
INPUT = b'{"text":"' + b"x" * 1012 + b'"}'


def measure(scale: Scale, folder: Path) -> Table:
    module = bytes(wat2wasm(ECHO))
    calls = scale.of(2_000)
    rounds = [asyncio.run(_activity(module, folder, calls)) for _ in scale.rounds]
    bare = [_bare(module, calls) for _ in scale.rounds]
    medians = [percentile(each, 50) for each in rounds]
    floor = [percentile(each, 50) for each in bare]
    ratios = [ours / theirs for ours, theirs in zip(medians, floor, strict=True)]
    wasmtime = {"bare wasmtime": Figure.of(floor)}
    return Table(
        "Warm WASM calls",
        "An activity that echoes 1 KB of JSON, one call after the other: schemas, sandbox, limits, a worker "
        "thread. Floor: wasmtime's public API without limits: a fresh instance, the same bytes in and out.",
        (
            Row("one call, median", "ms", Figure.of(medians), 0.2, wasmtime),
            Row("one call, 99 %", "ms", Figure.of(percentile(each, 99) for each in rounds)),
            Row("median by bare wasmtime's", "x", Figure.of(ratios), 1.5),
        ),
    )


async def _activity(module: bytes, folder: Path, calls: int) -> list[float]:
    """Milliseconds of each call."""
    digest = hashlib.sha256(module).hexdigest()
    blobs = MemoryBlobStore()
    await blobs.put(f"modules/{digest}.wasm", module)
    definition = Definition(name="echo", version="1", digest=digest)
    activities = Activities([], [definition], blobs=blobs, cache=folder / "compiled")
    payload: JsonObject = {"activity": "echo", "input": {"text": "x" * 1012}}
    await activities.run(payload)
    times = [time.perf_counter()]
    for _ in range(calls):
        await activities.run(payload)
        times.append(time.perf_counter())
    return _differences(times)


def _bare(module: bytes, calls: int) -> list[float]:
    """Milliseconds of each call."""
    engine = Engine()
    ready = Linker(engine).instantiate_pre(Module(engine, module))
    times = [time.perf_counter()]
    for _ in range(calls):
        with Store(engine) as store:
            exports: Any = ready.instantiate(store).exports(store)
            pointer = exports["loom_alloc"](store, len(INPUT))
            exports["memory"].write(store, INPUT, pointer)
            result = exports["loom_run"](store, pointer, len(INPUT))
            exports["memory"].read(store, result >> 32, (result >> 32) + (result & 0x7FFFFFFF))
        times.append(time.perf_counter())
    return _differences(times)


def _differences(times: list[float]) -> list[float]:
    return [1000 * (end - begin) for begin, end in itertools.pairwise(times)]

"""WASM activities: JSON in, JSON out, through the loom reactor ABI, in an instance that serves one call.

A module exports `memory`, `loom_alloc(len) -> ptr` (0: out of memory), `loom_run(ptr, len) -> i64` and
perhaps `_initialize()`. What `loom_run` returns is `ptr << 32 | failed << 31 | len`: the output or, if `failed`,
an error.
"""

import asyncio
import ctypes
import json
import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

from loom_core.activities.definition import Definition, Limits
from loom_core.activities.engine import TICK, engine
from loom_core.activities.modules import Modules, publish
from loom_core.activities.schema import Schema, encode
from loom_core.errors import InvalidError, SandboxError
from loom_core.ports.blobs import BlobStore
from loom_core.wire.json import Json

if TYPE_CHECKING:
    from wasmtime import Func, InstancePre, Memory, Store, Trap, WasmtimeError

MAX_INPUT_BYTES = 16 * 1024 * 1024
MEMORY_MB = 1024
_MAX_REASON = 1_000
_MB = 1024 * 1024


class Wasm:
    """An activity whose work a module does."""

    def __init__(self, definition: Definition, sandbox: "Sandbox") -> None:
        self.name = definition.name
        self.source = definition.source
        self._definition = definition
        self._sandbox = sandbox
        self._takes = Schema(definition.input_schema)
        self._gives = Schema(definition.output_schema)

    async def call(self, value: Json) -> Json:
        """Raises InvalidError for an input that breaks its schema, and what `Sandbox.run` raises."""
        data = encode(value)
        if len(data) > MAX_INPUT_BYTES:
            raise InvalidError(f"the input has {len(data)} bytes; {MAX_INPUT_BYTES} are allowed")
        self._takes.check(value)
        output = await self._sandbox.run(self._definition, data)
        try:
            self._gives.check(output)
        except InvalidError as error:
            raise SandboxError(f"the module's output breaks its schema: {error}") from None
        return output


class Sandbox:
    """Runs modules on worker threads; the memory limits of those that run add up to MEMORY_MB at most."""

    def __init__(self, shipped: Sequence[Definition], blobs: BlobStore, cache: Path | None) -> None:
        self._unpublished = tuple(shipped)
        self._blobs = blobs
        self._modules = Modules(blobs, cache)
        self._free_mb = MEMORY_MB
        self._freed = asyncio.Condition()

    async def run(self, definition: Definition, data: bytes) -> Json:
        """Raises SandboxError for whatever the module does wrong, and what `Modules.get` raises."""
        for shipped in self._unpublished:
            await publish(shipped, self._blobs)
        self._unpublished = ()
        module = await self._modules.get(definition.digest)
        limits = definition.limits
        async with self._freed:
            await self._freed.wait_for(lambda: self._free_mb >= limits.max_memory_mb)
            self._free_mb -= limits.max_memory_mb
        try:
            return await asyncio.to_thread(_run, module, limits, data)
        finally:
            async with self._freed:
                self._free_mb += limits.max_memory_mb
                self._freed.notify_all()


def _run(module: "InstancePre", limits: Limits, data: bytes) -> Json:
    from wasmtime import Store, Trap, WasmtimeError  # noqa: PLC0415 - see engine()

    seconds = limits.max_execution_ms / 1000
    memory = limits.max_memory_mb * _MB
    reason = None
    started = time.monotonic()
    with Store(engine()) as store:
        store.set_limits(memory_size=memory, table_elements=20_000, instances=1, tables=4, memories=1)
        store.set_epoch_deadline(math.ceil(seconds / TICK) + 1)
        try:
            failed, output = _exchange(store, module, limits, data)
        except (Trap, WasmtimeError) as error:
            output, reason = b"", _explain(error, limits)
        else:
            if time.monotonic() - started > seconds:
                reason = _too_long(limits)
            elif failed:
                reason = f"the module reports: {output.decode(errors='replace')[:_MAX_REASON]}"
    # Raised out here, the error does not keep the trap, its frames and with them the guest's memory alive.
    if reason is not None:
        raise SandboxError(reason)
    return _parse(output)


def _exchange(store: "Store", module: "InstancePre", limits: Limits, data: bytes) -> tuple[bool, bytes]:
    """Hand the input in, run, and copy the result out: whether it is an error, and its bytes."""
    exports = module.instantiate(store).exports(store)
    memory = cast("Memory", exports["memory"])
    if "_initialize" in exports:
        cast("Func", exports["_initialize"])(store)
    pointer = cast("Func", exports["loom_alloc"])(store, len(data)) & 0xFFFFFFFF
    if pointer == 0:
        raise SandboxError(
            f"the module is out of memory for its input; its limit is {limits.max_memory_mb} MB"
        )
    ctypes.memmove(_address(store, memory, pointer, len(data)), data, len(data))
    result = cast("Func", exports["loom_run"])(store, pointer, len(data))
    pointer, length = (result >> 32) & 0xFFFFFFFF, result & 0x7FFFFFFF
    if length > limits.max_output_bytes:
        raise SandboxError(f"the module's output has {length} bytes; its limit is {limits.max_output_bytes}")
    return bool(result & 0x80000000), ctypes.string_at(_address(store, memory, pointer, length), length)


def _address(store: "Store", memory: "Memory", pointer: int, length: int) -> int:
    """Where the guest's bytes lie in this process, once they are known to be the guest's."""
    size = memory.data_len(store)
    if pointer + length > size:
        raise SandboxError(f"the module points at {length} bytes at {pointer}; its memory ends at {size}")
    return ctypes.addressof(memory.data_ptr(store).contents) + pointer


def _explain(error: "Trap | WasmtimeError", limits: Limits) -> str:
    from wasmtime import TrapCode  # noqa: PLC0415 - see engine()

    match getattr(error, "trap_code", None):
        case None:
            return f"the module cannot be started: {' '.join(str(error).split())[:_MAX_REASON]}"
        case TrapCode.INTERRUPT:
            return _too_long(limits)
        case TrapCode.STACK_OVERFLOW:
            return "the module's calls nest too deeply (stack overflow)"
        case TrapCode.UNREACHABLE:
            return (
                "the module gave up (unreachable), as modules do when they panic or get no more memory;"
                f" its limit is {limits.max_memory_mb} MB"
            )
        case code:
            return f"the module trapped: {code.name.lower().replace('_', ' ')}"


def _too_long(limits: Limits) -> str:
    return f"the module ran longer than its limit of {limits.max_execution_ms} ms"


def _parse(output: bytes) -> Json:
    try:
        return json.loads(output.decode(), parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise SandboxError(f"the module's output is not JSON: {error}") from None


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")

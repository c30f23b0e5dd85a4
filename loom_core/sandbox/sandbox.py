"""The sandbox: JSON in, JSON out, through the loom reactor ABI, in an instance that serves one call.

A module exports `memory`, `loom_alloc(len) -> ptr` (0: out of memory), `loom_run(ptr, len) -> i64` and
perhaps `_initialize()`. What `loom_run` returns is `ptr << 32 | failed << 31 | len`, the place of the output
or, if `failed`, of an error. This file and those it imports load wasmtime; only WASM activities import it.
"""

import asyncio
import ctypes
from pathlib import Path
from threading import Event
from typing import cast

from pydantic_core import from_json
from wasmtime import Func, InstancePre, Memory, Store, Trap, TrapCode, WasmtimeError

from loom_core.errors import CancelledError, SandboxError
from loom_core.ports.blobs import BlobStore
from loom_core.sandbox.engine import ENGINE, Leash
from loom_core.sandbox.limits import Limits
from loom_core.sandbox.modules import Modules
from loom_core.wire.json import Json

MEMORY_MB = 1024
_MAX_REASON = 1_000


class Sandbox:
    """Runs modules on worker threads; the memory limits of those that run add up to MEMORY_MB at most."""

    def __init__(self, blobs: BlobStore, cache: Path | None) -> None:
        self._modules = Modules(blobs, cache)
        self._free_mb = MEMORY_MB
        self._freed = asyncio.Condition()

    async def run(self, digest: str, source: str, limits: Limits, data: bytes, stop: Event) -> Json:
        """Give the JSON in `data` to the module of this sha256, which perhaps lies in the file `source`.

        Raises SandboxError for whatever the module does wrong, and what `Modules.get` raises. A module that
        computes is ended soon after `stop` was set, with CancelledError.
        """
        module = await self._modules.get(digest, source)
        async with self._freed:
            await self._freed.wait_for(lambda: self._free_mb >= limits.max_memory_mb)
            self._free_mb -= limits.max_memory_mb
        try:
            return await asyncio.to_thread(_run, module, limits, data, stop)
        finally:
            async with self._freed:
                self._free_mb += limits.max_memory_mb
                self._freed.notify_all()


def _run(module: InstancePre, limits: Limits, data: bytes, stop: Event) -> Json:
    with Store(ENGINE) as store, Leash(store, limits.max_execution_ms / 1000, stop) as leash:
        memory = limits.max_memory_mb * 1024 * 1024
        store.set_limits(memory_size=memory, table_elements=20_000, instances=1, tables=4, memories=1)
        failed, output = False, b""
        try:
            failed, output = _exchange(store, module, limits, data)
        except (Trap, WasmtimeError) as error:
            if stop.is_set():
                raise CancelledError("it was asked to stop") from None
            if not leash.is_over:
                raise SandboxError(_explain(error, limits)) from None
        if leash.is_over:
            raise SandboxError(f"the module ran longer than its limit of {limits.max_execution_ms} ms")
    if failed:
        raise SandboxError(f"the module reports: {output.decode(errors='replace')[:_MAX_REASON]}")
    try:
        return from_json(output, allow_inf_nan=False)
    except ValueError as error:
        raise SandboxError(f"the module's output is not JSON: {error}") from None


def _exchange(store: Store, module: InstancePre, limits: Limits, data: bytes) -> tuple[bool, bytes]:
    """Hand the input in, run, and copy the result out: whether it is an error, and its bytes."""
    exports = module.instantiate(store).exports(store)
    memory = cast(Memory, exports["memory"])
    if "_initialize" in exports:
        cast(Func, exports["_initialize"])(store)
    pointer = cast(Func, exports["loom_alloc"])(store, len(data)) & 0xFFFFFFFF
    if pointer == 0:
        reason = f"the module is out of memory for its input; its limit is {limits.max_memory_mb} MB"
        raise SandboxError(reason)
    ctypes.memmove(_address(store, memory, pointer, len(data)), data, len(data))
    result = cast(Func, exports["loom_run"])(store, pointer, len(data))
    pointer, length = (result >> 32) & 0xFFFFFFFF, result & 0x7FFFFFFF
    if length > limits.max_output_bytes:
        raise SandboxError(f"the module's output has {length} bytes; its limit is {limits.max_output_bytes}")
    return bool(result & 0x80000000), ctypes.string_at(_address(store, memory, pointer, length), length)


def _address(store: Store, memory: Memory, pointer: int, length: int) -> int:
    """Where the guest's bytes lie in this process, once they are known to be the guest's."""
    size = memory.data_len(store)
    if pointer + length > size:
        raise SandboxError(f"the module points at {length} bytes at {pointer}; its memory ends at {size}")
    return ctypes.addressof(memory.data_ptr(store).contents) + pointer


def _explain(error: Trap | WasmtimeError, limits: Limits) -> str:
    code = error.trap_code if isinstance(error, Trap) else None
    if code is None:
        return f"the module cannot be started: {' '.join(str(error).split())[:_MAX_REASON]}"
    if code is TrapCode.UNREACHABLE:
        how = "the module gave up (unreachable), as modules do when they panic or get no more memory"
        return f"{how}; its limit is {limits.max_memory_mb} MB"
    return f"the module trapped: {code.name.lower().replace('_', ' ')}"

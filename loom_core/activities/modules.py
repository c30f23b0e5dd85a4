"""WASM modules: fetched by digest, checked against it, compiled once, kept ready to instantiate."""

import asyncio
import hashlib
import logging
import os
import platform
import stat
from collections import OrderedDict
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

from loom_core.activities.definition import MAX_MODULE_BYTES, Definition
from loom_core.activities.engine import CONFIGURATION, engine
from loom_core.errors import ConflictError, IntegrityError, SandboxError
from loom_core.ports.blobs import BlobStore

if TYPE_CHECKING:
    from wasmtime import InstancePre, Module

_CORE = b"\0asm\x01\0\0\0"
_COMPONENT = b"\0asm\x0d\0\x01\0"
_EXPORTS = {
    "memory": "memory",
    "loom_alloc": "(i32) -> (i32)",
    "loom_run": "(i32, i32) -> (i64)",
    "_initialize": "() -> ()",
}
_OPTIONAL = {"_initialize"}
_MAX_EXPORTS = 256
_LOADED = 64
_log = logging.getLogger(__name__)


def module_name(digest: str) -> str:
    return f"modules/{digest}.wasm"


async def publish(definitions: Iterable[Definition], blobs: BlobStore) -> None:
    """Put the modules that definitions were loaded with into the store, unless they are there.

    Raises IntegrityError for a file that is no longer what its definition pins.
    """
    for definition in definitions:
        if await blobs.head(module_name(definition.digest)) is not None:
            continue
        data = await asyncio.to_thread(Path(definition.source).read_bytes)
        _check_digest(data, definition.digest)
        try:
            await blobs.put(module_name(definition.digest), data, if_absent=True)
        except ConflictError:
            continue  # another process was faster


class Modules:
    """The least recently used of LOADED modules makes room for the next."""

    def __init__(self, blobs: BlobStore, cache: Path | None) -> None:
        self._blobs = blobs
        self._cache = cache
        self._loaded: OrderedDict[str, InstancePre | str] = OrderedDict()
        self._loading = asyncio.Lock()

    async def get(self, digest: str) -> "InstancePre":
        """Raises NotFoundError, IntegrityError, UnavailableError, and SandboxError for an unusable module."""
        if digest not in self._loaded:
            async with self._loading:
                if digest not in self._loaded:
                    self._loaded[digest] = await self._load(digest)
            while len(self._loaded) > _LOADED:
                self._loaded.popitem(last=False)
        self._loaded.move_to_end(digest)
        module = self._loaded[digest]
        if isinstance(module, str):
            raise SandboxError(module)
        return module

    async def _load(self, digest: str) -> "InstancePre | str":
        """A module ready to instantiate, or why it never will be."""
        try:
            module = await asyncio.to_thread(self._deserialize, digest)
            if module is None:
                data = (await self._blobs.get(module_name(digest))).data
                _check_digest(data, digest)
                module = await asyncio.to_thread(self._compile, data, digest)
            return _link(module)
        except SandboxError as error:
            return str(error)

    def _compile(self, data: bytes, digest: str) -> "Module":
        from wasmtime import Module, WasmtimeError  # noqa: PLC0415 - see engine()

        if data.startswith(_COMPONENT):
            raise SandboxError("the module is a component; only core modules can run")
        if not data.startswith(_CORE):
            raise SandboxError("the module is not WebAssembly")
        if len(data) > MAX_MODULE_BYTES:
            raise SandboxError(f"the module has {len(data)} bytes; {MAX_MODULE_BYTES} are allowed")
        try:
            module = Module(engine(), data)
        except WasmtimeError as error:
            reason = " ".join(str(error).split())
        else:
            self._serialize(module, digest)
            return module
        raise SandboxError(f"the module cannot be compiled: {reason[:500]}")

    def _compiled(self, digest: str) -> Path | None:
        """Where this wasmtime's code for a module is kept; None unless the directory is ours alone."""
        if self._cache is None:
            return None
        self._cache.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = self._cache.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
            raise PermissionError(f"{self._cache} is not a directory of this user's own")
        self._cache.chmod(0o700)
        made_by = f"{digest} wasmtime={version('wasmtime')} {platform.machine()} {CONFIGURATION}"
        return self._cache / f"{hashlib.sha256(made_by.encode()).hexdigest()}.cwasm"

    def _serialize(self, module: "Module", digest: str) -> None:
        """Keep the compiled code behind its own sha256. Without it the next process compiles again."""
        try:
            path = self._compiled(digest)
            if path is None:
                return
            unfinished = path.with_suffix(f".{uuid4().hex}")
            code = bytes(module.serialize())
            unfinished.write_bytes(hashlib.sha256(code).digest() + code)
            unfinished.replace(path)
            kept = sorted(path.parent.iterdir(), key=lambda entry: entry.stat().st_mtime, reverse=True)
            for old in kept[2 * _LOADED :]:
                old.unlink(missing_ok=True)
        except OSError as error:
            _log.warning("compiled module not kept: %s", error)

    def _deserialize(self, digest: str) -> "Module | None":
        """Take only what `_serialize` wrote, whole: wasmtime runs whatever code such a file holds."""
        from wasmtime import Module, WasmtimeError  # noqa: PLC0415 - see engine()

        try:
            path = self._compiled(digest)
            if path is None or not path.exists():
                return None
            data = path.read_bytes()
            try:
                if hashlib.sha256(data[32:]).digest() == data[:32]:
                    return Module.deserialize(engine(), data[32:])
            except WasmtimeError as error:
                _log.warning("compiled module discarded: %s", error)
            path.unlink()
        except OSError as error:
            _log.warning("compiled module not read: %s", error)
        return None


def _check_digest(data: bytes, digest: str) -> None:
    found = hashlib.sha256(data).hexdigest()
    if found != digest:
        raise IntegrityError(f"module {digest} has sha256 {found}: publish it again")


def _link(module: "Module") -> "InstancePre":
    """Link without imports: a module that asks for any is refused by its name."""
    from wasmtime import Linker  # noqa: PLC0415 - see engine()

    if asked := [f"{needed.module}.{needed.name}" for needed in module.imports]:
        raise SandboxError(f"the module imports {', '.join(asked[:20])}, which it has not been granted")
    exports = module.exports
    if len(exports) > _MAX_EXPORTS:
        raise SandboxError(f"the module has {len(exports)} exports; {_MAX_EXPORTS} are allowed")
    found = {export.name: _spell(export.type) for export in exports if export.name in _EXPORTS}
    for name, wanted in _EXPORTS.items():
        if found.get(name, wanted if name in _OPTIONAL else None) != wanted:
            raise SandboxError(f"the module exports {name} as {found.get(name)}, where {wanted} is needed")
    return Linker(engine()).instantiate_pre(module)


def _spell(kind: object) -> str:
    from wasmtime import FuncType, MemoryType  # noqa: PLC0415 - see engine()

    if isinstance(kind, FuncType):
        return f"({', '.join(map(str, kind.params))}) -> ({', '.join(map(str, kind.results))})"
    return "memory" if isinstance(kind, MemoryType) else "something else"

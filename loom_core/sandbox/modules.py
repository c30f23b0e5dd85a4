"""WASM modules: fetched by digest, checked against it, compiled once, kept ready to instantiate."""

import asyncio
import hashlib
import logging
import os
import stat
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

from wasmtime import FuncType, InstancePre, Linker, MemoryType, Module, WasmtimeError

from loom_core.errors import ConflictError, IntegrityError, SandboxError
from loom_core.ports.blobs import BlobStore
from loom_core.sandbox.engine import CODE_VERSION, ENGINE
from loom_core.sandbox.limits import MAX_MODULE_BYTES

_EXPORTS = {"memory": "", "loom_alloc": "i32 -> i32", "loom_run": "i32 i32 -> i64", "_initialize": "->"}
_MAX_EXPORTS = 256
_KEPT = 64
_log = logging.getLogger(__name__)


class Modules:
    """The _KEPT modules used last, compiled; more of them as files in `cache`, for the next process."""

    def __init__(self, blobs: BlobStore, cache: Path | None) -> None:
        self._blobs, self._cache = blobs, cache
        self._ready: dict[str, InstancePre | str] = {}  # the one used last is the last
        self._loading = asyncio.Lock()

    async def get(self, digest: str, source: str) -> InstancePre:
        """The module of this sha256; before its first use, that in the file `source`, if any, is published.

        Raises NotFoundError, IntegrityError, UnavailableError, and SandboxError for an unusable module.
        """
        if digest not in self._ready:
            async with self._loading:
                if digest not in self._ready:
                    await self._publish(digest, source)
                    self._ready[digest] = await self._load(digest)
            if len(self._ready) > _KEPT:
                del self._ready[next(iter(self._ready))]
        module = self._ready[digest] = self._ready.pop(digest)
        if isinstance(module, str):
            raise SandboxError(module)
        return module

    async def _publish(self, digest: str, source: str) -> None:
        """Store the file, if there is one, as `modules/<sha256>.wasm`, unless it is there already."""
        name = f"modules/{digest}.wasm"
        if source and await self._blobs.head(name) is None:
            data = await asyncio.to_thread(Path(source).read_bytes)
            _check_digest(data, digest)
            with suppress(ConflictError):  # another process was faster
                await self._blobs.put(name, data, if_absent=True)

    async def _load(self, digest: str) -> InstancePre | str:
        """A module ready to instantiate, or why it never will be."""
        path = self._cache and self._cache / hashlib.sha256(f"{digest} {CODE_VERSION}".encode()).hexdigest()
        try:
            module = await asyncio.to_thread(_read_compiled, path) if path else None
            if module is None:
                data = (await self._blobs.get(f"modules/{digest}.wasm")).data
                _check_digest(data, digest)
                module = await asyncio.to_thread(_compile, data, path)
            return _link(module)
        except SandboxError as error:
            return str(error)


def _check_digest(data: bytes, digest: str) -> None:
    found = hashlib.sha256(data).hexdigest()
    if found != digest:
        raise IntegrityError(f"module {digest} has sha256 {found}: publish it again")


def _compile(data: bytes, path: Path | None) -> Module:
    """Compile, and keep the code behind its own sha256; a file that cannot be written costs only time."""
    if not data.startswith(b"\0asm\x01\0\0\0"):
        raise SandboxError("the module is not a WebAssembly core module")
    if len(data) > MAX_MODULE_BYTES:
        raise SandboxError(f"the module has {len(data)} bytes; {MAX_MODULE_BYTES} are allowed")
    try:
        module = Module(ENGINE, data)
        code = bytes(module.serialize())
    except WasmtimeError as error:
        raise SandboxError(f"the module cannot be compiled: {' '.join(str(error).split())[:500]}") from None
    if path:
        try:
            _check_private(path.parent)
            unfinished = path.with_suffix(f".{uuid4().hex}")
            unfinished.write_bytes(hashlib.sha256(code).digest() + code)
            unfinished.replace(path)
            for old in sorted(path.parent.iterdir(), key=lambda file: file.stat().st_mtime)[:-_KEPT]:
                old.unlink()
        except OSError as error:
            _log.warning("a compiled module is not kept: %s", error)
    return module


def _read_compiled(path: Path) -> Module | None:
    """Take only what `_compile` has written, whole: wasmtime would run whatever code the file holds."""
    try:
        _check_private(path.parent)
        data = path.read_bytes() if path.exists() else b""
        if hashlib.sha256(data[32:]).digest() == data[:32]:
            return Module.deserialize(ENGINE, data[32:])
    except (OSError, WasmtimeError) as error:
        _log.warning("a compiled module is not used: %s", error)
    return None


def _check_private(directory: Path) -> None:
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = directory.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise PermissionError(f"{directory} is not a directory of this user alone")


def _link(module: Module) -> InstancePre:
    """Link without imports: a module that asks for any is refused by its name."""
    if asked := [f"{needed.module}.{needed.name}" for needed in module.imports]:
        raise SandboxError(f"the module imports {', '.join(asked[:20])}, which it has not been granted")
    found = {export.name: _signature(export.type) for export in module.exports}
    if len(found) > _MAX_EXPORTS:
        raise SandboxError(f"the module has {len(found)} exports; {_MAX_EXPORTS} are allowed")
    found.setdefault("_initialize", "->")  # it need not be there
    for name, signature in _EXPORTS.items():
        if found.get(name) != signature:
            raise SandboxError(f"the module does not export {name} {signature}".rstrip())
    return Linker(ENGINE).instantiate_pre(module)


def _signature(kind: object) -> str | None:
    """As in _EXPORTS; None for what is neither a function nor a memory."""
    if isinstance(kind, FuncType):
        return " ".join([*map(str, kind.params), "->", *map(str, kind.results)])
    return "" if isinstance(kind, MemoryType) else None

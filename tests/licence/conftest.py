import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from wasmtime import Engine, Instance, Memory, Module, Store

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "wasm" / "licence-classify"
MANIFEST = json.loads((FOLDER / "manifest.json").read_text("utf-8"))


class Guest:
    """The module on bare wasmtime, so that its bytes can be tested without the sandbox's manners."""

    def __init__(self, module: Path) -> None:
        self.engine = Engine()
        self.module = Module.from_file(self.engine, str(module))

    def run(self, data: bytes) -> tuple[bool, bytes]:
        """Whether the module reports a failure, and the bytes it answers. A trap is an exception."""
        store = Store(self.engine)
        store.set_limits(memory_size=MANIFEST["limits"]["maxMemoryMB"] << 20)
        exports = Instance(store, self.module, []).exports(store)
        memory = exports["memory"]
        assert isinstance(memory, Memory)
        pointer = exports["loom_alloc"](store, len(data)) & 0xFFFFFFFF
        memory.write(store, data, pointer)
        result = exports["loom_run"](store, pointer, len(data)) & 0xFFFFFFFFFFFFFFFF
        start, length = result >> 32, result & 0x7FFFFFFF
        return bool(result >> 31 & 1), bytes(memory.read(store, start, start + length))

    def __call__(self, text: str, name: str = "thing") -> dict:
        failed, answer = self.run(json.dumps({"name": name, "text": text}).encode())
        assert not failed, answer
        return json.loads(answer)


@pytest.fixture(scope="session")
def guest() -> Guest:
    return Guest(FOLDER / MANIFEST["module"])


@pytest.fixture
def install(tmp_path: Path) -> Callable[..., Path]:
    """Install a package, as far as its metadata goes, in the environment at `tmp_path / "env"`."""

    def install(name: str, *headers: str, version: str = "1.0", **files: str | bytes) -> Path:
        folder = tmp_path / "env/lib/python3.13/site-packages" / f"{name}-{version}.dist-info"
        folder.mkdir(parents=True)
        lines = ("Metadata-Version: 2.4", f"Name: {name}", f"Version: {version}", *headers)
        (folder / "METADATA").write_text("\n".join(lines) + "\n\nA description.\n", "utf-8")
        for path, content in files.items():
            file = folder / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content.encode() if isinstance(content, str) else content)
        return folder

    return install


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()

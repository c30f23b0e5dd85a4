import asyncio
import io
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import azure.functions as func
import pytest

from loom_core.errors import InvalidError
from loom_local.database import Database
from loom_local.host import blob_binding
from loom_local.host.blobs import BlobOptions, BlobTriggers
from tests.host_triggers.conftest import function, index, invoke, until

OPTIONS = BlobOptions()


class Inbox:
    """A blob function that notes what it is given, over a folder."""

    def __init__(self, app: Path, path: str = "inbox/{name}") -> None:
        self.app = app
        self.given: list[tuple[str, bytes]] = []
        self.body: Callable[[func.InputStream], Awaitable[None]] | None = None
        definition = func.FunctionApp()

        @definition.function_name("inbox")
        @definition.blob_trigger(arg_name="blob", path=path, connection="STORAGE")
        async def inbox(blob: func.InputStream) -> None:
            self.given.append((blob.name, blob.read()))
            if self.body:
                await self.body(blob)

        self.functions = index(definition)

    def drop(self, name: str, content: str = "x") -> Path:
        file = self.app / "inbox" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        unfinished = file.with_name(".unfinished")
        unfinished.write_text(content)
        return unfinished.rename(file)

    @property
    def names(self) -> list[str]:
        return [name.removeprefix("inbox/") for name, _ in self.given]

    async def all_but(self, marker: str = "zz-marker") -> list[str]:
        """Drop one more file, and give what had been called by the time it was."""
        self.drop(marker)
        await until(lambda: marker in self.names)
        return [name for name in self.names if name != marker]


@pytest.fixture
def inbox(tmp_path: Path) -> Inbox:
    return Inbox(tmp_path)


@pytest.fixture
async def start(database: Database, tmp_path: Path) -> AsyncIterator[Callable[..., BlobTriggers]]:
    running: list[BlobTriggers] = []

    def started(inbox: Inbox, options: BlobOptions = OPTIONS) -> BlobTriggers:
        blobs = BlobTriggers(
            inbox.functions,
            invoke,
            database,
            app=tmp_path,
            options=options,
            pause=0.01,
            backoff=0.001,
        )
        blobs.start()
        running.append(blobs)
        return blobs

    yield started
    for blobs in running:
        await blobs.stop(5)


def receipts(database: Database) -> list[tuple]:
    return database.reader().execute("SELECT name, attempts, outcome FROM blob_receipts").fetchall()


async def test_a_file_that_is_dropped_is_given_to_the_function_once(inbox, start):
    start(inbox)
    inbox.drop("orders/a.json", "1")
    inbox.drop("b", "")

    await until(lambda: len(inbox.given) >= 2)

    assert sorted(await inbox.all_but()) == ["b", "orders/a.json"]
    assert dict(inbox.given)["inbox/orders/a.json"] == b"1"


async def test_each_new_version_of_a_file_is_given(inbox, start):
    start(inbox)
    file = inbox.drop("a", "1")
    await until(lambda: len(inbox.given) == 1)

    inbox.drop("a", "2")
    await until(lambda: len(inbox.given) == 2)
    other = inbox.drop(".hidden", "3")
    os.utime(other, ns=(file.stat().st_mtime_ns, file.stat().st_mtime_ns))
    other.rename(file)
    await until(lambda: len(inbox.given) == 3)

    assert [content for _, content in inbox.given] == [b"1", b"2", b"3"]


async def test_the_stream_is_what_azure_gives(inbox, start):
    seen = {}

    async def note(blob: func.InputStream) -> None:
        seen.update(vars(blob) | {"rest": blob.read(), "readable": blob.readable()})

    inbox.body = note
    file = inbox.drop("orders/ä.json", "content")
    start(inbox)
    await until(lambda: seen)

    assert (seen["_name"], seen["_length"], seen["_uri"]) == ("inbox/orders/ä.json", 7, file.as_uri())
    assert seen["_blob_properties"]["ContentType"] == "application/json"
    assert seen["_blob_properties"]["ETag"].startswith('"0x')
    assert (seen["_metadata"], seen["rest"], seen["readable"]) == ({}, b"", True)


def test_more_than_fits_is_read_in_pieces(monkeypatch):
    monkeypatch.setattr(blob_binding, "MAX_READ", 4)
    content = blob_binding.Content(io.BytesIO(b"0123456789"), 10)

    with pytest.raises(ValueError, match="the blob has 10 more bytes; read at most 4 at a time"):
        content.read()
    with pytest.raises(ValueError, match="read at most 4 at a time"):
        content.read(5)
    assert [content.read(4), content.read(4), content.read(), content.read()] == [
        b"0123",
        b"4567",
        b"89",
        b"",
    ]


async def test_a_file_too_large_to_be_read_whole_is_given_and_reading_it_whole_fails(
    inbox, start, monkeypatch, caplog
):
    monkeypatch.setattr(blob_binding, "MAX_READ", 4)
    inbox.drop("large", "12345")
    start(inbox)

    await until(lambda: "not called for this version of it again" in caplog.text)
    assert "the blob has 5 more bytes; read at most 4 at a time" in caplog.text


async def test_what_changed_while_the_host_was_down_is_given_once_at_the_start(inbox, start):
    blobs = start(inbox)
    inbox.drop("same")
    inbox.drop("changed", "old")
    await until(lambda: len(inbox.given) == 2)
    await blobs.stop(5)
    inbox.drop("changed", "newer")
    inbox.drop("new")
    inbox.given.clear()

    start(inbox)
    await until(lambda: len(inbox.given) >= 2)

    assert sorted(await inbox.all_but()) == ["changed", "new"]


async def test_a_call_that_was_cut_off_is_made_again(inbox, start):
    begun = asyncio.Event()

    async def hang(blob: func.InputStream) -> None:
        begun.set()
        await asyncio.Event().wait()

    inbox.body = hang
    blobs = start(inbox)
    inbox.drop("a")
    await begun.wait()
    await blobs.stop(0.01)
    inbox.body = None
    start(inbox)

    await until(lambda: len(inbox.given) == 2)
    assert await inbox.all_but() == ["a", "a"]


async def test_a_failing_call_is_repeated_and_then_given_up(inbox, start, database, caplog):
    async def fail(blob: func.InputStream) -> None:
        if blob.name == "inbox/bad":
            raise ValueError("out of luck")

    inbox.body = fail
    blobs = start(inbox)
    inbox.drop("bad")
    await until(lambda: "is not called for this version of it again" in caplog.text)
    assert "attempt 5" in caplog.text
    assert "out of luck" in caplog.text
    await blobs.stop(5)

    start(inbox)
    assert await inbox.all_but() == ["bad"] * 5
    assert ("bad", 5, "poison") in receipts(database)
    inbox.drop("bad", "another version")
    await until(lambda: len(inbox.names) == 11)


async def test_a_call_that_fails_for_a_while_succeeds(inbox, start, database):
    async def fail(_: func.InputStream) -> None:
        if len(inbox.given) < 3:
            raise ValueError("not yet")

    inbox.body = fail
    start(inbox)
    inbox.drop("a")

    await until(lambda: ("a", 3, "done") in receipts(database))
    assert await inbox.all_but() == ["a"] * 3


async def test_a_file_that_ended_the_host_each_time_is_poison(inbox, start, database, caplog):
    file = inbox.drop("bomb")
    blobs = start(inbox)
    await until(lambda: receipts(database))
    await blobs.stop(5)
    inbox.given.clear()
    await database.submit([("UPDATE blob_receipts SET attempts = 5, outcome = NULL", ())])

    start(inbox)
    await until(lambda: "is not called for this version of it again" in caplog.text)

    assert inbox.given == []
    assert file.exists()


async def test_links_hidden_files_and_what_is_no_file_are_no_blobs(inbox, start, tmp_path):
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "key").write_text("secret")
    inbox.drop(".hidden")
    inbox.drop(".folder/in-it")
    folder = inbox.drop("real").parent
    (folder / "link").symlink_to(tmp_path / "secret" / "key")
    (folder / "links").symlink_to(tmp_path / "secret")
    os.mkfifo(folder / "pipe")
    start(inbox)

    assert set(await inbox.all_but()) <= {"real"}
    await until(lambda: "real" in inbox.names)
    assert set(inbox.names) == {"real", "zz-marker"}


async def test_a_folder_that_is_a_link_is_not_followed(inbox, start, tmp_path, caplog):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "a").write_text("x")
    (tmp_path / "inbox").symlink_to(tmp_path / "elsewhere")
    start(inbox)

    await until(lambda: "is a symbolic link and is not followed" in caplog.text)
    (tmp_path / "inbox").unlink()
    assert await inbox.all_but() == []


async def test_names_that_are_no_utf8_are_left_out_and_said(inbox, start, caplog):
    folder = inbox.drop("a").parent
    (folder / os.fsdecode(b"\xff")).touch()
    start(inbox)

    await until(lambda: "is no name for a blob" in caplog.text)
    assert set(await inbox.all_but()) <= {"a"}


@pytest.mark.parametrize(
    ("path", "taken"),
    [
        ("inbox/{name}", {"a.json", "orders/b.json", "orders/{c}.txt"}),
        ("inbox", {"a.json", "orders/b.json", "orders/{c}.txt"}),
        ("inbox/{name}.json", {"a.json", "orders/b.json"}),
        ("inbox/orders/{name}.{extension}", {"orders/b.json", "orders/{c}.txt"}),
        ("inbox/orders/{{{name}}}.txt", {"orders/{c}.txt"}),
        ("inbox/a.json", {"a.json"}),
    ],
)
async def test_a_path_says_which_blobs_the_function_is_for(path, taken, start, tmp_path, database):
    inbox = Inbox(tmp_path, path)
    for name in ("a.json", "orders/b.json", "orders/{c}.txt"):
        inbox.drop(name)
    blobs = start(inbox)
    looks = blobs._loops[0]
    await until(lambda: len(inbox.given) >= len(taken))
    await blobs.stop(5)

    assert looks.done()
    assert set(inbox.names) == taken


def test_every_wrong_path_is_named_with_its_function(tmp_path):
    functions = [
        function(name, path=path)
        for name, path in (("a", ""), ("b", "../{name}"), ("c", "inbox/{name"), ("d", "In_Box/{name}"))
    ]
    with pytest.raises(InvalidError) as refused:
        BlobTriggers(functions, invoke, None, app=tmp_path, options=OPTIONS)

    assert [problem.message.split(":")[0] for problem in refused.value.problems] == [
        f"blob function {name}" for name in "abcd"
    ]


def test_host_json_gives_the_options_and_wrong_ones_are_refused():
    given = BlobOptions.of({"extensions": {"blobs": {"maxDegreeOfParallelism": 4, "poisonBlobThreshold": 1}}})

    assert (given.max_degree_of_parallelism, given.poison_blob_threshold) == (4, 1)
    with pytest.raises(InvalidError, match=r"\$\.extensions\.blobs\.poisonBlobThreshold"):
        BlobOptions.of({"extensions": {"blobs": {"poisonBlobThreshold": 0}}})


async def test_no_more_calls_run_at_once_than_host_json_allows(inbox, start):
    running, most = 0, 0

    async def count(_: func.InputStream) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.001)
        running -= 1

    inbox.body = count
    for number in range(50):
        inbox.drop(f"{number}")
    start(inbox, BlobOptions.of({"extensions": {"blobs": {"maxDegreeOfParallelism": 3}}}))

    await until(lambda: len(inbox.given) == 50)
    assert most == 3

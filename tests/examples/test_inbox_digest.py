"""inbox-digest: files that come one after the other, in memory."""

import importlib
import os
from pathlib import Path
from typing import Any

import pytest

from loom_core.errors import ConflictError, InvalidError
from loom_core.notations import parse
from tests.examples.conftest import World, definition

COMES = "file_change:logs/*.log"
STOP = (1_000, "loom:stop", None)


@pytest.fixture
def inbox(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the activities, who read 100 bytes at a time."""
    module = importlib.import_module("activities.digest_log")
    monkeypatch.setattr(module, "INBOX", tmp_path / "inbox")
    monkeypatch.setattr(module, "CHUNK", 100)
    (tmp_path / "inbox/logs").mkdir(parents=True)
    return tmp_path / "inbox"


def put(inbox: Path, name: str, text: str | bytes, *, etag: str = "1") -> dict[str, Any]:
    """Put a file there; what a run is told of it."""
    file = inbox / "logs" / name
    file.write_bytes(text.encode() if isinstance(text, str) else text)
    return {"path": f"logs/{name}", "etag": etag, "size": file.stat().st_size}


def read(world: World, file: dict[str, Any]) -> Any:
    """Read to the end; the number of chunks comes too."""
    chunks = 0
    while chunks == 0 or file["offset"] < file["size"]:
        file, chunks = world.call("digest-log-chunk", file), chunks + 1
    return file, chunks


def test_the_definition_has_no_problem_and_no_warning():
    assert parse(definition("inbox-digest")).warnings == ()


def test_files_are_digested_in_chunks_as_they_come_until_the_run_is_stopped(world: World, inbox: Path):
    lines = "".join(f"12:00:{n:02} INFO request {n}\n12:00 ERROR disk {n} is full\n" for n in range(20))
    first, second = put(inbox, "a.log", lines), put(inbox, "b.log", "WARN: slow\nbye")

    digest = world.run("inbox-digest", {}, (1, COMES, first), (2, COMES, second), (3, COMES, second), STOP)

    assert (digest["files"], digest["lines"]) == (2, 42)
    assert digest["levels"] == {"INFO": 20, "ERROR": 20, "WARNING": 1}
    assert digest["problems"] == {"ERROR disk # is full": 20, "WARNING slow": 1}
    assert world.called.count("digest-log-chunk") > 10
    assert world.bench.clock == 1_000
    page = Path(digest["page"]).read_text("utf-8")
    assert page.startswith("# Digest of the logs\n\n2 files, 42 lines.\n")
    assert r"| 20 | ERROR disk \# is full |" in page


def test_a_file_that_cannot_be_read_is_told_and_the_next_one_is_read(world: World, inbox: Path):
    gone, good = put(inbox, "gone.log", "x"), put(inbox, "good.log", "INFO a\n")
    (inbox / "logs/gone.log").unlink()

    digest = world.run("inbox-digest", {}, (1, COMES, gone), (2, COMES, good), STOP)

    assert [one["path"] for one in digest["unread"]] == ["logs/gone.log"]
    assert [one["path"] for one in digest["latest"]] == ["logs/good.log"]


def test_a_run_that_is_stopped_before_any_file_came_ends_with_nothing(world: World, inbox: Path):
    assert world.run("inbox-digest", {}, STOP) is None


@pytest.mark.parametrize(
    "text",
    ["", "no end", "INFO a\n" * 50, "INFO a\n" * 50 + "ERROR b", "\n\n\n", "ä" * 30 + "\n" + "INFO ö\n" * 40],
)
def test_chunks_of_lines_are_the_lines_of_the_file(world: World, inbox: Path, text: str):
    reading, _ = read(world, put(inbox, "a.log", text))

    assert reading["lines"] == len(text.splitlines())
    assert sum(reading["levels"].values()) == text.count("INFO") + text.count("ERROR")


def test_a_line_without_end_is_read_on_in_pieces(world: World, inbox: Path):
    reading, chunks = read(world, put(inbox, "a.log", "x" * 250))

    assert (reading["offset"], chunks) == (250, 3)


def test_many_kinds_of_problems_are_counted_together(world: World, inbox: Path):
    words = [chr(ord("g") + n % 20) * (1 + n // 20) for n in range(70)]

    reading, _ = read(world, put(inbox, "a.log", "".join(f"ERROR {word}\n" for word in words)))

    assert (len(reading["problems"]), reading["problems"]["other"]) == (51, 20)


@pytest.mark.parametrize(
    "path", ["../secret.log", "logs/link.log", "/etc/passwd", "logs", "logs/a\0.log", ""]
)
def test_nothing_outside_of_the_inbox_is_read(world: World, inbox: Path, path: str):
    secret = inbox.parent / "secret.log"
    secret.write_text("ERROR secret")
    (inbox / "logs/link.log").symlink_to(secret)

    with pytest.raises(InvalidError, match=r"\$\.path: .* cannot be read"):
        world.call("digest-log-chunk", {"path": path, "etag": None, "size": 12})


def test_a_pipe_does_not_keep_anybody_waiting(world: World, inbox: Path):
    os.mkfifo(inbox / "logs/pipe.log")

    with pytest.raises(InvalidError, match="not a regular file"):
        world.call("digest-log-chunk", {"path": "logs/pipe.log", "etag": None, "size": 0})


def test_a_file_that_changes_while_it_is_read_is_given_up_for_its_new_version(world: World, inbox: Path):
    file = put(inbox, "a.log", "INFO a\n" * 50)
    reading = world.call("digest-log-chunk", file)
    put(inbox, "a.log", "INFO a\n" * 60)

    with pytest.raises(ConflictError, match="has changed"):
        world.call("digest-log-chunk", reading)


def test_a_digest_keeps_the_last_hundred_files(world: World, inbox: Path):
    digest = None
    for number in range(120):
        file = {"path": f"logs/{number}.log", "etag": "1", "size": 0}
        reading = {**file, "offset": 0, "lines": 1, "levels": {}, "problems": {}}
        digest = world.call("add-to-digest", {"digest": digest, "file": file, "reading": reading})

    assert digest["files"] == digest["lines"] == 120
    assert [one["path"] for one in digest["latest"]][::99] == ["logs/20.log", "logs/119.log"]


def test_a_file_that_was_not_read_to_its_end_does_not_count(world: World, inbox: Path):
    file = put(inbox, "a.log", "INFO a\n" * 50)
    reading = world.call("digest-log-chunk", file)

    digest = world.call("add-to-digest", {"file": file, "reading": reading})

    assert (digest["files"], digest["lines"]) == (0, 0)
    assert digest["unread"] == [{"path": "logs/a.log", "reason": "the run was stopped"}]

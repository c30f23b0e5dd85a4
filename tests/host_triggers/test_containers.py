import errno
import os
from pathlib import Path

import pytest

from loom_local.host.containers import Container, read_list, write_list


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "inbox"


def settled(container: Container) -> list[str]:
    return [name for name, _ in container.scan().settled]


def test_a_file_is_settled_once_two_looks_found_it_the_same(folder):
    container = Container(folder)
    folder.mkdir()
    with (folder / "growing").open("w") as file:
        for _ in range(3):
            file.write("more")
            file.flush()
            assert settled(container) == []

    assert [settled(container) for _ in range(3)] == [["growing"], [], []]


def test_a_folder_may_come_late_and_go_for_a_while(folder):
    container = Container(folder)
    assert settled(container) == []
    folder.mkdir()
    (folder / "a").touch()
    assert [settled(container), settled(container)] == [[], ["a"]]

    folder.rename(folder.with_name("unmounted"))
    assert container.scan().gone == []
    folder.with_name("unmounted").rename(folder)

    assert [settled(container) for _ in range(3)] == [[], [], []]


def test_files_that_are_gone_are_told_once_also_those_of_the_last_start(folder):
    folder.mkdir()
    (folder / "a").touch()
    container = Container(folder, ["a", "long-gone"])

    assert container.scan().gone == ["long-gone"]
    (folder / "a").unlink()
    assert [container.scan().gone for _ in range(2)] == [["a"], []]


def test_older_files_come_first(folder):
    folder.mkdir()
    for moment, name in enumerate("cab"):
        (folder / name).touch()
        os.utime(folder / name, (moment, moment))
    container = Container(folder)
    container.scan()

    assert settled(container) == ["c", "a", "b"]


def test_of_too_many_files_some_are_left_out_and_none_is_taken_for_gone(folder, caplog):
    (folder / "sub").mkdir(parents=True)
    for number in range(6):
        (folder / "sub" / str(number)).touch()
    container = Container(folder, ["another"], max_files=4)
    container.scan()
    changes = container.scan()

    assert (len(changes.settled), changes.gone) == (4, [])
    assert "holds more than 4 files" in caplog.text


def test_a_folder_that_cannot_be_read_hides_no_other(folder, caplog, monkeypatch):
    (folder / "closed").mkdir(parents=True)
    (folder / "closed" / "a").touch()
    (folder / "open").touch()
    container = Container(folder, ["closed/a"])
    scandir = os.scandir

    def refuse(path):  # no mode keeps root out
        if path == folder / "closed":
            raise PermissionError(errno.EACCES, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    container.scan()
    changes = container.scan()

    assert ([name for name, _ in changes.settled], changes.gone) == (["open"], [])
    assert "cannot be read: Permission denied" in caplog.text


def test_a_file_is_opened_only_in_the_version_that_was_seen(folder, tmp_path):
    (folder / "sub").mkdir(parents=True)
    (folder / "sub" / "a").write_text("1")
    container = Container(folder)
    container.scan()
    ((name, version),) = container.scan().settled
    with container.open(name, version) as file:
        assert file.read() == b"1"

    (folder / "sub").rename(tmp_path / "moved")
    assert container.open(name, version) is None
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "a").write_text("2")
    (folder / "sub").symlink_to(tmp_path / "secret")
    assert container.open(name, version) is None
    (folder / "sub").unlink()
    (folder / "sub").mkdir()
    (folder / "sub" / "a").symlink_to(tmp_path / "moved" / "a")
    assert container.open(name, version) is None


def test_the_containers_of_an_app_are_noted_and_forgotten(tmp_path):
    write_list(tmp_path, [])
    assert (read_list(tmp_path), list(tmp_path.iterdir())) == ([], [])

    write_list(tmp_path, [Path("/b"), Path("/a")])
    assert read_list(tmp_path) == [Path("/a"), Path("/b")]
    write_list(tmp_path, [])
    assert read_list(tmp_path) == []

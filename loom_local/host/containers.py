"""Containers as folders: a blob is a file below the folder that has the container's name.

Symbolic links, and files and folders whose name begins with a dot, are no blobs.
"""

import itertools
import logging
import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, NamedTuple

MAX_FILES = 100_000
MAX_NAME = 1_024
_LIST = "containers"
_log = logging.getLogger(__name__)


class Version(NamedTuple):
    """What tells one content of a file from the next."""

    modified: int  # in nanoseconds
    size: int
    inode: int

    @property
    def etag(self) -> str:
        return f'"0x{self.modified:X}-{self.size:X}-{self.inode:X}"'


@dataclass(frozen=True, slots=True)
class Changes:
    """`settled` are files in a new version, oldest first; `gone` the names of those that are no more."""

    settled: list[tuple[str, Version]]
    gone: list[str]


class Container:
    """One folder. `known` are the names of files that were there before."""

    def __init__(self, folder: Path, known: Iterable[str] = (), *, max_files: int = MAX_FILES) -> None:
        self.folder = folder
        self._max_files = max_files
        self._seen: dict[str, tuple[Version | None, bool]] = dict.fromkeys(known, (None, False))
        self._said: set[str] = set()
        self._whole = True

    def scan(self) -> Changes:
        """Look at every file: one is settled when it is as it was in the scan before, and told of once."""
        found = self._find()
        settled: list[tuple[str, Version]] = []
        for name, version in found.items():
            before, told = self._seen.get(name, (None, False))
            if version == before and not told:
                settled.append((name, version))
            self._seen[name] = (version, version == before)
        missing = [name for name in self._seen if name not in found]
        gone = missing if self._whole else []
        for name in missing if self._whole or len(self._seen) > 2 * self._max_files else []:
            del self._seen[name]
        settled.sort(key=lambda one: (one[1].modified, one[0]))
        return Changes(settled, gone)

    def open(self, name: str, version: Version) -> BinaryIO | None:
        """Open a file that is in this version still."""
        try:
            descriptor = os.open(self.folder / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        except OSError:
            return None
        if _version(os.fstat(descriptor)) != version:
            os.close(descriptor)
            return None
        return os.fdopen(descriptor, "rb")

    def _find(self) -> dict[str, Version]:
        found: dict[str, Version] = {}
        # Without the folder nothing is known of its files: it may be a disk that is not mounted.
        self._whole = self.folder.is_dir() and not self.folder.is_symlink()
        if self.folder.is_symlink():
            self._say(f"{self.folder} is a symbolic link and is not followed")
        folders = [""] if self._whole else []
        while folders and len(found) <= self._max_files:
            prefix = folders.pop()
            for entry in self._entries(prefix):
                name = prefix + entry.name
                if entry.name.startswith(".") or not self._is_name(name):
                    continue
                if entry.is_dir(follow_symlinks=False):
                    folders.append(f"{name}/")
                elif version := _version_of(entry):
                    found[name] = version
        if len(found) > self._max_files:
            self._whole = False
            self._say(f"{self.folder} holds more than {self._max_files} files; not all are looked at")
        return dict(itertools.islice(found.items(), self._max_files))

    def _entries(self, prefix: str) -> list[os.DirEntry[str]]:
        folder = self.folder / prefix
        try:
            with os.scandir(folder) as entries:
                return list(entries)
        except FileNotFoundError:
            return []  # it went while we looked
        except OSError as error:
            self._whole = False
            self._say(f"{folder} cannot be read: {error.strerror}")
            return []

    def _is_name(self, name: str) -> bool:
        try:
            fits = len(name.encode()) <= MAX_NAME
        except UnicodeEncodeError:
            fits = False
        if not fits:
            shown = ascii(name[:100])
            self._say(f"in {self.folder}, {shown} is no name for a blob: at most {MAX_NAME} bytes of UTF-8")
        return fits

    def _say(self, text: str) -> None:
        if text not in self._said and len(self._said) < 1_000:
            self._said.add(text)
            _log.warning("%s", text)


def _version_of(entry: os.DirEntry[str]) -> Version | None:
    try:
        return _version(entry.stat(follow_symlinks=False))
    except FileNotFoundError:
        return None  # it went while we looked


def _version(found: os.stat_result) -> Version | None:
    return Version(found.st_mtime_ns, found.st_size, found.st_ino) if stat.S_ISREG(found.st_mode) else None


def write_list(data: Path, folders: Iterable[Path]) -> None:
    """Note in the data folder which folders are containers, for the watcher of the app's files."""
    text, file = "".join(f"{folder}\n" for folder in sorted(set(folders))), data / _LIST
    if text or file.exists():
        file.write_text(text, encoding="utf-8")


def read_list(data: Path) -> list[Path]:
    try:
        return [Path(line) for line in (data / _LIST).read_text(encoding="utf-8").splitlines()]
    except FileNotFoundError:
        return []
